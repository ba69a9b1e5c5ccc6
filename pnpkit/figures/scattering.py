"""What the chapter on scattering draws: wavelets of two dimensions, maps of spin, and what the operator costs."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pnpkit.figures.plotting import PALETTE, WIDTH
from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.design import Bands

Pair = tuple[float, float]  # centre frequency and width of a wavelet, as in filterbank.centre_frequencies


def joint_wavelet(in_time: Pair, along_rows: Pair, spin: int, *, samples: int, rows: int) -> NDArray[np.complex128]:
    r"""A wavelet of two dimensions, centred.

    .. math:: \psi_\mu(t) \, \overline{\psi_\ell}(r) \text{ of spin } +1, \qquad
              \psi_\mu(t) \, \psi_\ell(r) \text{ of spin } -1

    Args:
        in_time, along_rows: centre frequency and width of ψ_μ (cycles/sample) and of ψ_ℓ (cycles/row).
        spin: +1 or −1. Rows r go from high to low frequency, so +1 slants down in frequency.
        samples, rows: size; powers of two.

    Returns:
        (rows, samples).

    Raises:
        ValueError: if the spin is neither.
    """
    if spin not in (1, -1):
        raise ValueError(f"spin must be 1 or -1, not {spin}")
    psi_mu, psi_ell = (_centred(length, pair) for length, pair in ((samples, in_time), (rows, along_rows)))
    return np.outer(psi_ell.conj() if spin == 1 else psi_ell, psi_mu)


def plot_joint_wavelets(
    in_time: Sequence[Pair], along_rows: Sequence[Pair], sample_rate: float, rows_per_octave: int
) -> Figure:
    """Real parts of wavelets of two dimensions: a column a rate, both spins as mirror images, a row a scale.

    Args:
        in_time, along_rows: wavelets in time from fast to slow, and along the rows from fine to coarse.
        sample_rate: Hz.
        rows_per_octave: of the first order.
    """
    samples, rows, step = 2**14, 128, 16
    columns = [(-1, pair) for pair in in_time] + [(1, pair) for pair in reversed(in_time)]
    half_time, half_octaves = samples / sample_rate / 2, rows / rows_per_octave / 2
    extent = (-half_time, half_time, -half_octaves, half_octaves)
    axes: Any
    figure, axes = plt.subplots(
        len(along_rows), len(columns), figsize=(WIDTH, 1.1 + 1.05 * len(along_rows)), sharex=True, sharey=True
    )
    for line, ell in zip(axes, along_rows, strict=True):
        for ax, (spin, mu) in zip(line, columns, strict=True):
            wave = joint_wavelet(mu, ell, spin, samples=samples, rows=rows).real[:, ::step]
            top = float(np.abs(wave).max())
            ax.imshow(wave, cmap="RdBu_r", vmin=-top, vmax=top, extent=extent, aspect="auto")
            ax.set(xlim=(-0.25, 0.25), ylim=(-1.1, 1.1), xticks=(-0.2, 0, 0.2), xticklabels=("−.2", "0", ".2"))
        line[0].set_ylabel(f"ℓ = {ell[0] * rows_per_octave:.1f}")
    for ax, (spin, mu) in zip(axes[0], columns, strict=True):
        ax.set_title(f"spin {'+' if spin == 1 else '−'}1\nμ = {mu[0] * sample_rate:.1f}")
    figure.supxlabel("time (s); μ in Hz", fontsize=10)
    figure.supylabel("octaves; ℓ in cycles/octave", fontsize=10)
    return figure


def spin_maps(paths: pd.DataFrame, S: Tensor, sample_rate: float, fastest: float) -> dict[int, pd.DataFrame]:
    """Strength of the second order at each rate and scale: the norm of its coefficients over bands and frames.

    Args:
        paths: ``JTFS.paths``.
        S: coefficients of one sound.
        sample_rate: Hz.
        fastest: rates above it are left out, Hz.

    Returns:
        By spin, +1 and −1: scales (cycles/octave) by rates (Hz), ascending; NaN where there is no path.
    """
    table = paths[(paths.spin != 0) & (paths.rate * sample_rate <= fastest)]
    blocks = zip(table.offset, table.rows * table.frames, strict=True)
    table = table.assign(hertz=table.rate * sample_rate, norm=[float(S[o : o + size].norm()) for o, size in blocks])
    by_spin = {spin: table[table.spin == spin] for spin in (1, -1)}
    return {spin: part.pivot(index="scale", columns="hertz", values="norm") for spin, part in by_spin.items()}


def plot_spin_map(strength: pd.DataFrame, ax: Axes, *, top: float, chirp_rate: float | None = None) -> Any:
    """One map of :func:`spin_maps`, a square a path, grey where there is none.

    Args:
        strength: the map.
        ax: where to draw.
        top: upper end of the colour scale; share it between panels.
        chirp_rate: γ, octave/s: draws the line μ = γℓ.

    Returns:
        The image, for a colour bar.
    """
    ax.set_facecolor("0.7")
    image = ax.imshow(strength, origin="lower", aspect="auto", vmin=0, vmax=top)
    if chirp_rate is not None:
        ridge = np.log2(chirp_rate * strength.index.to_numpy() / float(strength.columns[0]))
        ax.plot(ridge, np.arange(len(ridge)), "--", color=PALETTE[5], lw=2)
    ax.set(xlim=(-0.5, strength.shape[1] - 0.5), ylim=(-0.5, strength.shape[0] - 0.5))
    ax.set_xticks(range(strength.shape[1]), [f"{v:.2g}" for v in strength.columns])
    ax.set_yticks(range(strength.shape[0]), [f"{v:.2g}" for v in strength.index])
    return image


def plot_scaling(rows: pd.DataFrame, operation: str, ax: Axes) -> Axes:
    """Time of one operation against the length of the sound, a line an algorithm, with N log N as a guide.

    Args:
        rows: of ``data/benchmark.json``.
        operation: which of them.
        ax: where to draw, on logarithmic axes.

    Raises:
        ValueError: if the file has no such operation.
    """
    table = rows[rows.operation == operation].pivot(index="n_samples", columns="algorithm", values="calibrations")
    if table.empty:
        raise ValueError(f"no operation {operation!r} in the benchmark, which has {sorted(set(rows.operation))}")
    for name, colour, marker in (("direct", 4, "s"), ("kymatio order 2", 3, "^"), ("pnpkit", 1, "o")):
        if name in table:
            times = table[name].dropna()
            ax.plot(times.index, times, marker=marker, color=PALETTE[colour], label=name)
    if "pnpkit" in table:
        n = table.index.to_numpy(dtype=float)
        middle = len(n) // 2
        growth = n * np.log2(n)
        ax.plot(n, table["pnpkit"].iloc[middle] * growth / growth[middle], ":", color="0.4", label="N log N", zorder=0)
    ax.set_xscale("log", base=2)
    ax.set(yscale="log", xlabel="samples N", ylabel="time (calibrations)", title=operation)
    ax.set_xticks(table.index[::2])
    ax.grid(alpha=0.3)
    return ax


def plot_cut_and_move(
    x: NDArray[np.float64], bands: Bands, envelope: NDArray[np.float64], sample_rate: float, span: tuple[float, float]
) -> Figure:
    """A band in its spectrum and moved to zero frequency; its modulus at full rate, and what the short transform gives.

    Args:
        x: waveform, as long as half of the padded length.
        bands: one filter, of an ``rfft`` of that length.
        envelope: samples of the modulus over the padded duration, from :class:`pnpkit.jtfs.stages.Envelopes`.
        sample_rate: Hz.
        span: seconds to show, from the beginning of x.
    """
    length, (start,), (weights,) = 2 * len(x), bands.starts, bands.weights
    X = np.fft.rfft(x, length)
    band, hertz = X[start : start + len(weights)] * weights, np.arange(length // 2 + 1) * sample_rate / length
    full = np.abs(np.fft.ifft(np.pad(band, (start, length - start - len(band)))))[: len(x)]
    time, slow = np.arange(len(x)) / sample_rate, np.arange(len(envelope)) * length / len(envelope) / sample_rate
    axes: Any
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    axes[0].plot(hertz, np.abs(X), color="0.75", lw=0.8)
    for first, colour in ((start, 2), (0, 1)):
        axes[0].plot(hertz[first : first + len(band)], np.abs(band), color=PALETTE[colour])
    height = 0.6 * float(np.abs(band).max())
    axes[0].annotate("", (hertz[len(band)], height), (hertz[start], height), arrowprops={"arrowstyle": "->"})
    axes[0].set(xlabel="frequency (Hz)", ylabel="magnitude", xlim=(-20, 1.6 * hertz[start]), yticks=[])
    seen, sampled = ((t >= span[0]) & (t <= span[1]) for t in (time, slow))
    axes[1].plot(time[seen], full[seen], color=PALETTE[2])
    axes[1].plot(slow[sampled], envelope[sampled], ".", color=PALETTE[1], ms=5)
    axes[1].set(xlabel="time from the start (s)", ylabel="modulus of the band", ylim=(0, None))
    return figure


def _centred(length: int, pair: Pair) -> NDArray[np.complex128]:
    spectrum = fb.wavelet(length, *pair).spectrum
    return np.fft.fftshift(np.fft.ifft(np.pad(spectrum, (0, length - len(spectrum)))))
