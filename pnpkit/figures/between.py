"""Metrics between the sounds of a grid, as the page's explorer takes them (``book/_static/explorer/metric.js``)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

# Scales of the interpolation per octave, where f_m/γ has one: trends along f_c and f_m, the helix over a band of Φ, the
# one over an octave of f_m. Of greatest likelihood for the laptop's 14³ metrics.
KERNEL = (0.105, 0.079, 0.092, 0.041)
NEIGHBOURS = 24


def interpolate(theta: ArrayLike, M: ArrayLike, at: ArrayLike, neighbours: int = NEIGHBOURS) -> np.ndarray:
    r"""Metrics between the sounds of a grid.

    .. math:: \tilde M = \exp \sum_i w_i \log \tilde M_i, \qquad \tilde M_{jk} = \theta_j \theta_k M_{jk}

    The weights are those of ordinary kriging with a Matérn kernel (3/2) over the nearest sounds, in coordinates in
    which Φ repeats itself: f_m/γ, which is half the notes an octave; f_c within one of Φ's bands, f_m within an octave,
    as helices; and slow trends.

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
