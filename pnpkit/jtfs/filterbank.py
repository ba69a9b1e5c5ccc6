"""Wavelets of the scattering transform: where they sit, how wide they are, and how loud.

Shapes and widths are those of Andén and Mallat (*Deep scattering spectrum*, IEEE TSP 2014) as kymatio samples them, and
tested equal to it; the choice of centre frequencies and the energy normalisation are those of the authors' operator,
which no released kymatio has.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SIGMA_LOWPASS = 0.1  # a low-pass of scale T has a frequency-domain standard deviation of 0.1/T cycles/sample
ALPHA = 4.0  # a filter is taken to be empty beyond xi + ALPHA·sigma when its subsampling is chosen
R_PSI = math.sqrt(0.5)  # where neighbouring wavelets of one octave cross, relative to their peaks
PASSES = 3  # of the energy normalisation
LOW_REDUNDANCY = 0.33  # below it the two highest filters of a bank are corrected together

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Wavelet:
    """An analytic Morlet wavelet by its Fourier transform.

    Args:
        xi: centre frequency, cycles/sample.
        sigma: standard deviation of its Gaussian in frequency, cycles/sample.
        j: log2 of the largest subsampling that keeps it, on :data:`ALPHA` standard deviations.
        spectrum: non-negative frequencies 0 … len − 1 of the padded length, trailing zeros removed; real.
    """

    xi: float
    j: int
    spectrum: Array


def centre_frequencies(J: int, Q: int, n_samples: float = math.inf) -> list[tuple[float, float]]:
    """Centre frequency and width (cycles/sample) of each wavelet of a bank, from high to low.

    Constant Q down to the width of the low-pass of scale 2^J, then Q − 1 wavelets of that width, equally spaced
    towards zero. The highest is at max(1/(1 + 2^(1/Q)), 0.4). Those with less than one cycle in ``n_samples`` are left
    out.
    """
    xi = max(1 / (1 + 2 ** (1 / Q)), 0.4)
    sigma = width(xi, Q)
    sigma_min = SIGMA_LOWPASS / 2**J
    bank = [(xi, sigma)]
    while bank[-1][1] > sigma_min * 2 ** (1 / Q):
        bank.append((bank[-1][0] / 2 ** (1 / Q), bank[-1][1] / 2 ** (1 / Q)))
    elbow = bank[-1][0]
    bank += [(elbow * (1 - q / Q), sigma_min) for q in range(1, Q)]
    return [(xi, sigma) for xi, sigma in bank if xi * n_samples >= 1]


def width(xi: float, Q: int) -> float:
    r"""Standard deviation, cycles/sample, at which a Gaussian at ξ meets the next below, at ξ/2^(1/Q), at R_PSI.

    The widths are in proportion to the frequencies, so the two meet where both are as many of their own standard
    deviations from their centres: :math:`\xi - n\sigma = 2^{-1/Q}(\xi + n\sigma)` with n = √(2 ln 1/R_PSI).
    """
    ratio = 2 ** (-1 / Q)
    return xi * (1 - ratio) / (1 + ratio) / math.sqrt(-2 * math.log(R_PSI))


def subsampling(xi: float, sigma: float) -> int:
    """log2 of the largest subsampling under which a wavelet stays below Nyquist, on ALPHA standard deviations."""
    return math.floor(-math.log2(min(xi + ALPHA * sigma, 0.5))) - 1


def _gaussian(length: int, centre: float, sigma: float) -> Array:
    """Gaussian on the bins of a transform, periodised, as sampling in time makes a spectrum.

    Three periods do: no width here is above 0.16, Q = 1's, and what the others would add is below 1e-8.
    """
    frequencies = np.arange(length) / length - centre
    return sum((np.exp(-((frequencies + period) ** 2) / (2 * sigma**2)) for period in (-1, 0, 1)), np.zeros(length))


def morlet(length: int, xi: float, sigma: float) -> Array:
    r"""Morlet wavelet on all bins, real, of unit L1 norm: a Gaussian at ξ less a multiple of one at 0, so of zero mean.

    .. math:: \hat\psi(f) \propto \hat g(f - \xi) - \kappa\, \hat g(f), \qquad \hat\psi(0) = 0
    """
    at_xi, at_zero = _gaussian(length, xi, sigma), _gaussian(length, 0.0, sigma)
    spectrum = at_xi - at_xi[0] / at_zero[0] * at_zero
    return spectrum / np.abs(np.fft.ifft(spectrum)).sum()


def wavelet(length: int, xi: float, sigma: float) -> Wavelet:
    """Analytic Morlet wavelet on ``length`` bins, of unit L1 norm before its negative frequencies are cut.

    Computed at the lowest sampling rate that holds it (one octave above its own), where the formula gives the same bins
    at a fraction of the cost.
    """
    j = subsampling(xi, sigma)
    shift = max(min(j - 1, int(math.log2(length)) - 4), 0)
    half = (length >> shift) // 2
    spectrum = morlet(length >> shift, xi * 2**shift, sigma * 2**shift)[: half + 1].copy()
    spectrum[half] /= 2  # the Nyquist bin belongs to both halves
    support = np.flatnonzero(np.abs(spectrum) > 1e-7 * spectrum.max())
    return Wavelet(xi, j, spectrum[: support[-1] + 1])


def low_pass(length: int, scale: float) -> Array:
    """Gaussian of time scale ``scale`` samples on the non-negative bins of ``length``; its value at zero is 1."""
    spectrum = _gaussian(length, 0.0, SIGMA_LOWPASS / scale)
    return (spectrum / np.abs(np.fft.ifft(spectrum)).sum())[: length // 2 + 1]


def energy_normalise(bank: list[Wavelet], length: int, low: Array | None, target: float) -> tuple[list[Wavelet], Array]:
    r"""Scale each wavelet so that the Littlewood–Paley sum peaks at ``target`` around it.

    .. math:: \sum_n |\hat\psi_n(\omega)|^2 + |\hat\phi(\omega)|^2 \le \text{target}

    Each of the passes divides every filter by the root of the sum's maximum between its neighbours' peaks. Where
    neighbours overlap little (Q = 1), the highest filter is normalised on its own peak and the two highest are then
    corrected together.

    Args:
        bank: wavelets from high to low frequency.
        length: padded length that their bins refer to.
        low: low-pass to include in the sum, or None.
        target: 2 for real signals (only positive frequencies are covered), 1 if both spins are.

    Returns:
        The normalised bank, and for each wavelet the ratio of its last pass's gain to the gain of all passes (see
        ``coarse_quirk`` of :class:`pnpkit.jtfs.operator.JTFS` for its use).
    """
    peaks = [int(np.argmax(w.spectrum)) for w in bank]
    total_gains = np.ones(len(bank))
    for _ in range(PASSES):
        correct = len(bank) > 2 and _redundancy(bank[0].spectrum, bank[1].spectrum) < LOW_REDUNDANCY
        total = _littlewood_paley(bank, length, low)
        around = [_neighbourhood(n, peaks, alone=correct and n == 0) for n in range(len(bank))]
        gains = np.array([math.sqrt(target / total[bins].max()) for bins in around])
        bank = _scaled(bank, gains)
        if correct:
            total = _littlewood_paley(bank, length, low)
            both = math.sqrt(target / total[peaks[2] : peaks[0] + 1].max())
            gains[:2] *= both
            bank[:2] = _scaled(bank[:2], [both, both])
        total_gains *= gains
    return bank, gains / total_gains


def _scaled(bank: list[Wavelet], gains: Iterable[float]) -> list[Wavelet]:
    return [replace(w, spectrum=w.spectrum * gain) for w, gain in zip(bank, gains, strict=True)]


def _littlewood_paley(bank: list[Wavelet], length: int, low: Array | None) -> Array:
    total = np.zeros(length // 2 + 1) if low is None else low**2
    for w in bank:
        total[: len(w.spectrum)] += w.spectrum**2
    return total


def _redundancy(a: Array, b: Array) -> float:
    """Overlap of two filters' energies relative to their mean energy."""
    common, energies = min(len(a), len(b)), (a**2, b**2)
    return float((energies[0][:common] * energies[1][:common]).sum() / (energies[0].sum() + energies[1].sum()) * 2)


def _neighbourhood(n: int, peaks: list[int], alone: bool) -> slice:
    """Bins over which filter n is normalised: from the next peak below to half-way to the next peak above."""
    above = next((p for p in reversed(peaks[:n]) if p != peaks[n]), None)
    high = peaks[n] if above is None else math.ceil((peaks[n] + above) / 2)
    below = peaks[n + 1] if n + 1 < len(peaks) else 1
    low = high - 1 if alone else below
    return slice(low - 1 if low == high else low, high + 1)
