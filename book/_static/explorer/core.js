// What the interactive figures share: elements, data with digests, axes. They ask for nothing from anywhere.
window.PNP ??= {};
(P => {
  if (P.boot) return; // a page with two figures reads this file twice
  P.range = n => Array.from({ length: n }, (_, i) => i);
  P.triple = (values, i) => Array.from(values.subarray(3 * i, 3 * i + 3));
  P.clamp = (v, low, high, otherwise) => (Number.isFinite(v) ? Math.min(high, Math.max(low, v)) : otherwise);
  P.digits = (v, n = 4) => (!Number.isFinite(v) ? "not a number" : Math.abs(v) < 10 ** n ? v.toPrecision(n) : v.toFixed(0));
  // ---- elements -----------------------------------------------------------------------------------------------
  const grow = (node, attributes, children) => {
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (["innerHTML", "checked", "disabled"].includes(key)) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  P.h = (tag, attributes = {}, ...children) => grow(document.createElement(tag), attributes, children);
  P.s = (tag, attributes = {}, ...children) => grow(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  P.press = (text, onclick, more = {}) => P.h("button", { type: "button", onclick, ...more }, text);
  P.words = theta => theta.flatMap((v, i) => {
    const { html, unit } = P.parameters[i];
    return [i ? ", " : "", P.h("span", { innerHTML: html }), ` ${P.digits(v, 3)} ${unit}`];
  });
  P.table = (heads, rows) => P.h("table", {},
    P.h("thead", {}, P.h("tr", {}, ...heads.map(innerHTML => P.h("th", { scope: "col", innerHTML })))),
    P.h("tbody", {}, ...rows.map(([name, ...cells]) =>
      P.h("tr", {}, P.h("th", { scope: "row" }, name), ...cells.map(text => P.h("td", {}, text))))));
  const soon = new Set(); // one call a frame, however often it is asked for
  P.frame = work => {
    if (!soon.has(work)) requestAnimationFrame(() => { soon.delete(work); work(); });
    soon.add(work);
  };
  // ---- data: base64 in the page with its SHA-256, computed here because crypto.subtle is not everywhere -------------
  const primes = P.range(312).filter(p => p > 1 && !P.range(p).some(d => d > 1 && p % d === 0));
  const bits = power => p => ((p ** power % 1) * 2 ** 32) | 0;
  const K = primes.map(bits(1 / 3)), START = primes.slice(0, 8).map(bits(1 / 2));
  const turn = (x, ...by) => by.reduce((sum, n) => sum ^ ((x >>> n) | (x << (32 - n))), 0);
  P.sha256 = bytes => {
    const padded = new Uint8Array((((bytes.length + 8) >> 6) << 6) + 64), view = new DataView(padded.buffer);
    const w = new Int32Array(64), state = Int32Array.from(START);
    padded.set(bytes);
    padded[bytes.length] = 128;
    view.setUint32(padded.length - 4, bytes.length << 3);
    for (let block = 0; block < padded.length; block += 64) {
      for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + 4 * i);
      for (let i = 16; i < 64; i++) {
        const a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turn(a, 7, 18) ^ (a >>> 3)) + (turn(b, 17, 19) ^ (b >>> 10));
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i++) {
        const t = h + turn(e, 6, 11, 25) + ((e & f) ^ (~e & g)) + K[i] + w[i];
        const u = turn(a, 2, 13, 22) + ((a & b) ^ (a & c) ^ (b & c));
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + t) | 0, c, b, a, (t + u) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((v, i) => (state[i] += v));
    }
    return Array.from(state, v => (v >>> 0).toString(16).padStart(8, "0")).join("");
  };
  P.read = root => Object.fromEntries(Array.from(root.querySelectorAll("script[data-sha256]"), tag => {
    const { name, type, sha256 } = tag.dataset;
    let bytes = new Uint8Array();
    try {
      bytes = Uint8Array.from(atob(tag.textContent.trim()), c => c.charCodeAt(0));
    } catch { /* not base64: the digest will differ */ }
    if (P.sha256(bytes) !== sha256) throw new Error(`The data “${name}” of this figure do not match their digest, so nothing is drawn.`);
    return [name, type === "json" ? JSON.parse(new TextDecoder().decode(bytes)) : new Float32Array(bytes.buffer)];
  }));
  // ---- colours: magma, and white above it, so that silence is the ground of the page by night and, reversed, by day ---
  const MAGMA = "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf ffffff";
  const STOPS = MAGMA.split(" ").map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));
  P.magma = v => {
    const at = P.clamp(v, 0, 1, 0) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at));
    return STOPS[i].map((c, k) => Math.round(c + (at - i) * (STOPS[i + 1][k] - c)));
  };
  const night = matchMedia("(prefers-color-scheme: dark)");
  P.dark = () => ({ light: false, dark: true })[document.documentElement.dataset.theme] ?? night.matches;
  /** A bar of colours for a key; `tint` gives the colour of 0 … 1. */
  P.bar = tint => {
    const bar = P.h("span", { class: "pnp-bar", "aria-hidden": "true" });
    const draw = () => (bar.style.background = `linear-gradient(90deg, ${P.range(11).map(i => tint(i / 10))})`);
    redraws.add(draw);
    draw();
    return bar;
  };
  /** An image of rows of numbers in 0 … 1, the first row lowest. */
  P.image = (canvas, rows, colour) => {
    const width = rows[0].length, image = new ImageData(width, rows.length);
    rows.forEach((row, k) => row.forEach((v, i) => image.data.set([...colour(v), 255], 4 * ((rows.length - 1 - k) * width + i))));
    Object.assign(canvas, { width, height: rows.length });
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
  // ---- axes: a canvas, an SVG over it, drawn again when the width or the theme changes ---------------------------
  const redraws = new Set(), repaint = () => redraws.forEach(P.frame);
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  night.addEventListener("change", repaint);
  P.axis = i => ({ ...P.parameters[i], label: `${P.parameters[i].text} (${P.parameters[i].unit})` });
  const scale = ({ linear, low, high }, from, to) => {
    const f = linear ? v => v : Math.log;
    return v => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  };
  const label = (text, at) => { // f_m with a real subscript
    const [, base, sub, rest] = text.match(/^(.*?)(?:_(.))?( .*)?$/);
    if (!sub) return P.s("text", at, text);
    return P.s("text", at, P.s("tspan", { class: "name" }, base), P.s("tspan", { class: "sub", dy: 3 }, sub), P.s("tspan", { dy: -3 }, rest));
  };
  P.plot = ({ x, y, ratio, most = 1e3, canvas }, paint) => {
    const svg = P.s("svg", { "aria-hidden": "true" }), ground = P.h("canvas", { role: "img", ...canvas });
    const box = P.h("div", { class: "pnp-plot" }, ground, svg);
    const left = 30 + 7 * Math.max(...y.ticks.map(v => String(v).length)), right = 14, top = 8, bottom = 40;
    const draw = () => {
      const width = box.clientWidth, w = width - left - right, h = Math.round(Math.min(most, w * ratio)), height = h + top + bottom;
      if (w < 20) return;
      const view = { svg, ground, w, h, left, top, x: scale(x, left, left + w), y: scale(y, top + h, top) };
      Object.assign(ground.style, { left: `${left}px`, top: `${top}px`, width: `${w}px`, height: `${h}px` });
      grow(svg, { viewBox: `0 0 ${width} ${height}`, width, height }, []).replaceChildren(
        ...x.ticks.flatMap(v => [
          P.s("path", { class: "tick", d: `M${view.x(v)} ${top + h}v4` }),
          P.s("text", { x: view.x(v), y: top + h + 17, "text-anchor": "middle" }, v)]),
        ...y.ticks.flatMap(v => [
          P.s("path", { class: "tick", d: `M${left} ${view.y(v)}h-4` }),
          P.s("text", { x: left - 7, y: view.y(v) + 4, "text-anchor": "end" }, v)]),
        label(x.label, { x: left + w / 2, y: height - 4, "text-anchor": "middle" }),
        label(y.label, { transform: `translate(11 ${top + h / 2}) rotate(-90)`, "text-anchor": "middle" }),
        P.s("rect", { class: "frame", x: left, y: top, width: w, height: h }));
      paint(view);
    };
    redraws.add(draw);
    new ResizeObserver(() => P.frame(draw)).observe(box);
    return { box, ground, draw: () => P.frame(draw) };
  };
  /** A chosen point, as a ring that is seen on any ground. */
  P.ring = (cx, cy) => ["mark halo", "mark"].map(kind => P.s("circle", { class: kind, cx, cy, r: 9 }));
  /** A map to choose from: `pick` hears the place of a click, 0 … 1 from below left, `walk` the way of an arrow key. */
  P.choice = (ground, pick, walk) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    ground.addEventListener("click", event => pick(...P.share(ground, event)));
    ground.addEventListener("keydown", event => {
      if (!ways[event.key]) return;
      event.preventDefault();
      walk(...ways[event.key]);
    });
  };
  P.share = (ground, { clientX, clientY }) => {
    const { left, bottom, width, height } = ground.getBoundingClientRect();
    return [(clientX - left) / width, (bottom - clientY) / height].map(v => P.clamp(v, 0, 1, 0));
  };
  // ---- figures start when they come near the window, after its first paint -----------------------------------------
  P.boot = (kind, build) => {
    const start = root => {
      const stage = root.querySelector(".pnp-stage");
      try {
        const data = P.read(root);
        Object.assign(P, data.synth); // parameters, rate and samples, as Python has them
        stage.replaceChildren(...build(data));
        if (!P.hasAudio) stage.append(P.h("p", { class: "pnp-note" }, "This browser has no Web Audio: ordinary players instead."));
        root.dataset.ready = "true";
      } catch (problem) {
        stage.replaceChildren(P.h("p", { class: "pnp-problem", role: "alert" }, problem.message));
        root.dataset.ready = "failed";
      }
    };
    const near = new IntersectionObserver(seen => seen.filter(e => e.isIntersecting).forEach(({ target }) => {
      near.unobserve(target);
      requestAnimationFrame(() => setTimeout(start, 0, target));
    }), { rootMargin: "200px" });
    document.querySelectorAll(`.pnp[data-kind="${kind}"]:not([data-ready])`).forEach(root => {
      root.dataset.ready = "waiting";
      near.observe(root);
    });
  };
})(window.PNP);
