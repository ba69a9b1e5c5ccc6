"""Filters along log-frequency, how a band is compared with its neighbours, as products on foldings of the rows."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pnpkit.jtfs import filterbank as fb

Foldings = Sequence[fb.Array]  # a matrix for sums of mirrored rows, another for their differences
RANK_TOLERANCE = 1e-6  # singular values below this share of the bank's largest are left out


def keep(module: nn.Module, name: str, constant: NDArray[np.floating]) -> None:
    """Register a constant: it follows the module's device and dtype, and stays out of its state."""
    with torch.inference_mode(False):  # an operator made inside that mode differentiates outside it
        module.register_buffer(name, torch.from_numpy(constant.copy()).float(), persistent=False)


class Rows(nn.Module):
    """Wavelets and perhaps a low-pass along a number of rows, as real matrices on the two foldings of the rows.

    A wavelet's impulse response is Hermitian, so its real part is even and its imaginary part odd: each maps what is
    symmetric about the middle row and what is antisymmetric apart. On sums and differences of the rows that mirror each
    other, half as many products do, and give the upper half of the rows; see :func:`pnpkit.jtfs.kernels.add_moduli`.

    Args:
        rows: how many.
        wavelets: how many.
        weights: on the sums and on the differences, ((2·wavelets + low-pass)·⌈rows/2⌉, columns): wavelets' real parts,
            imaginary parts, low-pass.
        bases: combinations of the sums and of the differences that these see, (columns, ⌈rows/2⌉ or ⌊rows/2⌋); None
            where they see all.
    """

    even: Tensor
    odd: Tensor
    even_basis: Tensor
    odd_basis: Tensor

    def __init__(self, rows: int, wavelets: int, weights: Foldings, bases: Foldings | None = None) -> None:
        super().__init__()
        self.rows, self.wavelets, self.reduced = rows, wavelets, bases is not None
        for name, matrix in zip(("even", "odd", "even_basis", "odd_basis"), (*weights, *(bases or ())), strict=False):
            keep(self, name, matrix)

    def products(
        self, even: Tensor, odd: Tensor, out: tuple[Tensor | None, Tensor | None] = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """What the weights make of sums and differences of mirrored rows, each (…, rows of them, columns)."""
        if self.reduced:
            even, odd = self.even_basis @ even, self.odd_basis @ odd
        return torch.matmul(self.even, even, out=out[0]), torch.matmul(self.odd, odd, out=out[1])

    def pull(self, even: Float[Tensor, "out n"], odd: Float[Tensor, "out n"]) -> tuple[Tensor, Tensor]:
        """Adjoint of :meth:`products`."""
        even, odd = self.even.mT @ even, self.odd.mT @ odd
        return (self.even_basis.mT @ even, self.odd_basis.mT @ odd) if self.reduced else (even, odd)

    def forward(self, x: Float[Tensor, "*batch rows columns"]) -> tuple[Tensor, Tensor, Tensor]:
        """Real and imaginary parts of the wavelets, (…, wavelets · rows, columns), and low-pass (0 or rows)."""
        half, mirrored = (self.rows + 1) // 2, x.flip(-2)
        even, odd = self.products((x + mirrored)[..., :half, :], (x - mirrored)[..., : self.rows // 2, :])
        n = self.wavelets * half
        (a_even, b_even, low_even), (a_odd, b_odd, low_odd) = (p.tensor_split((n, 2 * n), -2) for p in (even, odd))
        return self._unfold(a_even, a_odd), self._unfold(b_odd, b_even), self._unfold(low_even, low_odd)

    def _unfold(self, one: Tensor, other: Tensor) -> Tensor:
        """Rows in order: the sum of the two is the upper half, their difference the lower one, mirrored."""
        half = (self.rows + 1) // 2
        upper, lower = (part.unflatten(-2, (-1, half)) for part in (one + other, one - other))
        return torch.cat([upper, lower[..., : self.rows // 2, :].flip(-2)], -2).flatten(-3, -2)


class FrequentialBank:
    """Wavelets and low-pass along log-frequency, as convolution matrices on a given number of rows.

    Rows are zero-padded to twice the next power of two and convolved circularly there. Wavelets wider than the rows
    they would see are left out; the others are energy-normalised among those of the same padded length.
    """

    def __init__(self, J_fr: int, Q_fr: int, F: int) -> None:
        self.pairs = fb.centre_frequencies(J_fr, Q_fr)
        self.F = F

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
        wavelets = [fb.wavelet(length, *pair) for pair in self.pairs[: len(self.scales(length // 2))]]
        return fb.energy_normalise(wavelets, length, None, target=1)[0]

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
        filters = [Rows(rows, split, fine)]
        if reductions is not None:
            weights = [matrix @ space.T for matrix, space in zip(stacked(slice(split, None)), reductions, strict=True)]
            filters.append(Rows(rows, len(waves) - split, weights, reductions))
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
