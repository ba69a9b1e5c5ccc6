"""The pullback metric M = JᵀJ of a composition Φ∘g, and what one asks of it."""

import warnings
from collections.abc import Callable
from functools import cache
from threading import RLock
from typing import Literal

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.autograd import forward_ad

from pnpkit._checks import require_finite, require_floating, somewhere
from pnpkit._names import require_known

Function = Callable[[Tensor], Tensor]  # g, Φ, or the two composed
_ONE_AT_A_TIME = RLock()  # torch counts the levels of forward-mode differentiation per process, not per thread


def jacobian(g: Function, phi: Function, theta: Float[Tensor, "*batch d"]) -> Inexact[Tensor, "*batch k d"]:
    r"""Jacobian of Φ∘g by forward-mode differentiation, one tangent a parameter.

    .. math:: \mathbf{J}_{ki} = \partial(\Phi\circ g)_k(\theta) / \partial\theta_i

    Forward mode costs d tangents however many coefficients Φ has; reverse mode would cost K passes.

    Args:
        g: synthesiser, (…, d) → (…, n); applied item by item along the batch.
        phi: descriptor, (…, n) → (…, K), real or complex.
        theta: raw units; float64 where g counts phases in the dtype of θ. Under ``vmap`` an item is mapped.

    Returns:
        J, in units of Φ per unit of θ, in the dtype of Φ.

    >>> jacobian(lambda th: th, lambda x: x**2, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return value_and_jacobian(g, phi, theta)[1]


def value_and_jacobian(
    g: Function, phi: Function, theta: Float[Tensor, "*batch d"]
) -> tuple[Inexact[Tensor, "*batch k"], Inexact[Tensor, "*batch k d"]]:
    """Φ(g(θ)) and its Jacobian in one pass; see :func:`jacobian`. Threads of one process take turns."""
    require_floating("theta", theta)
    flat = theta.reshape(-1, d := theta.shape[-1])
    directions = torch.eye(d, dtype=theta.dtype, device=theta.device)
    with _ONE_AT_A_TIME:
        load_forward_mode()
        values, columns = torch.func.vmap(
            lambda v: torch.func.jvp(lambda th: phi(g(th)), (flat,), (v.expand_as(flat),))[:2]
        )(directions)
    batch, k = theta.shape[:-1], values.shape[-1]  # k said, as an empty batch leaves it open
    return values[0].reshape(*batch, k), columns.movedim(0, -1).reshape(*batch, k, d)  # one value for all directions


@cache
def load_forward_mode() -> None:
    """Let torch load its rules of forward mode, which warns, with a path, of torch's own use of ``torch.jit``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.script", FutureWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


def riemannian_metric(g: Function, phi: Function, theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d d"]:
    r"""Pullback metric of Φ∘g, :math:`\mathbf{M}(\theta)=\mathbf{J}(\theta)^\top\mathbf{J}(\theta)`, in float64.

    A complex Φ counts as its real and imaginary parts: :math:`\mathbf{M} = \operatorname{Re}\mathbf{J}^H\mathbf{J}`.

    Args:
        g, phi, theta: as in :func:`jacobian`.

    Returns:
        M in (units of Φ)² per (unit of θ)²; symmetric to the last bit, positive semi-definite up to rounding.

    Raises:
        ValueError: if M is not finite, naming the θ that gave it (under ``vmap`` it stays, as nobody can tell); what g
            or Φ refuse, such as a sound that is not finite, they say themselves.

    Source: GRETSI 2023, Eq (3) and below.

    >>> riemannian_metric(lambda th: th, lambda x: x**2, torch.tensor([1.0, 2.0]))
    tensor([[ 4.,  0.],
            [ 0., 16.]], dtype=torch.float64)
    """
    return metric_from_jacobian(jacobian(g, phi, theta), theta)


def metric_from_jacobian(
    J: Inexact[Tensor, "*batch k d"], theta: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch d d"]:
    """Re JᴴJ in float64, symmetric to the last bit; θ is for the message should it not be finite."""
    J = torch.cat([J.real, J.imag], -2).double() if J.is_complex() else J.double()
    M = J.mT @ J
    wrong = ~torch.isfinite(M).flatten(-2).all(-1)
    if somewhere(wrong):
        bad = theta.reshape(-1, theta.shape[-1])[wrong.reshape(-1)]
        raise ValueError(f"the metric is not finite at theta = {bad[:3].tolist()}" + (" …" if len(bad) > 3 else ""))
    return (M + M.mT) / 2


def mean_metric(M: Float[Tensor, "items d d"]) -> Float[Tensor, "d d"]:
    r"""Mean metric, the Tikhonov matrix of Eq (5). Give it the train fold only.

    .. math:: \overline{\mathbf{M}} = \frac1N \sum_{n=1}^{N} \mathbf{M}(\theta_n)

    Args:
        M: metrics, in (units of Φ)² per (unit of θ)².

    Returns:
        M̄, in the same unit, float64.

    Raises:
        ValueError: if a metric is not finite, or there is none.

    Source: GRETSI 2023, Eq (5).

    >>> mean_metric(torch.tensor([[[1.0]], [[3.0]]]))
    tensor([[2.]], dtype=torch.float64)
    """
    require_finite("M", M)
    if M.dim() != 3 or not len(M):
        raise ValueError(f"a mean metric needs items × d × d with at least one item, not {tuple(M.shape)}")
    return M.double().mean(0)


def damp(
    lam: float, kind: Literal["identity", "mean", "diagonal"], M_mean: Float[Tensor, "d d"]
) -> Float[Tensor, "d d"]:
    r"""The constant matrix :math:`\lambda\mathbf{D}` that is added to every metric.

    Args:
        lam: λ ≥ 0; its unit is that of M for ``"identity"``, none otherwise.
        kind: D = I (slides), M̄ (Eq 5), or the diagonal of M̄.
        M_mean: M̄, in the coordinates in which the loss is taken.

    Raises:
        ValueError: if λ is negative or not finite, M̄ is no matrix, or the kind is unknown.

    >>> damp(0.5, "identity", torch.ones(2, 2))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    if not 0 <= lam < float("inf"):
        raise ValueError(f"lambda must be finite and not negative, not {lam}")
    if M_mean.dim() != 2:
        raise ValueError(f"M̄ must be d × d, not {tuple(M_mean.shape)}")
    M_mean = M_mean.double()
    choices = {"identity": torch.eye(len(M_mean)).to(M_mean), "mean": M_mean, "diagonal": M_mean.diagonal().diag()}
    require_known("damping", kind, choices)
    return lam * choices[kind]


def unit_trace(M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    r"""Each metric over its mean eigenvalue, :math:`d\,\mathbf{M}/\operatorname{tr}\mathbf{M}`; zero stays zero.

    What a metric says of directions is kept, how loudly it says it is not: in a batch no item outweighs the others.
    Take it in the coordinates of the loss, since a trace depends on them.

    >>> unit_trace(torch.diag(torch.tensor([30.0, 10.0])))
    tensor([[1.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    mean = M.diagonal(dim1=-2, dim2=-1).mean(-1)
    return M / mean.clamp_min(torch.finfo(M.dtype).tiny)[..., None, None]


def spectrum(M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d"]:
    """Eigenvalues of the metric, ascending (symmetric solver): squared gains of Φ∘g along its principal directions."""
    return torch.linalg.eigvalsh(M.double())


def condition_number(M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    """Ratio of the largest eigenvalue to the smallest; infinite where rounding leaves the smallest none."""
    smallest, largest = spectrum(M)[..., [0, -1]].unbind(-1)
    return torch.where(smallest > 0, largest / smallest, torch.inf)  # 0/0 would be NaN for a metric of zeros


def volume(M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    r"""Riemannian volume element :math:`\sqrt{\det\mathbf{M}}`: how much Φ-space a unit of θ-space fills."""
    return torch.linalg.det(M.double()).clamp_min(0).sqrt()


def inverse(M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Inverse of a metric, each parameter in its own unit first: very large, not zero, where M says nothing."""
    diagonal = M.diagonal(dim1=-2, dim2=-1)
    unit = diagonal.clamp_min(1e-20 * diagonal.amax(-1, keepdim=True)).clamp_min(1e-280).rsqrt()
    w, V = torch.linalg.eigh(unit.unsqueeze(-1) * M * unit.unsqueeze(-2))
    return unit.unsqueeze(-1) * ((V / w.clamp_min(1e-12).unsqueeze(-2)) @ V.mT) * unit.unsqueeze(-2)


def log_metric(M: Float[Tensor, "*batch d d"], theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d d"]:
    r"""Metric in natural logarithms of positive parameters, θ_i θ_j M_ij: a step of 0.01 is 1 %, of ln 2 an octave."""
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
    alone, shadow = (torch.diagonal(A, dim1=-2, dim2=-1) for A in (M, inverse(M)))
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
    return (relative_spectrum(A, B).clamp_min(0).log().abs().amax(-1) / 2).exp()
