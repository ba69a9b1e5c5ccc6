"""Filters along log-frequency: how a band is compared with its neighbours."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnpkit.jtfs import filterbank as fb

RANK_TOLERANCE = 1e-6  # singular values below this share of the bank's largest are left out


@dataclass(frozen=True)
class RowFilters:
    """Wavelets and perhaps a low-pass along the rows, as real matrices on the two foldings of the rows.

    A wavelet's impulse response is Hermitian, so its real part is even and its imaginary part odd: each maps what is
    symmetric about the middle row and what is antisymmetric apart. On sums and differences of the rows that mirror each
    other, half as many products do, and give the upper half of the rows; see :func:`pnpkit.jtfs.kernels.add_moduli`.

    Args:
        wavelets: how many.
        even: weights on the sums, ((2·wavelets + low-pass)·⌈rows/2⌉, inputs): wavelets' real parts, imaginary parts,
            low-pass.
        odd: the same on the differences.
        even_inputs: combinations of the sums, (inputs, ⌈rows/2⌉), or None where the inputs are the sums themselves.
        odd_inputs: the same for the differences.
    """

    wavelets: int
    even: fb.Array
    odd: fb.Array
    even_inputs: fb.Array | None = None
    odd_inputs: fb.Array | None = None


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

    def filters(self, rows: int, kept: int | None = None) -> list[RowFilters]:
        """The same as matrices on foldings: fine wavelets and low-pass on all of them, coarse wavelets on fewer inputs.

        A coarse wavelet hears slow variation along the rows only. All those from the k-th on see the rows through a few
        combinations of them, the leading right singular vectors of their matrices; where to split is what costs least.

        Args:
            rows: how many there are.
            kept: choose the wavelets that so many rows can hold; all if None.
        """
        low, waves = self.matrices(rows)
        waves = waves[: len(self.scales(kept or rows))]
        low_folded, folded = _fold(low[None]), [_fold(np.stack([wave.real, wave.imag])) for wave in waves]

        def stack(parity: int, chosen: slice) -> fb.Array:
            """Real parts, then imaginary parts, of some wavelets."""
            parts = [wave[parity][c] for c in (0, 1) for wave in folded[chosen]]
            return np.concatenate([low_folded[parity][0, :0], *parts])

        every = slice(None)
        largest = max(
            (float(np.linalg.norm(stack(parity, every), 2)) for parity in (0, 1) if rows > parity), default=0.0
        )
        cost, split, reductions = sum(stack(parity, every).size for parity in (0, 1)), len(waves), None
        for k in range(len(waves)):
            coarse = [stack(parity, slice(k, None)) for parity in (0, 1)]
            spaces = [_row_space(matrix, RANK_TOLERANCE * largest) for matrix in coarse]
            split_cost = sum(
                stack(parity, slice(k)).size + len(spaces[parity]) * sum(coarse[parity].shape) for parity in (0, 1)
            )
            if split_cost < cost:
                cost, split, reductions = split_cost, k, spaces
        fine = [np.concatenate([stack(parity, slice(split)), low_folded[parity][0]]) for parity in (0, 1)]
        filters = [RowFilters(split, *fine)]
        if reductions is not None:
            weights = [stack(parity, slice(split, None)) @ reductions[parity].T for parity in (0, 1)]
            filters.append(RowFilters(len(waves) - split, *weights, *reductions))
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
