"""Figures of the book: one style, a palette that colour-blind readers can tell apart, axes in their units."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito, 2008, without the yellow, which is too light for lines on white.
PALETTE = ("#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
WIDTH = 7.0  # inches: 700 px of page, so that a point here is a point there, and twice the dots for dense screens
STYLE: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.6),
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "image.cmap": "magma",
    "svg.hashsalt": "pnpkit",  # the same bytes at every execution
}


def decibels(magnitude: ArrayLike, reference: float | None = None, floor: float = -60.0) -> np.ndarray:
    """Magnitudes in dB relative to a reference, by default their maximum; not under ``floor``.

    >>> decibels([1.0, 0.1, 0.0])
    array([  0., -20., -60.])
    """
    values = np.abs(np.asarray(magnitude, dtype=np.float64))
    top = values.max() if reference is None else reference
    return 20 * np.log10(np.maximum(values / (top or 1.0), 10 ** (floor / 20)))


def plot_scalogram(
    values: ArrayLike,
    times: ArrayLike,
    frequencies: ArrayLike,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    label: str = "magnitude (dB)",
    colourbar: bool = True,
) -> Axes:
    """A scalogram on a logarithmic frequency axis.

    Args:
        values: (frequencies, frames), on the scale to be shown; see :func:`decibels`.
        times: of the frames, s.
        frequencies: of the rows, Hz, geometric and ascending.
        ax: where to draw; a new figure by default.
        limits: of the colour scale; share them between panels.
        label: of the colour bar, with the unit of ``values``.
        colourbar: whether to draw one.

    Raises:
        ValueError: if the shapes disagree, or frequencies do not ascend.
    """
    values, times, frequencies = np.asarray(values), np.asarray(times), np.asarray(frequencies)
    if values.shape != (len(frequencies), len(times)):
        raise ValueError(f"values of shape {values.shape} need {len(frequencies)} frequencies by {len(times)} times")
    if not (np.diff(frequencies) > 0).all():
        raise ValueError("frequencies must ascend")
    ax = axes_or_new(ax)
    low, high = limits if limits is not None else (float(values.min()), float(values.max()))
    image = ax.pcolormesh(times, frequencies, values, vmin=low, vmax=high, shading="nearest", rasterized=True)
    ax.set(yscale="log", xlabel="time (s)", ylabel="frequency (Hz)", ylim=(frequencies[0], frequencies[-1]))
    octave_ticks(ax.yaxis, frequencies[0], frequencies[-1])
    if colourbar:
        ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def morlet_scalogram(
    x: ArrayLike, sample_rate: float, frequencies: ArrayLike, *, q: float = 12.0, hop: int = 32
) -> np.ndarray:
    r"""Wavelet scalogram for the eye, finer in time than the network's input.

    .. math:: U(\lambda, t) = |x * \psi_\lambda|(t), \qquad
              \hat\psi_\lambda(f) = 2 \, e^{-(f - \lambda)^2 / 2\sigma_\lambda^2} \, \mathbb{1}(f > 0), \quad
              \sigma_\lambda = \frac{\lambda}{2 q \sqrt{\ln 2}}

    so that a sinusoid of amplitude a gives a, and q is the centre frequency over the bandwidth at −3 dB.

    Args:
        x: waveform(s), (..., n); taken as periodic, so they should fade at both ends.
        sample_rate: Hz.
        frequencies: centre frequencies λ, Hz.
        q: selectivity; two wavelets side by side in time are told apart from about q/λ seconds on.
        hop: samples between frames.

    Returns:
        Magnitudes, (..., frequencies, frames), in the unit of x.

    >>> tone = np.sin(2 * np.pi * 64 * np.arange(1024) / 1024)
    >>> morlet_scalogram(tone, 1024, [64.0]).round(3).max()
    np.float64(1.0)
    """
    spectrum = np.fft.fft(np.asarray(x, dtype=np.float64))[..., None, :]
    f = np.fft.fftfreq(spectrum.shape[-1], 1 / sample_rate)
    centre = np.asarray(frequencies, dtype=np.float64)[:, None]
    wavelets = 2 * np.exp(-((f / centre - 1) ** 2) * 2 * np.log(2) * q**2) * (f > 0)
    return np.abs(np.fft.ifft(spectrum * wavelets)[..., ::hop])


def plot_folds(table: pd.DataFrame, x: str, y: str, labels: tuple[str, str], ax: Axes | None = None) -> Axes:
    """Items of a data set in the plane of two of their parameters, on logarithmic axes, a mark a fold.

    Args:
        table: rows to show, such as a slice of :func:`pnpkit.experiment.dataset.arpeggio_grid`.
        x, y: columns.
        labels: of the axes, with units.
        ax: where to draw.
    """
    ax = axes_or_new(ax)
    for fold, marker, size, colour in (("train", ".", 12, 5), ("test", "^", 16, 4), ("validation", "s", 9, 3)):
        items = table[table.fold == fold]
        ax.scatter(items[x], items[y], s=size, marker=marker, color=PALETTE[colour], lw=0, label=fold)
    ax.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    for axis, column in ((ax.xaxis, x), (ax.yaxis, y)):
        octave_ticks(axis, table[column].min(), table[column].max())
    return ax


def scalogram_grid(
    panels: Sequence[Sequence[ArrayLike]],
    times: ArrayLike,
    frequencies: ArrayLike,
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    size: tuple[float, float] = (WIDTH, 6.0),
) -> Figure:
    """Scalograms in rows and columns, one colour scale and one pair of axes for all: the paper's Figure 2 is 3 × 3.

    Args:
        panels: rows of ``values`` as in :func:`plot_scalogram`.
        times, frequencies: shared, s and Hz.
        columns, rows: what varies, with its unit; titles above and at the right.
        size: of the figure, inches.
    """
    values = np.asarray(panels)
    limits = (values.min(), values.max())
    axes: Any
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex=True, sharey=True, squeeze=False)
    for i, j in np.ndindex(len(rows), len(columns)):
        ax = plot_scalogram(values[i, j], times, frequencies, axes[i, j], limits=limits, colourbar=False)
        ax.set(title=columns[j] if i == 0 else "")
        ax.label_outer()
        if j == len(columns) - 1:
            ax.annotate(rows[i], (1.03, 0.5), xycoords="axes fraction", rotation=-90, va="center", fontsize=10)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, label="magnitude (dB)", shrink=0.6, pad=0.02)
    return figure


def plot_matrix(matrix: ArrayLike, labels: Sequence[str], ax: Axes | None = None, *, title: str = "") -> Axes:
    """A symmetric matrix as a heat map with its values written in; colours are signed and centred at zero.

    Args:
        matrix: (d, d).
        labels: of rows and columns, such as ``ParameterSpace.labels``.
        ax, title: where to draw, and the title.
    """
    matrix, ax = np.asarray(matrix, dtype=np.float64), axes_or_new(ax)
    # Entries of a metric in raw units differ by orders of magnitude: colour the correlation, write the value.
    scale = np.sqrt(np.abs(np.diag(matrix)))
    colour = matrix / np.where(scale > 0, np.outer(scale, scale), 1)
    ax.imshow(colour, cmap="RdBu_r", vmin=-1, vmax=1)
    for i, j in np.ndindex(*matrix.shape):
        ink = "white" if abs(colour[i, j]) > 0.6 else "black"
        ax.text(j, i, f"{matrix[i, j]:.4g}".replace("-", "−"), ha="center", va="center", color=ink)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_title(title)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def octave_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from low to high: an octave apart, half of one where those are few."""
    step = 0.5 if np.log2(high / low) < 1.7 else 1.0
    exponents = np.arange(np.ceil(np.log2(low) / step - 0.02), np.floor(np.log2(high) / step + 0.02) + 1) * step
    axis.set_major_locator(FixedLocator([round(v, 0 if v >= 100 else 2) for v in 2.0**exponents]))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return plt.subplots()[1] if ax is None else ax


def cumulative_share(values: ArrayLike) -> NDArray[np.float64]:
    """Share of a total that its largest parts make up: that of the first, the first two … and of all.

    >>> cumulative_share([1.0, 3.0])
    array([0.75, 1.  ])
    """
    total = np.cumsum(np.sort(np.asarray(values, dtype=np.float64).ravel())[::-1])
    return total / total[-1]
