"""From sizes to constants: which bins each filter keeps, how long each transform is, which matrices follow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pnpkit._checks import is_whole, require_whole
from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.frequential import FrequentialBank

# A filter's bins below these shares of its peak are left out: 4.8 and 4.3 standard deviations of a Gaussian
FIRST_THRESHOLD, SECOND_THRESHOLD = 1e-5, 1e-4
# A modulus has wider spectrum than what it is taken of. Envelopes are sampled at so many times their band's support …
# (of a cusp at the peak of one, no rate is enough: see what tests/jtfs/test_laws.py says of a node in a band)
FIRST_OVERSAMPLING, FIRST_SHORTEST = 4, 128
SECOND_SHORTEST = 64  # … and second-order planes, of which only averages are wanted, at less: see plane_length


def one_quality(Q: Any) -> Any:
    """Q of the first order; the field writes (Q, 1), the second order having one wavelet an octave."""
    if not isinstance(Q, tuple | list):
        return Q
    if len(Q) != 2 or Q[1] != 1:
        raise ValueError(f"Q must be a whole number, or a pair (Q, 1): the second order has one, not {tuple(Q)}")
    return Q[0]


@dataclass(frozen=True)
class Sizes:
    """Arguments of :class:`pnpkit.jtfs.operator.JTFS`, where they are explained; ``n_samples`` is a power of two here.

    Raises:
        ValueError: if one is of another kind or out of range; the message names it.
    """

    J: int
    Q: int
    J_fr: int
    Q_fr: int
    F: int
    T: int | None
    n_samples: int
    global_second_order: bool
    coarse_quirk: bool

    def __post_init__(self) -> None:
        for name in ("J", "Q", "J_fr", "Q_fr", "F"):
            require_whole(name, getattr(self, name), 1)
        n, J, T = self.n_samples, self.J, self.T
        if n.bit_length() <= J:
            raise ValueError(
                f"J = {J} needs at least 2^{J} samples; n_samples is {n} (phi=JTFS(…) takes a smaller J, and for a "
                "synthesiser that is named pnpkit.experiment.systems.System(…, jtfs=…) does)"
            )
        if T is not None and (not is_whole(T) or not 1 <= T <= n or T & (T - 1)):
            raise ValueError(f"T must be None or a power of two from 1 to n_samples = {n}, not {T!r}")

    @property
    def length(self) -> int:
        """Samples of the padded waveform."""
        return 2 * self.n_samples

    @property
    def frames(self) -> int:
        """Instants that first-order paths keep."""
        return 1 if self.T is None else self.n_samples // self.T

    @property
    def second_in_time(self) -> bool:
        """Whether second-order paths keep as many."""
        return self.T is not None and not self.global_second_order


@dataclass(frozen=True)
class Bands:
    """What is cut out of spectra and computed at one length: first-order wavelets, or the rows of a second-order one.

    Args:
        starts: first bin of each.
        weights: its Fourier transform from there on, (bands, width).
        length: samples of a band over the padded duration.
    """

    starts: list[int]
    weights: fb.Array
    length: int


@dataclass(frozen=True)
class Banks:
    """Wavelets in time, energy-normalised, from high to low frequency."""

    first: list[fb.Wavelet]
    second: list[fb.Wavelet]
    coarse: fb.Array  # factor of each second-order wavelet where it meets a band with j ≥ 1; see coarse_quirk
    low_pass: fb.Array | None  # non-negative bins of φ_T; None averages over the sound

    @property
    def rows(self) -> list[int]:
        """First-order bands that each second-order wavelet sees; those slower than their modulation are left out."""
        return [sum(w.j < v.j for w in self.first) for v in self.second]

    def gains(self, n: int) -> fb.Array:
        """Factors of the bands that the n-th second-order wavelet sees."""
        return np.array([self.coarse[n] if w.j >= 1 else 1.0 for w in self.first[: self.rows[n]]])


def banks(sizes: Sizes) -> Banks:
    """The wavelets of both orders and the low-pass."""
    low_pass = None if sizes.T is None else fb.low_pass(sizes.length, sizes.T)
    in_sum = low_pass if sizes.T is not None and 2**sizes.J <= sizes.T else None
    pairs = (fb.centre_frequencies(sizes.J, Q, sizes.n_samples) for Q in (sizes.Q, 1))
    wavelets = ([fb.wavelet(sizes.length, *pair) for pair in of_an_order] for of_an_order in pairs)
    (first, _), (second, coarse) = (fb.energy_normalise(bank, sizes.length, in_sum, target=2) for bank in wavelets)
    return Banks(first, second, coarse if sizes.coarse_quirk else np.ones(len(second)), low_pass)


def averaging(found: Banks, sizes: Sizes) -> fb.Array:
    """Non-negative bins of φ_T that count; one bin, 1, averages over the sound."""
    if found.low_pass is None or sizes.T is None:
        return np.ones(1)
    return found.low_pass[: int(6 * fb.SIGMA_LOWPASS / sizes.T * sizes.length) + 2]


def modulations(found: Banks, sizes: Sizes, low_bins: int) -> Iterator[Bands]:
    """Each second-order wavelet on the rows that it sees, if it sees any; with ``low_bins`` it is averaged by φ_T."""
    for n, (v, rows) in enumerate(zip(found.second, found.rows, strict=True)):
        if rows:
            start, weights = _cut(v.spectrum, SECOND_THRESHOLD)
            samples = plane_length(len(weights), low_bins)
            yield Bands([start] * rows, found.gains(n)[:, None] * weights, min(sizes.length, samples))


def plane_length(width: int, averaging: int) -> int:
    """Samples over which the modulus of a band of ``width`` bins has an exact enough mean.

    Sampling folds the spectrum of the modulus at multiples of the length. That of its square reaches ``width`` and no
    further; what the root adds beyond is the smaller, the more oscillations there are to average. If the mean is not
    over all time but by a low-pass of so many bins (``averaging``), these must stay clear of the fold as well.
    """
    factor = 1 if width >= 1024 else 2 if width > 400 else 3
    return max(SECOND_SHORTEST, fast_length(factor * width), fast_length(width + 2 * averaging) if averaging else 0)


def fast_length(n: int) -> int:
    """Smallest 2^k or 3·2^k that is at least n: lengths of fast transforms that tiles of 2^k divide."""
    return min(m << k for m in (1, 3) for k in range(2, 40) if m << k >= n)


def _cut(spectrum: fb.Array, threshold: float) -> tuple[int, fb.Array]:
    """The bins of a filter above ``threshold`` of its peak: the first of them, and their values."""
    support = np.flatnonzero(np.abs(spectrum) > threshold * np.abs(spectrum).max())
    return int(support[0]), spectrum[support[0] : support[-1] + 1]


def group_bands(spectra: Sequence[fb.Array], length: int, threshold: float = FIRST_THRESHOLD) -> list[Bands]:
    """Group filters by the length at which the envelopes of their bands are computed.

    Args:
        spectra: real Fourier transform of each filter, from high to low frequency. Bin 0 is the first bin of what
            :class:`pnpkit.jtfs.stages.Envelopes` will be given: zero frequency for an ``rfft``; the lowest negative
            one for filters that are not analytic, and an ``fftshift`` of the ``fft``.
        length: padded length that the bins refer to.
        threshold: bins below this share of a filter's peak are left out.

    Returns:
        Bands in the order of the filters, of lengths that never rise.

    >>> [(bands.starts, bands.length) for bands in group_bands([fb.wavelet(256, 0.25, 0.01).spectrum], 256)]
    [([52], 128)]
    """
    cuts = [_cut(spectrum, threshold) for spectrum in spectra]
    lengths = [min(length, max(FIRST_SHORTEST, fast_length(FIRST_OVERSAMPLING * len(w)))) for _, w in cuts]
    # Nyquist cuts the highest bands short: without this they would fall behind lower ones, out of their order
    lengths = [max(lengths[n:]) for n in range(len(lengths))]
    groups = []
    for samples in sorted(set(lengths), reverse=True):
        members = [cut for cut, n in zip(cuts, lengths, strict=True) if n == samples]
        width = max(len(w) for _, w in members)
        weights = np.stack([np.pad(w, (0, width - len(w))) for _, w in members])
        groups.append(Bands([start for start, _ in members], weights, samples))
    return groups


def path_table(found: Banks, joint_rows: int, fr: FrequentialBank, sizes: Sizes) -> pd.DataFrame:
    """What each coefficient of S measures: one row a path, in the order of S.

    A path is a filter in time, one along log-frequency, and the block of coefficients that they give.

    Returns:
        ``pair``: its kind. ``n_time``, ``n_freq``: index of either wavelet (in time first order for S1, second order
        else); −1 for a low-pass or none. ``spin``: +1 up, −1 down, 0 where the path has no orientation; up the rows is
        down in frequency, as in the authors' operator, so a sound that rises has spin −1. ``rate``, ``scale``: centre
        frequencies in cycles/sample and cycles/octave; 0 for a low-pass. ``rows``, ``frames``: first-order bands and
        instants of the block; within it, time runs fastest. ``offset``: its first coefficient.
    """
    frames, later = sizes.frames, sizes.frames if sizes.second_in_time else 1
    kept = [(n, v.xi, rows) for n, (v, rows) in enumerate(zip(found.second, found.rows, strict=True)) if rows]
    paths = [("S0", -1, -1, 0, 0.0, 0.0, 1, 1)]
    paths += [("S1", n, -1, 0, w.xi, 0.0, 1, frames) for n, w in enumerate(found.first)]
    paths += [("phi_t*phi_f", -1, -1, 0, 0.0, 0.0, joint_rows, frames)]
    paths += [("phi_t*psi_f", -1, k, 0, 0.0, xi, joint_rows, frames) for k, xi in enumerate(fr.scales(joint_rows))]
    paths += [("psi_t*phi_f", n, -1, 0, rate, 0.0, rows, later) for n, rate, rows in kept]
    for pair, spin in (("psi_t*psi_f_up", 1), ("psi_t*psi_f_dn", -1)):
        for n, rate, rows in kept:
            paths += [(pair, n, k, spin, rate, xi, rows, later) for k, xi in enumerate(fr.scales(rows))]
    columns = ["pair", "n_time", "n_freq", "spin", "rate", "scale", "rows", "frames"]
    table = pd.DataFrame(paths, columns=columns)
    table["scale"] *= sizes.Q  # rows an octave
    coefficients = table.rows * table.frames
    table["offset"] = coefficients.cumsum() - coefficients
    return table
