// A carrier a little higher, on and off the line f_m = 3γ: what the metric says, and what the reader hears. The answers stay here.
(P => {
  const STORE = "pnpkit-atlas-answers", KINDS = ["on the line", "off the line", "identical"];
  P.boot("atlas", ({ settings: { raised, side }, theta, predicted, heard }) => {
    const cells = P.range(side * side), sound = i => P.triple(theta, i), higher = i => sound(i).map((v, j) => (j ? v : raised * v));
    const off = i => Math.abs(Math.log2(theta[3 * i + 1] / theta[3 * i + 2] / 3)); // octaves from the line
    const pools = [cells.filter(i => off(i) < 0.1), cells.filter(i => off(i) > 0.5), cells];
    const percent = `${+P.digits(100 * (raised - 1), 2)} %`, low = Math.min(...predicted), high = Math.max(...predicted);
    const says = i => `${P.digits(predicted[i], 2)} units by the metric, ${P.digits(heard[i], 2)} by Φ itself`;
    let chosen = cells.reduce((a, b) => (predicted[b] > predicted[a] ? b : a)), trial = null, tally = KINDS.map(() => [0, 0]);
    P.atlas = { get state() { return { chosen, trial, tally }; } };
    try {
      const kept = JSON.parse(localStorage.getItem(STORE));
      if (kept.length === 3 && kept.every(([a, b]) => a >= b && b >= 0)) tally = kept;
    } catch { /* no storage, or not ours: the tally starts at zero */ }
    const keep = () => {
      try { localStorage.setItem(STORE, JSON.stringify(tally)); } catch { /* it lasts as long as the page */ }
      show();
    };
    const [, m, g] = P.parameters, [from, to] = [Math.max(m.low, 3 * g.low), Math.min(m.high, 3 * g.high)]; // of the line
    const tint = t => P.magma(0.12 + 0.82 * t), bound = v => P.clamp(v, 0, side - 1, 0);
    const map = P.plot({
      x: P.axis(1), y: P.axis(2), ratio: 0.62, most: 380,
      canvas: {
        class: "cells", tabindex: 0, role: "application", "aria-roledescription": "map",
        "aria-label": `Distance to a carrier ${percent} higher, by the metric, over f_m and γ; arrow keys choose a sound`,
      },
    }, ({ svg, ground, x, y }) => {
      const share = i => Math.log(predicted[i] / low) / Math.log(high / low);
      P.image(ground, P.range(side).map(g => P.range(side).map(m => share(m * side + g))), tint);
      svg.append(...["line halo", "line"].map(kind => P.s("path", { class: kind, d: `M${x(from)} ${y(from / 3)}L${x(to)} ${y(to / 3)}` })));
      if (!trial) svg.append(...P.ring(x(theta[3 * chosen + 1]), y(theta[3 * chosen + 2])));
    });
    const move = (m, g) => {
      P.stop();
      [chosen, trial] = [bound(m) * side + bound(g), null];
      show();
    };
    P.choice(map.ground, (u, v) => move(Math.floor(u * side), Math.floor(v * side)),
      (right, up) => move(Math.floor(chosen / side) + right, (chosen % side) + up));

    const play = P.button("Play the pair", () => {
      const pair = trial?.pair ?? [sound(chosen), higher(chosen)];
      return [[P.join(P.prepare(pair.map(t => P.synth(t))))]];
    });
    const hide = P.press("Hidden pair", () => {
      P.stop();
      const kind = Math.floor(3 * Math.random()), i = pools[kind][Math.floor(pools[kind].length * Math.random())];
      const pair = [sound(i), kind === 2 ? sound(i) : higher(i)];
      trial = { kind, i, pair: Math.random() < 0.5 ? pair : pair.reverse() };
      show();
      if (P.hasAudio) play.click();
    });
    const say = ["Same", "Different"].map((text, different) => P.press(text, () => {
      const { kind, i } = trial;
      P.stop();
      tally[kind][0]++;
      tally[kind][1] += different;
      [chosen, trial] = [i, null];
      keep();
      hide.focus(); // this button is disabled now
      const truth = kind === 2 ? "identical" : `${percent} apart, ${KINDS[kind]}: ${says(i)}`;
      now.textContent = `You said ${text.toLowerCase()}. They were ${truth}.`;
    }));
    const clear = P.press("Clear my answers", () => { tally = KINDS.map(() => [0, 0]); keep(); });
    const now = P.h("p", { role: "status" }), table = P.h("div", { class: "pnp-table" });
    const show = () => {
      now.replaceChildren(...(trial ? ["A hidden pair: same or different? Play it as often as you like."]
        : [...P.words(sound(chosen)), `. A carrier ${percent} higher is away by ${says(chosen)}.`]));
      say.forEach(b => (b.disabled = !trial));
      const median = (values, k) => (k === 2 ? "0" : P.digits(pools[k].map(i => values[i]).sort((a, b) => a - b)[pools[k].length >> 1], 2));
      table.replaceChildren(P.table(["hidden pairs", "the metric<small>median</small>", "Φ itself<small>median</small>", "you said different"],
        KINDS.map((kind, k) => [k === 2 ? kind : `${percent} apart, ${kind}`, median(predicted, k), median(heard, k), `${tally[k][1]} of ${tally[k][0]}`])));
      play.refresh();
      map.draw();
    };
    show();
    return [
      map.box,
      P.h("p", { class: "pnp-key" }, P.h("span", {}, `${P.digits(low, 2)} `, P.bar(t => `rgb(${tint(t)})`), ` ${P.digits(high, 2)} units of Φ, by the metric`),
        P.h("span", { innerHTML: `dashed: ${P.parameters[1].html} = 3<i>γ</i>, six notes an octave` })),
      now, P.h("div", { class: "pnp-buttons" }, play, hide, ...say), table,
      P.h("div", { class: "pnp-buttons" }, clear, P.h("span", { class: "pnp-note" }, "Kept in this browser only, never sent.")),
    ];
  });
})(window.PNP);
