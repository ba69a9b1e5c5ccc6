"""Figures that the reader turns: their data and their place in a page, for the scripts of ``book/_static/explorer``.

A page that is opened from a disk may fetch nothing, so the data stand in it, as base64 with a SHA-256 each.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

SCRIPTS = {
    "explorer": ("core.js", "sound.js", "metric.js", "explorer.js"),
    "listening": ("core.js", "sound.js", "listening.js"),
    "atlas": ("core.js", "sound.js", "atlas.js"),
}
# Scales of the interpolation per octave: trends along f_c and f_m, the helix over a band of Φ, the one over an octave of
# f_m; the trend along f_m/γ is one. Of greatest likelihood for the laptop's 14³ metrics, where the paper's had no part.
KERNEL = (0.105, 0.079, 0.092, 0.041)
NEIGHBOURS = 24


@dataclass(frozen=True)
class Interactive:
    """One interactive figure, as a notebook shows it.

    Args:
        kind: ``"explorer"``, ``"listening"`` or ``"atlas"``.
        label: its accessible name.
        data: arrays, stored as float32, and what JSON can say, by name.
        fallback: HTML for readers without JavaScript, such as a sentence that points to figures.
        static: where the page finds ``book/_static/explorer``.
    """

    kind: str
    label: str
    data: Mapping[str, Any]
    fallback: str
    static: str = "../_static/explorer"

    def __repr__(self) -> str:
        return f"Interactive({self.kind})"

    def _repr_html_(self) -> str:
        data = "\n".join(_script(name, value) for name, value in self.data.items())
        scripts = "\n".join(f'<script defer src="{self.static}/{name}"></script>' for name in SCRIPTS[self.kind])
        return (
            f'<link rel="stylesheet" href="{self.static}/explorer.css">\n'
            f'<div class="pnp" data-kind="{self.kind}" role="group" aria-label="{html.escape(self.label)}">\n'
            f'<div class="pnp-stage"><noscript><p>{self.fallback}</p></noscript></div>\n{data}\n</div>\n{scripts}'
        )


def explorer(
    theta: ArrayLike, M: ArrayLike, error: tuple[float, float], fallback: str, start: int | None = None
) -> Interactive:
    """Sliders for a sound and a guess, with the metric's ellipse and both losses.

    Args:
        theta: (n, 3), sounds of the grid, raw units.
        M: (n, 3, 3), their metrics in raw units.
        error: median and 90 % quantile of :func:`interpolation_error`.
        fallback: for readers without JavaScript.
        start: row of the first sound shown; by default the one nearest to the middle.
    """
    points, metrics = np.asarray(theta, np.float64), np.asarray(M, np.float64)
    middle = np.sqrt(points.min(0) * points.max(0))
    first = int(np.abs(np.log(points / middle)).sum(1).argmin()) if start is None else start
    i, j = np.triu_indices(3)
    settings = {"kernel": KERNEL, "neighbours": NEIGHBOURS, "error": [round(e, 4) for e in error], "start": first}
    data = {"settings": settings, "theta": points, "M": metrics[:, i, j]}
    return Interactive("explorer", "A sound, a guess, and how far apart they are", data, fallback)


def listening(
    theta: ArrayLike,
    answers: Mapping[str, tuple[ArrayLike, ArrayLike]],
    constant: ArrayLike,
    fallback: str,
) -> Interactive:
    """All test sounds over γ and f_m, and what each network answers to them, to be heard.

    Args:
        theta: (n, 3), the test sounds, raw units.
        answers: by name, a network's θ̃, (n, 3), and JTFS distances, (n,); NaN where there is none.
        constant: (n,), JTFS distances of the constant answer, the mean of the train fold.
        fallback: for readers without JavaScript.

    Raises:
        ValueError: if lengths differ.
    """
    n = len(np.asarray(theta))
    data: dict[str, Any] = {"settings": {"names": list(answers)}, "theta": theta, "constant": constant}
    for k, (name, (guess, distance)) in enumerate(answers.items()):
        if np.shape(guess) != (n, 3) or np.shape(distance) != (n,):
            raise ValueError(f"{name}: {np.shape(guess)} answers and {np.shape(distance)} distances for {n} sounds")
        data |= {f"answer{k}": guess, f"distance{k}": distance}
    if np.shape(constant) != (n,):
        raise ValueError(f"{np.shape(constant)} distances of the constant answer for {n} sounds")
    return Interactive("listening", "The test sounds and each network's answers, to be heard", data, fallback)


def atlas(theta: ArrayLike, heard: ArrayLike, fallback: str, raised: float = 1.01) -> Interactive:
    """A map of sounds over f_m and γ, each to be heard beside itself with a raised carrier.

    Args:
        theta: (n, 3), a sound for each cell of a square map, γ fastest, as one layer of the grid is.
        heard: (n,), distance in units of Φ between it and the other.
        fallback: for readers without JavaScript.
        raised: factor on the carrier.

    Raises:
        ValueError: if the cells make no square.
    """
    n = len(np.asarray(theta))
    side = round(n**0.5)
    if side * side != n or np.shape(heard) != (n,):
        raise ValueError(f"{n} sounds and {np.shape(heard)} distances make no square map")
    data = {"settings": {"raised": raised, "side": side}, "theta": theta, "heard": heard}
    return Interactive("atlas", "A carrier one per cent higher: what Φ says, and what you hear", data, fallback)


def interpolate(theta: ArrayLike, M: ArrayLike, at: ArrayLike, neighbours: int = NEIGHBOURS) -> np.ndarray:
    r"""Metrics between the sounds of a grid.

    .. math:: \tilde M = \exp \sum_i w_i \log \tilde M_i, \qquad \tilde M_{jk} = \theta_j \theta_k M_{jk}

    The weights are those of ordinary kriging with a Matérn kernel (3/2) over the nearest sounds, in coordinates in which
    Φ repeats itself: f_m/γ, which is half the notes an octave; f_c within one of Φ's bands, f_m within an octave, as
    helices; and slow trends.

    Args:
        theta: (n, 3), where metrics are known, raw units.
        M: (n, 3, 3), those metrics, raw units.
        at: (m, 3), where they are wanted.
        neighbours: how many sounds have a weight.

    Returns:
        (m, 3, 3), raw units; positive definite, and M itself at a sound of the grid.

    >>> points = np.array([[600.0, 8.0, 1.0], [700.0, 8.0, 1.0], [800.0, 8.0, 1.0]])
    >>> metrics = np.stack([np.diag([1.0, 10.0, 100.0])] * 3)
    >>> interpolate(points, metrics, points[:1], neighbours=3).round(6)[0].diagonal()
    array([  1.,  10., 100.])
    """
    points, wanted = np.asarray(theta, np.float64), np.asarray(at, np.float64)
    places, targets = _embed(points), _embed(wanted)
    ids = cKDTree(places).query(targets, min(neighbours, len(points)))[1]
    local = places[ids]
    K = _matern(local[:, :, None] - local[:, None]) + 1e-9 * np.eye(ids.shape[1])
    k = _matern(local - targets[:, None])
    both = np.linalg.solve(K, np.stack([k, np.ones_like(k)], -1))
    rest = (1 - both[..., 0].sum(1)) / both[..., 1].sum(1)
    weights = both[..., 0] + rest[:, None] * both[..., 1]
    logs = _of_matrix(np.asarray(M, np.float64) * points[:, :, None] * points[:, None], np.log)
    mean = _of_matrix(np.einsum("mn,mnij->mij", weights, logs[ids]), np.exp)
    return mean / wanted[:, :, None] / wanted[:, None]


def interpolation_error(
    theta: ArrayLike, M: ArrayLike, at: ArrayLike, truth: ArrayLike, seed: int = 0
) -> tuple[float, float]:
    """Median and 90 % quantile of the PNP loss's relative error for guesses anywhere in the box of ``at``.

    Args:
        theta, M: as in :func:`interpolate`.
        at: (m, 3), other sounds.
        truth: (m, 3, 3), their metrics.
        seed: of the guesses, log-uniform.
    """
    sounds, true = np.asarray(at, np.float64), np.asarray(truth, np.float64)
    low, high = np.log(sounds.min(0)), np.log(sounds.max(0))
    d = np.exp(np.random.default_rng(seed).uniform(low, high, sounds.shape)) - sounds
    guessed, exact = (np.einsum("ni,nij,nj->n", d, m, d) for m in (interpolate(theta, M, sounds), true))
    median, most = np.quantile(np.abs(guessed / exact - 1), [0.5, 0.9])
    return float(median), float(most)


def _embed(theta: np.ndarray) -> np.ndarray:
    """Coordinates in which sounds of equal metrics are near."""
    c, m, g = np.log2(theta).T
    a, b, r, s = KERNEL
    band, octave = 24 * np.pi * c, 2 * np.pi * m
    columns = [a * c, b * m, m - g, r * np.cos(band), r * np.sin(band), s * np.cos(octave), s * np.sin(octave)]
    return np.stack(columns, -1)


def _matern(difference: np.ndarray) -> np.ndarray:
    d = np.sqrt(3 * (difference**2).sum(-1))
    return (1 + d) * np.exp(-d)


def _of_matrix(A: np.ndarray, function: Any) -> np.ndarray:
    """A function of symmetric matrices, through their eigenvalues."""
    values, vectors = np.linalg.eigh(A)
    return np.einsum("...ij,...j,...kj->...ik", vectors, function(values), vectors)


def _script(name: str, value: Any) -> str:
    """One datum as a script element that no browser runs."""
    if isinstance(value, Mapping):
        kind, content = "json", json.dumps(value, ensure_ascii=False).encode()
    else:
        kind, content = "float32", np.ascontiguousarray(value, "<f4").tobytes()
    digest, text = hashlib.sha256(content).hexdigest(), base64.b64encode(content).decode()
    return f'<script type="text/plain" data-name="{name}" data-type="{kind}" data-sha256="{digest}">{text}</script>'
