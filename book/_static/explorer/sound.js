// The synthesiser, a scalogram, and players of sounds that are compared.
(P => {
  if (P.synth) return;
  /** pnpkit.Arpeggio, variant "code". */
  P.synth = ([fc, fm, gamma], n = P.samples) => Float64Array.from({ length: n }, (_, i) => {
    const t = (i - n / 2) / P.rate, a = gamma * Math.LN2 * t;
    const phase = 2 * Math.PI * fc * t * (Math.abs(a) < 1e-6 ? 1 + a / 2 : Math.expm1(a) / a);
    const window = Math.exp(-((((t + 0.5 / P.rate) * gamma) / 0.2) ** 2) / 2);
    return gamma * Math.sin(phase) * Math.sin(2 * Math.PI * fm * t) * window;
  });
  /** In place, length a power of two; sign −1 forwards, 1 backwards without the factor 1/n. */
  P.fft = (re, im, sign) => {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i++) {
      for (let bit = n >> 1; (j ^= bit) < bit; bit >>= 1);
      if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
    }
    for (let half = 1; half < n; half *= 2) {
      for (let k = 0; k < half; k++) {
        const c = Math.cos((Math.PI * k) / half), s = sign * Math.sin((Math.PI * k) / half);
        for (let i = k; i < n; i += 2 * half) {
          const j = i + half, x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
          re[j] = re[i] - x; im[j] = im[i] - y; re[i] += x; im[i] += y;
        }
      }
    }
  };
  P.bands = P.range(60).map(k => 256 * 2 ** ((3 * k) / 59)); // Hz, three octaves
  /** pnpkit's morlet_scalogram: a row a band, a frame every `hop` samples. */
  P.scalogram = (x, q = 12, hop = 32) => {
    const n = x.length, re = Float64Array.from(x), im = new Float64Array(n), frames = n / hop, bin = P.rate / n;
    P.fft(re, im, -1);
    return P.bands.map(centre => {
      // every hop-th sample of a band is the inverse transform of its spectrum, folded: exact, and short
      const a = new Float64Array(frames), b = new Float64Array(frames), reach = 3 / q;
      const last = Math.min(n / 2 - 1, Math.floor((centre * (1 + reach)) / bin));
      for (let k = Math.ceil((centre * (1 - reach)) / bin); k <= last; k++) {
        const gain = (2 / n) * Math.exp(-(((k * bin) / centre - 1) ** 2) * 2 * Math.LN2 * q * q);
        a[k % frames] += gain * re[k];
        b[k % frames] += gain * im[k];
      }
      P.fft(a, b, 1);
      return a.map((v, i) => Math.hypot(v, b[i]));
    });
  };
  /** One gain for all, 0.9 of full scale for the loudest, and 0.2 s of silence around them: all, or each on its own. */
  P.prepare = (waves, together = true) => {
    const peaks = waves.map(x => x.reduce((m, v) => Math.max(m, Math.abs(v)), 0)), gain = 0.9 / (Math.max(...peaks) || 1);
    const ends = waves.map((x, k) => {
      const heard = v => Math.abs(v) > 1e-3 * peaks[k];
      return [x.findIndex(heard) - 0.2 * P.rate, x.findLastIndex(heard) + 0.2 * P.rate];
    });
    const all = [Math.min(...ends.map(e => e[0])), Math.max(...ends.map(e => e[1]))];
    return waves.map((x, k) => {
      const [from, to] = (together ? all : ends[k]).map(v => Math.round(P.clamp(v, 0, x.length, 0)));
      return Float32Array.from(x.slice(from, to), v => gain * v);
    });
  };
  P.join = parts => Float32Array.from(parts.flatMap(x => Array.from(x)));
  P.wav = x => {
    const [riff, wave, format, data] = [0x46464952, 0x45564157, 0x20746d66, 0x61746164], bytes = 2 * x.length;
    const head = Uint32Array.of(riff, 36 + bytes, wave, format, 16, 0x10001, P.rate, 2 * P.rate, 0x100002, data, bytes); // 16 bits, mono
    return URL.createObjectURL(new Blob([head, Int16Array.from(x, v => Math.round(32767 * v))], { type: "audio/wav" }));
  };

  const Context = window.AudioContext ?? window.webkitAudioContext;
  let context = null;
  P.hasAudio = Boolean(Context);
  P.deck = null; // what plays now
  P.stop = () => {
    const { gains = [], sources = [], ended } = P.deck ?? {};
    P.deck = null;
    gains.forEach(g => g.gain.setTargetAtTime(0, context.currentTime, 0.004));
    sources.forEach(source => source.stop(context.currentTime + 0.03));
    ended?.();
  };
  /** Start all sounds at one instant, all but one of them mute; P.select changes which is heard, within 10 ms. */
  P.play = (sounds, { active = 0, loop = false, ended }) => {
    P.stop();
    context ??= new Context();
    context.resume();
    const at = context.currentTime + 0.03, deck = { ended, sources: [], gains: [] };
    sounds.forEach((x, k) => {
      const source = context.createBufferSource(), gain = context.createGain();
      source.buffer = context.createBuffer(1, x.length, P.rate);
      source.buffer.copyToChannel(x, 0);
      source.loop = loop;
      source.onended = () => P.deck === deck && P.stop();
      gain.gain.value = Number(k === active);
      source.connect(gain).connect(context.destination);
      source.start(at);
      deck.sources.push(source);
      deck.gains.push(gain);
    });
    P.deck = deck;
  };
  P.select = active => P.deck?.gains.forEach((g, k) => {
    g.gain.setValueAtTime(g.gain.value, context.currentTime);
    g.gain.linearRampToValueAtTime(Number(k === active), context.currentTime + 0.01);
  });
  /** A button that plays and stops what `sound` gives: [waves, options]; without Web Audio a player of the active one.
      `refresh` is to be called when that sound has changed. */
  P.button = (label, sound) => {
    if (!P.hasAudio) {
      const audio = P.h("audio", { controls: "", preload: "none", "aria-label": label });
      const refresh = () => {
        const [waves, { active = 0 } = {}] = sound();
        URL.revokeObjectURL(audio.src);
        audio.src = P.wav(waves[active]);
      };
      return Object.assign(P.h("div", { class: "pnp-audio" }, label, audio), { refresh: () => P.frame(refresh) });
    }
    const sign = P.h("span", { "aria-hidden": "true" }, "▶"), button = P.h("button", { type: "button", class: "pnp-play" }, sign, ` ${label}`);
    button.addEventListener("click", () => {
      if (sign.textContent === "■") return P.stop();
      const [waves, options = {}] = sound();
      P.play(waves, { ...options, ended: () => { sign.textContent = "▶"; options.ended?.(); } });
      sign.textContent = "■";
      options.began?.();
    });
    return Object.assign(button, { refresh() {} });
  };
})(window.PNP);
