// Hear any of the test sounds: the target and each network's answer, switched without a gap, blind if wanted.
(P => {
  P.boot("listening", data => {
    const { theta, constant, settings: { names } } = data, n = constant.length, all = P.range(n), networks = [...names.keys()];
    const distance = k => data[`distance${k}`], target = i => P.triple(theta, i), answer = (k, i) => P.triple(data[`answer${k}`], i);
    const failed = (k, i) => !(distance(k)[i] <= constant[i]); // farther than the constant answer, or no number
    const numbers = networks.flatMap(k => Array.from(distance(k))).filter(Number.isFinite).sort((a, b) => a - b);
    const cap = 10 * Math.ceil(numbers[Math.floor(0.97 * (numbers.length - 1))] / 10); // of the colours
    let shown = names.length - 1, chosen = 0, order = networks, hidden = false, places = [];
    P.listening = { get state() { return { chosen, shown, order, hidden }; } };
    // ---- the map: colour, size and shape say the same ------------------------------------------------------------
    const tint = t => `rgb(${P.magma(P.dark() ? 0.36 + 0.6 * t : 0.74 - 0.6 * t)})`;
    const map = P.plot({
      x: P.axis(1), y: P.axis(2), ratio: 0.62, most: 420,
      canvas: { tabindex: 0, role: "application", "aria-roledescription": "dot plot", "aria-describedby": "pnp-listening-now" },
    }, ({ svg, ground, x, y, w, h, left, top }) => {
      const dense = window.devicePixelRatio || 1, size = P.clamp(w / 640, 0.65, 1, 1), pen = ground.getContext("2d");
      const tints = P.range(101).map(t => tint(t / 100)), far = i => P.clamp(distance(shown)[i] / cap, 0, 1, 1);
      Object.assign(ground, { width: w * dense, height: h * dense });
      pen.scale(dense, dense);
      places = all.map(i => [x(theta[3 * i + 1]) - left, y(theta[3 * i + 2]) - top]);
      for (const i of [...all].sort((i, j) => far(i) - far(j))) {
        const [u, v] = places[i], r = size * (1.5 + 2.8 * far(i)), d = 1.5 * r + 1;
        pen.fillStyle = tints[Math.round(100 * far(i))];
        pen.beginPath();
        if (failed(shown, i)) [[0, -d], [d, 0], [0, d], [-d, 0]].forEach(([a, b]) => pen.lineTo(u + a, v + b));
        else pen.arc(u, v, r, 0, 7);
        pen.fill();
      }
      svg.append(...P.ring(places[chosen][0] + left, places[chosen][1] + top));
    });
    const nearest = cost => all.reduce((a, b) => (cost(b) < cost(a) ? b : a));
    P.choice(map.ground, (u, v) => {
      const { clientWidth: w, clientHeight: h } = map.ground;
      choices.querySelector("input").checked = true; // the target first
      choose(nearest(i => Math.hypot(places[i][0] - u * w, places[i][1] - (1 - v) * h)));
      if (P.hasAudio) play.click();
    }, (right, up) => choose(nearest(i => {
      const [du, dv] = [0, 1].map(j => places[i][j] - places[chosen][j]), ahead = du * right - dv * up;
      return i === chosen ? 1e6 : ahead > 0.5 ? ahead + 2.5 * Math.abs(du * up + dv * right) : 1e7;
    })));
    // ---- the sounds ------------------------------------------------------------------------------------------------
    const now = P.h("p", { id: "pnp-listening-now", role: "status" }), choices = P.h("fieldset"), table = P.h("div", { class: "pnp-table" });
    const sounds = () => [target(chosen), ...order.map(k => answer(k, chosen))], playable = t => t.every(Number.isFinite);
    const active = () => Number(choices.querySelector(":checked:enabled")?.value ?? 0);
    const play = P.button("Play in a loop", () => {
      const waves = sounds().map(t => (playable(t) ? P.synth(t) : new Float64Array(P.samples)));
      return [P.prepare(waves), { active: active(), loop: true }];
    });
    const marked = (v, j) => P.digits(v, 4) + (v < P.parameters[j].low || v > P.parameters[j].high ? " *" : "");
    const show = () => {
      const title = j => (hidden ? `Answer ${"ABCDEFGH"[j]}` : names[order[j]]), was = active();
      const radio = (text, value) => P.h("label", { class: "pnp-choice" }, P.h("input", {
        type: "radio", name: "pnp-heard", value, checked: value === was, disabled: !playable(sounds()[value]),
        onchange: () => { P.select(value); play.refresh(); },
      }), text);
      choices.replaceChildren(P.h("legend", {}, "Heard now"), ...["Target", ...order.map((_, j) => title(j))].map(radio));
      const far = (k, i) => P.digits(distance(k)[i], 3) + (failed(k, i) ? " ◆" : "");
      table.replaceChildren(P.table(["sound", ...P.parameters.map(p => `${p.html}<small>${p.unit}</small>`), "distance<small>units of Φ</small>"], [
        ["Target", ...target(chosen).map(marked), "0"],
        ...order.map((k, j) => (hidden ? [title(j), "", "", "", ""] : [title(j), ...answer(k, chosen).map(marked), far(k, chosen)])),
        ["Constant answer", "", "", "", P.digits(constant[chosen], 3)]]));
      const end = hidden ? "." : `; ${names[shown]} is ${P.digits(distance(shown)[chosen], 3)} units of Φ away.`;
      now.replaceChildren(`Sound ${chosen + 1} of ${n}: `, ...P.words(target(chosen)), end);
      map.ground.setAttribute("aria-label", `${n} test sounds over f_m and γ, by the distance of ${names[shown]}; arrow keys choose one`);
      next.textContent = `Next failure ◆ (${all.filter(i => failed(shown, i)).length})`;
      reveal.disabled = !hidden;
      map.draw();
      play.refresh();
    };
    const shuffle = () => {
      P.stop();
      hidden = blind.checked;
      order = hidden ? networks.map(k => [Math.random(), k]).sort(([a], [b]) => a - b).map(([, k]) => k) : networks;
      show();
    };
    const choose = i => { chosen = i; shuffle(); };
    const go = (text, pick) => P.press(text, () => choose(pick()));
    const ranked = share => {
      const known = all.filter(i => Number.isFinite(distance(shown)[i])).sort((i, j) => distance(shown)[i] - distance(shown)[j]);
      return known[Math.floor(share * (known.length - 1))] ?? 0;
    };
    const next = go("", () => all.find(i => i > chosen && failed(shown, i)) ?? all.find(i => failed(shown, i)) ?? chosen);
    const blind = P.h("input", { type: "checkbox", onchange: shuffle }), reveal = P.press("Reveal", () => { hidden = false; show(); blind.focus(); });
    const select = P.h("select", { onchange: () => { shown = select.selectedIndex; show(); } }, ...names.map(name => P.h("option", {}, name)));
    select.selectedIndex = shown;
    chosen = ranked(0.5);
    show();
    return [
      P.h("div", { class: "pnp-buttons" }, P.h("label", {}, "Distance of ", select),
        go("Closest", () => ranked(0)), go("Median", () => ranked(0.5)), go("Farthest", () => ranked(1)), next),
      map.box,
      P.h("p", { class: "pnp-key" }, P.h("span", {}, "0 ", P.bar(tint), ` ${cap} units of Φ and more`),
        P.h("span", {}, "◆ farther than the constant answer, or no number")),
      now, choices, P.h("div", { class: "pnp-buttons" }, play, P.h("label", { class: "pnp-choice" }, blind, "Blind"), reveal), table,
      P.h("p", { class: "pnp-note" }, "* outside the parameter’s range. Switching keeps the place in the sound; all are played with one gain."),
    ];
  });
})(window.PNP);
