"""Figures that the reader turns: their data and their place in a page, for the scripts of ``book/_static/explorer``.

A page that is opened from a disk may fetch nothing, so the data stand in it, as base64 with a SHA-256 each.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pnpkit.figures.between import KERNEL, NEIGHBOURS
from pnpkit.synth import Arpeggio

SCRIPTS = {
    "explorer": ("core.js", "sound.js", "metric.js", "explorer.js"),
    "listening": ("core.js", "sound.js", "listening.js"),
    "atlas": ("core.js", "sound.js", "atlas.js"),
}
WORDS = {"carrier": "f_c", "modulation": "f_m", "chirp rate": "γ"}  # for the parameters
RAISED = 1.01  # factor on the carrier in the atlas


@dataclass(frozen=True)
class Interactive:
    """One interactive figure, as a notebook shows it.

    Args:
        kind: ``"explorer"``, ``"listening"`` or ``"atlas"``.
        label: its accessible name.
        data: arrays, stored as float32, and what JSON can say, by name.
        fallback: HTML where no script runs (no JavaScript, or a notebook apart from its site): where to look instead.
        static: where the page finds ``book/_static/explorer``.
    """

    kind: str
    label: str
    data: Mapping[str, Any] = field(repr=False)
    fallback: str = field(repr=False)
    static: str = "../_static/explorer"

    def _repr_html_(self) -> str:
        data = "\n".join(_script(name, value) for name, value in {"synth": _synth(), **self.data}.items())
        # not deferred: they would wait for MathJax, which takes longer than the figure
        scripts = "\n".join(f'<script src="{self.static}/{name}"></script>' for name in SCRIPTS[self.kind])
        return (
            f'<link rel="stylesheet" href="{self.static}/explorer.css">\n'
            f'<div class="pnp" data-kind="{self.kind}" role="group" aria-label="{html.escape(self.label)}">\n'
            f'<div class="pnp-stage"><div class="pnp-fallback">{self.fallback}</div></div>\n{data}\n</div>\n{scripts}'
        )


def explorer(theta: ArrayLike, M: ArrayLike, error: tuple[float, float], fallback: str) -> Interactive:
    """Sliders for a sound, at first the middle one, and a guess, with the metric's ellipse and both losses.

    Args:
        theta: (n, 3), sounds of the grid, raw units.
        M: (n, 3, 3), their metrics in raw units.
        error: median and 90 % quantile of :func:`pnpkit.figures.between.interpolation_error`.
        fallback: as in :class:`Interactive`.
    """
    points, metrics = np.asarray(theta, np.float64), np.asarray(M, np.float64)
    first = int(np.abs(np.log(points**2 / points.min(0) / points.max(0))).sum(1).argmin())
    i, j = np.triu_indices(3)
    settings = {"kernel": KERNEL, "neighbours": NEIGHBOURS, "error": [round(e, 4) for e in error], "start": first}
    data = {"settings": settings, "theta": points, "M": metrics[:, i, j]}
    return Interactive("explorer", "A sound, a guess, and how far apart they are", data, fallback)


def listening(
    theta: ArrayLike, answers: Mapping[str, tuple[ArrayLike, ArrayLike]], constant: ArrayLike, fallback: str
) -> Interactive:
    """All test sounds over γ and f_m, and what each network answers to them, to be heard.

    Args:
        theta: (n, 3), the test sounds, raw units.
        answers: by name, a network's θ̃, (n, 3), and JTFS distances, (n,); NaN where there is none.
        constant: (n,), JTFS distances of the constant answer, the mean of the train fold.
        fallback: as in :class:`Interactive`.

    Raises:
        ValueError: if lengths differ.
    """
    n, parts = len(np.asarray(theta)), [constant, *(part for pair in answers.values() for part in pair)]
    if {len(np.asarray(part)) for part in parts} != {n}:
        raise ValueError(f"{n} sounds need as many answers and distances, not {[len(np.asarray(p)) for p in parts]}")
    data: dict[str, Any] = {"settings": {"names": list(answers)}, "theta": theta, "constant": constant}
    for k, (guess, distance) in enumerate(answers.values()):
        data |= {f"answer{k}": guess, f"distance{k}": distance}
    return Interactive("listening", "The test sounds and each network's answers, to be heard", data, fallback)


def atlas(theta: ArrayLike, predicted: ArrayLike, fallback: str, heard: ArrayLike) -> Interactive:
    """A map of sounds over f_m and γ, each to be heard beside itself with a raised carrier.

    Args:
        theta: (n, 3), a sound for each cell of a square map, γ fastest, as one layer of the grid is.
        predicted: (n,), distance between it and the other by the metric, units of Φ.
        fallback: as in :class:`Interactive`.
        heard: (n,), the same by Φ itself, which a step of that size bends.

    Raises:
        ValueError: if the cells make no square.
    """
    n, shapes = len(np.asarray(theta)), [np.shape(predicted), np.shape(heard)]
    side = round(n**0.5)
    if side * side != n or set(shapes) != {(n,)}:
        raise ValueError(f"{n} sounds and distances of {shapes} make no square map")
    data = {"settings": {"raised": RAISED, "side": side}, "theta": theta, "predicted": predicted, "heard": heard}
    return Interactive("atlas", "A carrier a little higher: what the metric says, and what you hear", data, fallback)


def _synth() -> dict[str, Any]:
    """The arpeggio's parameters, with an octave a tick, the middle too where there is but one; rate and length."""
    g, parameters = Arpeggio(), []
    for p, (name, text) in zip(g.parameters.parameters, WORDS.items(), strict=True):
        ticks = {p.low * 2**k for k in range(1 + round(math.log2(p.high / p.low)))}
        ticks |= {(p.low + p.high) / 2} if len(ticks) < 3 else set()
        letters = re.sub(r"(.)(?:_(.))?", lambda m: f"<i>{m[1]}</i>" + (f"<sub>{m[2]}</sub>" if m[2] else ""), text)
        known = {"name": name, "text": text, "html": letters, "ticks": sorted(ticks)}
        parameters.append(known | {"unit": p.unit, "low": p.low, "high": p.high})
    return {"parameters": parameters, "rate": g.sample_rate, "samples": g.n_samples}


def _script(name: str, value: Any) -> str:
    """One datum as a script element that no browser runs."""
    if isinstance(value, Mapping):
        kind, content = "json", json.dumps(value, ensure_ascii=False).encode()
    else:
        kind, content = "float32", np.ascontiguousarray(value, "<f4").tobytes()
    digest, text = hashlib.sha256(content).hexdigest(), base64.b64encode(content).decode()
    return f'<script type="text/plain" data-name="{name}" data-type="{kind}" data-sha256="{digest}">{text}</script>'
