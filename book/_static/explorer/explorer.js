// Something to turn: a sound, a guess, the metric's ellipse around the sound, both losses, both sounds.
(P => {
  const RADIUS = 8, LEVELS = 40; // units of Φ; dB of the scalogram
  const PLANES = [[0, 2], [1, 2], [0, 1]];
  const inside = theta => theta.map((v, i) => P.clamp(v, P.parameters[i].low, P.parameters[i].high, P.parameters[i].low));
  const place = ({ low, high }, share) => low * (high / low) ** share;
  const percent = v => `${+P.digits(100 * v, 2)} %`;
  const note = (...text) => P.h("p", { class: "pnp-note" }, ...text);
  /** A slider and a number for each parameter; `change` hears of every move. */
  const sliders = (who, theta, change) => {
    const rows = P.parameters.map((p, i) => {
      const set = v => { theta[i] = P.clamp(v, p.low, p.high, theta[i]); show(); change(); };
      const name = `${who}: ${p.name} ${p.text}`;
      const range = P.h("input", { type: "range", min: 0, max: 1, step: 0.002, "aria-label": name, oninput: () => set(place(p, range.value)) });
      const number = P.h("input", { type: "number", min: p.low, max: p.high, step: "any", "aria-label": `${name} in ${p.unit}` });
      number.addEventListener("change", () => set(number.valueAsNumber));
      const show = () => {
        range.value = Math.log(theta[i] / p.low) / Math.log(p.high / p.low);
        number.value = P.digits(theta[i], 4);
        range.setAttribute("aria-valuetext", `${P.digits(theta[i], 3)} ${p.unit}`);
      };
      const [symbol, unit] = [["pnp-name", p.html], ["pnp-unit", p.unit]].map(([c, innerHTML]) => P.h("span", { class: c, innerHTML }));
      return { show, row: P.h("div", { class: "pnp-slider" }, symbol, range, number, unit) };
    });
    return { show: () => rows.forEach(r => r.show()), nodes: rows.map(r => r.row) };
  };
  const scalogram = (who, theta) => P.plot({
    canvas: { "aria-label": `Scalogram of ${who}: frequency against time` }, ratio: 0.56,
    x: { linear: true, low: -1, high: 1, ticks: [-1, -0.5, 0, 0.5, 1], label: "time (s)" },
    y: { low: P.bands[0], high: P.bands.at(-1), ticks: [256, 512, 1024, 2048], label: "frequency (Hz)" },
  }, ({ ground }) => {
    const shown = P.scalogram(P.synth(theta)).map(row => row.slice(row.length / 4, (3 * row.length) / 4));
    const top = Math.max(...shown.map(row => Math.max(...row))), dark = P.dark();
    const level = v => P.clamp(1 + (20 * Math.log10(v / top + 1e-9)) / LEVELS, 0, 1, 0);
    P.image(ground, shown, v => P.magma(dark ? 0.04 + 0.96 * level(v) : 1 - level(v)));
  });
  /** The ellipse ⟨δ | M | δ⟩ = r² around θ in one plane, through a Cholesky factor of M's block, on the plot's axes. */
  const ellipse = (M, theta, [a, b], r, { x, y }) => {
    const l = Math.sqrt(M[a][a]), k = M[a][b] / l, m = Math.sqrt(M[b][b] - k * k);
    return "M" + P.range(91).map(i => {
      const u = r * Math.cos((i * Math.PI) / 45), v = (r * Math.sin((i * Math.PI) / 45)) / m;
      return `${x(Math.max(1e-3, theta[a] + (u - k * v) / l)).toFixed(1)} ${y(Math.max(1e-3, theta[b] + v)).toFixed(1)}`;
    }).join("L");
  };

  P.boot("explorer", ({ settings, theta: sounds, M }) => {
    const metrics = new P.Metrics(sounds, M, settings.kernel, settings.neighbours);
    const sound = metrics.point(settings.start), guess = inside([1.02, 1.2, 0.85].map((f, i) => f * sound[i]));
    let metric = metrics.at(sound), probe = null; // probe: the step that is heard just now
    const losses = () => {
      const d = guess.map((v, i) => v - sound[i]);
      return [P.pLoss(d), P.quadratic(metric.M, d)];
    };
    const steps = () => P.parameters.map((_, i) => RADIUS / Math.sqrt(metric.M[i][i]));
    const pictures = [scalogram("the sound", sound), scalogram("your guess", guess)];
    const drawPlanes = () => planes.forEach(p => p.draw());
    const moved = () => { metric = metrics.at(sound); pictures[0].draw(); drawPlanes(); numbers(); };
    const guessed = () => { pictures[1].draw(); drawPlanes(); numbers(); };
    const ours = sliders("The sound", sound, moved), theirs = sliders("Your guess", guess, guessed);
    const planes = PLANES.map(([a, b]) => {
      const [p, q] = [P.parameters[a], P.parameters[b]];
      const canvas = { "aria-label": `Plane of ${p.name} and ${q.name}: the sound, its ellipse, your guess` };
      const plane = P.plot({ canvas, ratio: 0.9, most: 132, x: P.axis(a), y: P.axis(b) }, view => {
        const { svg, x, y, left, top, w: width, h: height } = view, id = `pnp-clip-${a}${b}`;
        const [[sx, sy], [gx, gy], heard] = [sound, guess, probe].map(t => t && [x(t[a]), y(t[b])]);
        const ball = (kind, r) => P.s("path", { class: kind, d: ellipse(metric.M, sound, [a, b], r, view) });
        svg.append(
          P.s("clipPath", { id }, P.s("rect", { x: left, y: top, width, height })),
          P.s("g", { "clip-path": `url(#${id})` }, ball("ball wide", 3 * RADIUS), ball("ball", RADIUS)),
          P.s("path", { class: "error", d: `M${sx} ${sy}L${gx} ${gy}` }),
          P.s("circle", { class: "sound", cx: sx, cy: sy, r: 3.5 }),
          P.s("path", { class: "guess", d: `M${gx} ${gy - 7}l7 7l-7 7l-7 -7z` }));
        if (heard) svg.append(P.s("circle", { class: "probe", cx: heard[0], cy: heard[1], r: 8 }));
      });
      const drag = event => {
        const tap = event.type === "click";
        if (event.pointerType === "touch" && !tap) return; // a finger may only be scrolling
        if (event.type === "pointerdown") plane.ground.setPointerCapture(event.pointerId);
        if (!tap && !plane.ground.hasPointerCapture(event.pointerId)) return;
        const share = P.share(plane.ground, event);
        [guess[a], guess[b]] = [place(p, share[0]), place(q, share[1])];
        theirs.show();
        guessed();
      };
      ["pointerdown", "pointermove", "click"].forEach(type => plane.ground.addEventListener(type, drag));
      return plane;
    });
    const both = active => () => [P.prepare([sound, guess].map(t => P.synth(t))), { active }];
    const listen = P.button("Play the sound", both(0)), other = P.button("Play your guess", both(1));
    /** One after the other at one level: the sound, then a step along each parameter. */
    const tour = (name, lengths) => P.button(name, () => {
      const sizes = lengths().map((s, i) => (sound[i] + s > P.parameters[i].high ? -s : s));
      const stops = [sound, ...sizes.map((s, i) => sound.map((v, j) => v + (i === j) * s))], timers = [];
      const parts = P.prepare(stops.map(t => P.synth(t)), false);
      const step = (s, i) => `${P.parameters[i].text} ${s < 0 ? "−" : "+"} ${+P.digits(Math.abs(s), 2)} ${P.parameters[i].unit}`;
      const text = ["the sound itself", ...sizes.map(step)];
      const began = () => parts.reduce((at, x, k) => {
        timers.push(setTimeout(() => { said.textContent = `Now: ${text[k]}`; probe = k ? stops[k] : null; drawPlanes(); }, (1000 * at) / P.rate));
        return at + x.length;
      }, 0);
      const ended = () => { timers.forEach(clearTimeout); probe = null; said.textContent = `Heard: ${text.join("; ")}.`; drawPlanes(); };
      return [[P.join(parts)], { began, ended }];
    });
    const tours = [tour("Equal steps in θ", () => [1, 1, 1]), tour("Equal steps in M", steps)];
    const table = P.h("div", { class: "pnp-numbers" }), source = note(), lengths = note(), said = P.h("p", { class: "pnp-said", role: "status" });
    const nearest = P.press("Take the nearest exact one", () => {
      sound.splice(0, 3, ...metrics.point(metrics.nearest(sound, 1)[0]));
      ours.show();
      moved();
      ours.nodes[0].querySelector("input").focus({ preventScroll: true }); // the button is gone
    }, { class: "pnp-link" });
    const numbers = () => {
      const [p, pnp] = losses(), sign = metric.exact ? "" : "≈ ", [middle, most] = settings.error.map(percent);
      table.replaceChildren(...[
        ["P-loss", "mean of δ², in raw units", P.digits(p, 4), ""],
        ["PNP loss", "½ ⟨δ | M | δ⟩", sign + P.digits(pnp, 4), ""],
        ["Predicted distance", "√(2 · PNP loss)", sign + P.digits(Math.sqrt(2 * pnp), 3), "units of Φ"],
      ].map(([name, formula, value, unit]) => P.h("div", {},
        P.h("b", {}, name), P.h("small", {}, formula), P.h("p", {}, value, " ", P.h("small", {}, unit)))));
      source.replaceChildren(...(metric.exact
        ? [`M is exact here: the sound is one of the ${metrics.n} whose metric was computed.`]
        : [`M is approximate here, interpolated between ${metrics.n} computed metrics: ± ${middle} on the PNP loss in the median, `,
          `one in ten off by more than ${most}. `, nearest]));
      const sizes = steps().map((s, i) => `${+P.digits(s, 2)} ${P.parameters[i].unit}`).join(", ");
      lengths.textContent = "You hear the sound, then a step along each parameter, in θ 1 Hz, 1 Hz, 1 octave/s; "
        + `in M ${sizes}: ${RADIUS} units of Φ each.`;
      [listen, other, ...tours].forEach(b => b.refresh());
    };
    const column = (kind, title, picture, controls, button) => P.h("section", { class: `pnp-column ${kind}` },
      P.h("p", { class: "pnp-title" }, title), picture.box, ...controls.nodes, P.h("div", { class: "pnp-buttons" }, button));
    const set = (s, g) => { sound.splice(0, 3, ...inside(s)); guess.splice(0, 3, ...inside(g)); ours.show(); theirs.show(); guessed(); moved(); };
    P.explorer = { sound, guess, metrics, losses, set, get metric() { return metric; } };
    ours.show(), theirs.show(), numbers();
    return [
      P.h("div", { class: "pnp-pair" },
        column("sound", "The sound", pictures[0], ours, listen), column("guess", "Your guess", pictures[1], theirs, other)),
      table, source,
      P.h("div", { class: "pnp-planes" }, ...planes.map(p => p.box)),
      note(`Around the sound: all guesses at ${RADIUS} units of Φ (filled) and ${3 * RADIUS} (outline) by the metric, the third `,
        "parameter being right; logarithmic axes. Drag the diamond, tap, or use its sliders. The picture is linear: trust it near ",
        "the ellipse, not far beyond."),
      P.h("div", { class: "pnp-buttons" }, ...tours), lengths, said,
    ];
  });
})(window.PNP);
