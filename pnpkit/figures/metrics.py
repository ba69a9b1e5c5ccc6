"""Figures of metrics: balls on a map, and maps of one number over the grid."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import ArrayLike, NDArray

from pnpkit.figures.plotting import PALETTE, axes_or_new, octave_ticks


def ball_outline(M: ArrayLike, length: float = 1.0, n_points: int = 73) -> NDArray[np.float64]:
    r"""Outlines of the balls of 2 × 2 metrics, the errors :math:`\langle\delta\mid\mathbf{M}\mid\delta\rangle=\ell^2`.

    Args:
        M: (..., 2, 2), positive definite.
        length: ℓ, in units of Φ.
        n_points: along the closed curve, the first repeated at the end.

    Returns:
        δ, (..., n_points, 2).

    Raises:
        ValueError: if a metric is not 2 × 2 and positive definite.

    >>> ball_outline([[4.0, 0.0], [0.0, 1.0]], n_points=3).round(6) + 0.0
    array([[ 0.5,  0. ],
           [-0.5,  0. ],
           [ 0.5,  0. ]])
    """
    matrix = np.asarray(M, dtype=np.float64)
    if matrix.shape[-2:] != (2, 2) or not (np.linalg.eigvalsh(matrix)[..., 0] > 0).all():
        raise ValueError("a ball in the plane needs positive definite 2 × 2 metrics")
    angle = np.linspace(0, 2 * np.pi, n_points)
    circle = length * np.stack([np.cos(angle), np.sin(angle)])
    L = np.linalg.cholesky(matrix)
    return np.linalg.solve(L.mT, np.broadcast_to(circle, (*L.shape[:-1], n_points))).mT


def plot_balls(
    M: ArrayLike,
    centres: ArrayLike,
    ax: Axes | None = None,
    *,
    length: float = 1.0,
    corners: ArrayLike | None = None,
    **options: Any,
) -> Axes:
    """Balls of metrics in the plane of two positive parameters, on logarithmic axes.

    Args:
        M: (n, 2, 2), in natural logarithms of the parameters; see :func:`pnpkit.metric.log_metric`.
        centres: (n, 2), the parameters in their units.
        ax: where to draw.
        length: of the balls' radii, units of Φ.
        corners: two points that the axes are to hold besides the balls.
        options: of the curves: ``color``, ``lw`` …
    """
    ax, middle = axes_or_new(ax), np.asarray(centres, dtype=np.float64)
    curves = middle[:, None] * np.exp(ball_outline(M, length))
    ax.add_collection(LineCollection(list(curves), **{"color": PALETTE[1], "lw": 1.2, **options}))
    ax.plot(*middle.T, ".", ms=2.5, color=PALETTE[0])
    shown = np.concatenate([curves.reshape(-1, 2), *([np.asarray(corners)] if corners is not None else [])])
    low, high = shown.min(0), shown.max(0)
    margin = (high / low) ** 0.02
    octave_axes(ax, *zip(low / margin, high * margin, strict=True))
    return ax


def plot_map(
    values: ArrayLike,
    edges: tuple[ArrayLike, ArrayLike],
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    log: bool = True,
    form: str | None = None,
) -> QuadMesh:
    """One number for each cell of a plane of the grid, on logarithmic axes.

    Args:
        values: (m, n), the first index along the horizontal axis.
        edges: m + 1 and n + 1 of them, horizontal and vertical, positive and ascending.
        ax: where to draw.
        limits: of the colours; share them between panels.
        log: whether colours are logarithmic.
        form: writes each value into its cell, such as ``"{:.1f}"``; for small maps.

    Returns:
        The mesh, for a colour bar.

    Raises:
        ValueError: if the shapes disagree.
    """
    grid, (x, y) = np.asarray(values, dtype=np.float64), map(np.asarray, edges)
    if grid.shape != (len(x) - 1, len(y) - 1):
        raise ValueError(f"values of shape {grid.shape} do not fit {len(x)} by {len(y)} edges")
    ax = axes_or_new(ax)
    low, high = limits if limits is not None else (float(np.nanmin(grid)), float(np.nanmax(grid)))
    norm = LogNorm(low, high, clip=True) if log else Normalize(low, high, clip=True)
    mesh = ax.pcolormesh(x, y, grid.T, norm=norm, cmap="cividis", rasterized=True)
    octave_axes(ax, (x[0], x[-1]), (y[0], y[-1]))
    if form is not None:
        for i, j in np.ndindex(*grid.shape):
            middle = np.sqrt(x[i] * x[i + 1]), np.sqrt(y[j] * y[j + 1])
            ink = "black" if norm(grid[i, j]) > 0.55 else "white"
            ax.text(*middle, form.format(grid[i, j]), ha="center", va="center", color=ink, fontsize=9)
    return mesh


def octave_axes(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Logarithmic axes over the ranges x and y, with ticks by the octave."""
    ax.set(xscale="log", yscale="log", xlim=x, ylim=y)
    octave_ticks(ax.xaxis, *x)
    octave_ticks(ax.yaxis, *y)
