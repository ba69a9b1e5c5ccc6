"""Filters along the rows as matrix products on their foldings."""

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn


def keep(module: nn.Module, name: str, constant: NDArray) -> None:
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
        even: weights on the sums, ((2·wavelets + low-pass)·⌈rows/2⌉, columns): wavelets' real parts, imaginary parts,
            low-pass.
        odd: the same on the differences.
        even_basis: combinations of the sums that these see, (columns, ⌈rows/2⌉), or None where they see all.
        odd_basis: the same for the differences.
    """

    even: Tensor
    odd: Tensor
    even_basis: Tensor
    odd_basis: Tensor

    def __init__(
        self,
        rows: int,
        wavelets: int,
        even: NDArray,
        odd: NDArray,
        even_basis: NDArray | None = None,
        odd_basis: NDArray | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.wavelets, self.reduced = rows, wavelets, even_basis is not None
        matrices = {"even": even, "odd": odd, "even_basis": even_basis, "odd_basis": odd_basis}
        for name, matrix in matrices.items():
            if matrix is not None:
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
        return (
            self._unfold(a_even + a_odd, a_even - a_odd),
            self._unfold(b_odd + b_even, b_odd - b_even),
            self._unfold(low_even + low_odd, low_even - low_odd),
        )

    def _unfold(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Rows in order, from the upper halves and the lower ones, mirrored."""
        half = (self.rows + 1) // 2
        upper, lower = (part.unflatten(-2, (-1, half)) for part in (upper, lower))
        return torch.cat([upper, lower[..., : self.rows // 2, :].flip(-2)], -2).flatten(-3, -2)
