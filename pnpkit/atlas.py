"""What many metrics say together: over the grid, between neighbours, and in the tail of their distribution."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def grid_side(n_items: int, d: int = 3) -> int:
    """Cells along each axis of a grid of ``n_items`` cells in d dimensions.

    Raises:
        ValueError: if ``n_items`` is not the d-th power of a whole number.

    >>> grid_side(27_000)
    30
    """
    side = round(n_items ** (1 / d))
    if side**d != n_items:
        raise ValueError(f"{n_items} items do not fill a grid of {d} equal sides")
    return side


def on_grid(values: Tensor, d: int = 3) -> Tensor:
    """Values of all items, (n^d, …), as an array over the cells, (n, …, n, …): ids run along the last axis fastest."""
    return values.unflatten(0, (grid_side(len(values), d),) * d)


def sublattice(side: int, counts: Sequence[int]) -> NDArray[np.int64]:
    """Ids of cells spread evenly over a grid.

    Args:
        side: cells along each axis.
        counts: how many to take along each axis, at most ``side``; a 1 takes the middle.

    Returns:
        Ids, ascending, an array of shape ``counts``.

    Raises:
        ValueError: if a count is less than 1 or more than ``side``.

    >>> sublattice(6, (1, 1, 3)).ravel()
    array([127, 129, 131])
    """
    if not all(1 <= k <= side for k in counts):
        raise ValueError(f"counts must be from 1 to {side}, not {tuple(counts)}")
    axes = [((2 * np.arange(k) + 1) * side) // (2 * k) for k in counts]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), (side,) * len(counts))


def log_metric(M: Float[Tensor, "*batch d d"], theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d d"]:
    r"""Metric in natural logarithms of positive parameters, :math:`\theta_i\theta_j\,\mathbf{M}_{ij}`.

    A step of 0.01 is one per cent, one of ln 2 an octave.
    """
    return theta.unsqueeze(-1) * M.double() * theta.unsqueeze(-2)


def tolerances(
    M: Float[Tensor, "*batch d d"], length: float
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
    r"""Errors of each parameter that are heard as one length ℓ: the others right, and the others free.

    .. math:: \frac{\ell}{\sqrt{\mathbf{M}_{ii}}} \;\le\; \ell\,\sqrt{(\mathbf{M}^{-1})_{ii}}

    The first is half the width of the ball :math:`\langle\delta\mid\mathbf{M}\mid\delta\rangle\le\ell^2` along an
    axis, the second half the width of its shadow: an error that the other parameters may partly undo.

    Args:
        M: positive definite.
        length: ℓ, in units of Φ.

    >>> alone, free = tolerances(torch.tensor([[2.0, 1.0], [1.0, 1.0]]), 1.0)
    >>> free
    tensor([1.0000, 1.4142], dtype=torch.float64)
    """
    M = M.double()
    alone, shadow = (torch.diagonal(A, dim1=-2, dim2=-1) for A in (M, torch.linalg.inv(M)))
    return length * alone.rsqrt(), length * shadow.sqrt()


def relative_spectrum(A: Float[Tensor, "*batch d d"], B: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d"]:
    r"""Eigenvalues of one metric measured by another, ascending: the λ of :math:`\mathbf{B}v = \lambda\mathbf{A}v`.

    √λ is the ratio of the lengths that B and A give to one step; the extreme ones bound it over all steps. They do
    not change when both metrics undergo one linear change of coordinates.

    Args:
        A: positive definite.
        B: symmetric.

    >>> relative_spectrum(torch.diag(torch.tensor([1.0, 4.0])), torch.eye(2))
    tensor([0.2500, 1.0000], dtype=torch.float64)
    """
    L = torch.linalg.cholesky(A.double())
    half = torch.linalg.solve_triangular(L, B.double(), upper=False)
    whole = torch.linalg.solve_triangular(L, half.mT, upper=False)
    return torch.linalg.eigvalsh((whole + whole.mT) / 2)


def worst_ratio(A: Float[Tensor, "*batch d d"], B: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    r"""Largest factor by which two metrics disagree on the length of a step, :math:`\max_i \lambda_i^{\pm 1/2} \ge 1`.

    Symmetric in A and B. Twice its logarithm is a distance between metrics, that of Thompson.

    Source: Thompson, Proceedings of the American Mathematical Society 14, 1963.
    """
    return (relative_spectrum(A, B).log().abs().amax(-1) / 2).exp()


def apart(values: Tensor, axis: int, cells: int, d: int = 3) -> tuple[Tensor, Tensor]:
    """Values of all pairs of items that lie ``cells`` cells apart along one axis, the lower ones and the upper ones.

    >>> lower, upper = apart(torch.arange(8), axis=2, cells=1)
    >>> lower.tolist(), upper.tolist()
    ([0, 2, 4, 6], [1, 3, 5, 7])
    """
    grid = on_grid(values, d)
    pairs = grid.shape[axis] - cells
    lower, upper = grid.narrow(axis, 0, pairs), grid.narrow(axis, cells, pairs)
    return lower.flatten(0, d - 1), upper.flatten(0, d - 1)


def cumulative_share(values: ArrayLike) -> NDArray[np.float64]:
    """Share of a total that its largest parts make up: that of the first, the first two … and of all.

    >>> cumulative_share([1.0, 3.0])
    array([0.75, 1.  ])
    """
    total = np.cumsum(np.sort(np.asarray(values, dtype=np.float64).ravel())[::-1])
    return total / total[-1]
