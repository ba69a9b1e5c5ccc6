"""Filters along log-frequency: how a band is compared with its neighbours."""

import math

import numpy as np
from numpy.typing import NDArray

from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.rows import Rows

RANK_TOLERANCE = 1e-6  # singular values below this share of the bank's largest are left out


class FrequentialBank:
    """Wavelets and low-pass along log-frequency, as convolution matrices on a given number of rows.

    Rows are zero-padded to twice the next power of two and convolved circularly there. Wavelets wider than the rows
    they would see are left out; the others are energy-normalised among those of the same padded length.
    """

    def __init__(self, J_fr: int, Q_fr: int, F: int) -> None:
        self.pairs = fb.centre_frequencies(J_fr, Q_fr)
        self.F = F
        self._banks: dict[int, list[fb.Wavelet]] = {}

    def scales(self, rows: int) -> list[float]:
        """Centre frequencies (cycles/row) of the wavelets that ``rows`` rows can hold.

        The width of a wavelet is √2 standard deviations of its envelope, √2/(2πσ).
        """
        return [xi for xi, sigma in self.pairs if math.sqrt(2) / (2 * math.pi * sigma) <= rows]

    def padded_length(self, rows: int) -> int:
        """Twice the next power of two."""
        return 2 ** (math.ceil(math.log2(rows)) + 1)

    def bank(self, length: int) -> list[fb.Wavelet]:
        """The wavelets that the longest block of this padded length can hold, normalised together."""
        if length not in self._banks:
            held = self.pairs[: len(self.scales(length // 2))]
            wavelets = [fb.wavelet(length, *p) for p in held]
            self._banks[length], _ = fb.energy_normalise(wavelets, length, None, target=1)
        return self._banks[length]

    def matrices(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Low-pass (rows, rows), real, and wavelets of spin up (wavelets, rows, rows), complex."""
        length = self.padded_length(rows)
        bank = self.bank(length)[: len(self.scales(rows))]
        lag = (np.arange(rows)[:, None] - np.arange(rows)) % length
        low = np.fft.irfft(fb.low_pass(length, self.F), n=length)
        # Spin up is up the axis of rows, which go from high to low frequency: it answers to sounds that fall
        waves = [np.fft.ifft(np.pad(w.spectrum, (0, length - len(w.spectrum)))).conj() for w in bank]
        return low[lag], np.stack([w[lag] for w in waves]) if waves else np.zeros((0, rows, rows), np.complex128)

    def filters(self, rows: int, kept: int | None = None) -> list[Rows]:
        """Filters as matrices on foldings: fine wavelets and low-pass on all, coarse wavelets on a few combinations.

        A coarse wavelet hears slow variation along the rows only. All those from the k-th on see the rows through a few
        combinations of them, the leading right singular vectors of their matrices; where to split is what costs least.

        Args:
            rows: how many there are.
            kept: choose the wavelets that so many rows can hold; all if None.
        """
        low, waves = self.matrices(rows)
        waves = waves[: len(self.scales(kept or rows))]
        low_folded, folded = _fold(low), _fold(np.stack([waves.real, waves.imag]))

        def stacked(chosen: slice) -> list[fb.Array]:
            """Real parts, then imaginary parts, of some wavelets, for each folding."""
            parts = [matrices[:, chosen] for matrices in folded]
            return [part.reshape(math.prod(part.shape[:-1]), part.shape[-1]) for part in parts]

        every = stacked(slice(None))
        largest = max((float(np.linalg.norm(matrix, 2)) for matrix in every if matrix.size), default=0.0)
        cost, split, reductions = sum(matrix.size for matrix in every), len(waves), None
        for k in range(len(waves)):
            coarse = stacked(slice(k, None))
            spaces = [_row_space(matrix, RANK_TOLERANCE * largest) for matrix in coarse]
            reduced = sum(len(space) * sum(matrix.shape) for space, matrix in zip(spaces, coarse, strict=True))
            split_cost = sum(matrix.size for matrix in stacked(slice(k))) + reduced
            if split_cost < cost:
                cost, split, reductions = split_cost, k, spaces
        fine = [np.concatenate(pair) for pair in zip(stacked(slice(split)), low_folded, strict=True)]
        filters = [Rows(rows, split, *fine)]
        if reductions is not None:
            weights = [matrix @ space.T for matrix, space in zip(stacked(slice(split, None)), reductions, strict=True)]
            filters.append(Rows(rows, len(waves) - split, *weights, *reductions))
        return filters


def _fold(matrices: fb.Array) -> tuple[fb.Array, fb.Array]:
    """The upper halves of matrices (…, rows, rows), as they apply to sums and to differences of mirrored rows."""
    rows = matrices.shape[-1]
    half = (rows + 1) // 2
    upper, mirrored = matrices[..., :half, :], matrices[..., :half, ::-1]
    even, odd = ((upper + mirrored) / 2)[..., :half], ((upper - mirrored) / 2)[..., : rows // 2]
    if rows % 2:
        even[..., -1] /= 2  # the middle row is added to itself
    return even, odd


def _row_space(matrix: fb.Array, tolerance: float) -> fb.Array:
    """An orthonormal basis, (rank, columns), of what a matrix does not map below a tolerance."""
    _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
    return vectors[values > tolerance]
