"""What the network is trained to reduce: one class a loss, all called as ``loss(prediction, target, metric)``.

Prediction and target are in the coordinates the network speaks (:class:`~pnpkit.synth.parameters.ParameterSpace`), and
the metric is the one of those coordinates; a loss that needs no metric ignores it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pnpkit._checks import require_floating, require_same_shape
from pnpkit.metric import Function

Batch = Float[Tensor, "batch d"]  # θ̃ or θ of a batch, in the coordinates that the network speaks
Box = tuple[Float[Tensor, " d"], Float[Tensor, " d"]]  # lower and upper ends of each parameter

RELAXATION = 10.0  # by which adaptive damping changes λ; Marquardt, 1963


def quadratic_form(error: Float[Tensor, "*batch d"], M: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    r"""Half the squared Riemannian length of an error, :math:`\tfrac12\langle\delta\mid\mathbf{M}\mid\delta\rangle`.

    Args:
        error: δ = θ̃ − θ.
        M: pullback metric at θ, in (units of Φ)² per (unit of θ)²; symmetric.

    Returns:
        One number an item, float64.

    Raises:
        ValueError: if the last dimensions differ.

    Source: GRETSI 2023, Eq (4), with the ½ of the slides.

    >>> quadratic_form(torch.tensor([1.0, 2.0]), torch.eye(2))
    tensor(2.5000, dtype=torch.float64)
    """
    if M.shape[-2:] != (error.shape[-1],) * 2:
        raise ValueError(f"an error of {error.shape[-1]} parameters needs a square metric, not {tuple(M.shape[-2:])}")
    delta = error.double()
    return 0.5 * torch.einsum("...i,...ij,...j->...", delta, M.double(), delta)


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    """Their difference, not broadcast."""
    require_same_shape(prediction, target, "prediction and target")
    return prediction - target


def _semidefinite(name: str, D: Tensor) -> Tensor:
    """A constant matrix in float64, if it is one that a squared length can have."""
    require_floating(name, D)
    D = D.double()
    symmetric = D.ndim == 2 and D.shape == D.mT.shape and bool(torch.isfinite(D).all()) and torch.allclose(D, D.mT)
    if not symmetric or (w := torch.linalg.eigvalsh(D))[0] < -1e-9 * w[-1].abs():
        raise ValueError(f"{name} must be finite, not negative and symmetric, got {D.tolist()}")
    return D


class ParameterLoss(nn.Module):
    r"""P-loss: mean over batch and dimensions of the squared parameter error.

    .. math:: \mathcal{L}^{\mathrm{P}} = \tfrac1d \|\tilde\theta - \theta\|_2^2

    Source: GRETSI 2023, Eq (1); the mean over d is PyTorch's MSE, as the authors used it.

    >>> ParameterLoss()(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
    tensor(2.)
    """

    def forward(self, prediction: Batch, target: Batch, metric: Tensor | None = None) -> Float[Tensor, ""]:
        return _error(prediction, target).square().mean()


class WeightedParameterLoss(nn.Module):
    r"""Weighted P-loss: one constant matrix for all sounds.

    .. math:: \mathcal{L} = \tfrac12\langle\delta\mid\mathbf{D}\mid\delta\rangle

    Args:
        weights: D, in (units of Φ)² per (unit of θ)², or its diagonal alone. The slides leave it undefined; the
            diagonal of the mean metric M̄ is our choice, M̄ itself and the inverse variances of θ are controls.

    Raises:
        ValueError: if a weight is negative or not finite, or the matrix is not square, symmetric and positive
            semi-definite.

    Source: slides, "Weighted P-loss: M(θ) = D".

    >>> WeightedParameterLoss(torch.tensor([2.0, 1.0]))(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(3., dtype=torch.float64)
    """

    def __init__(self, weights: Float[Tensor, " d"] | Float[Tensor, "d d"]) -> None:
        super().__init__()
        self.D: Tensor
        self.register_buffer("D", _semidefinite("weights", torch.diag(weights) if weights.ndim == 1 else weights))

    def forward(self, prediction: Batch, target: Batch, metric: Tensor | None = None) -> Float[Tensor, ""]:
        error = _error(prediction, target)
        return quadratic_form(error, self.D.to(error.device).expand(*error.shape[:-1], -1, -1)).mean()


class WaveformLoss(nn.Module):
    r"""A distance of sounds as a loss, differentiated through g: how DDSP is trained.

    .. math:: \mathcal{L} = d\big(g(\Pi\tilde\theta), g(\theta)\big) + d\big(0, g(\theta)\big)
              \big(\sqrt{1 + \rho^2} - 1\big)

    Guesses are in the network's coordinates, and taken at their nearest point Πθ̃ of a box: far out a synthesiser may
    overflow, or have no slope that leads back. So a guess pays for the way there: each half range costs as much as
    silence, and the price grows no faster than the distance, so that a few wild guesses (dropout makes some to the end)
    do not outshout a batch. For ρ see :class:`SpectralLoss`.

    Args:
        distance: of two batches of waveforms, such as :func:`pnpkit.distances.ddsp_mss_distance`; one number an item.
        listen: g, or what is compared of a sound, as one function of θ in raw units; with a box, zero for silence. It
            gets θ in the network's precision: a chirp whose phase needs double takes ``theta.double()``.
        decode, box: as in :class:`SpectralLoss`.

    Raises:
        ValueError: if the box is empty.

    Source: Engel et al., *DDSP*, 2020; the loss that the abstract of GRETSI 2023 compares with.
    """

    def __init__(
        self,
        distance: Callable[[Tensor, Tensor], Tensor],
        listen: Function,
        decode: Function = lambda theta: theta,
        box: Box | None = None,
    ) -> None:
        super().__init__()
        if box is not None and not bool((box[0] < box[1]).all()):
            raise ValueError(f"the box needs low < high, got {box[0].tolist()} and {box[1].tolist()}")
        self.distance, self.listen, self.decode, self.box = distance, listen, decode, box

    def forward(self, prediction: Batch, target: Batch, metric: Tensor | None = None) -> Float[Tensor, ""]:
        require_same_shape(prediction, target, "prediction and target")
        with torch.no_grad():
            wanted = self.listen(self.decode(target))
            silence = self.distance(torch.zeros_like(wanted), wanted)
        inside, way_back = self._into_box(prediction)
        return (self.distance(self.listen(self.decode(inside)), wanted) + silence * way_back).mean()

    def _into_box(self, guess: Batch) -> tuple[Batch, Tensor | float]:
        """The nearest point of the box, and how many times the cost of silence the way there costs."""
        if self.box is None:
            return guess, 0.0
        low, high = (end.to(guess) for end in self.box)
        inside = guess.clamp(low, high)
        ranges = ((guess - inside).double() / (0.5 * (high - low))).square().sum(-1)
        return inside, (1 + ranges).sqrt() - 1


class SpectralLoss(WaveformLoss):
    r"""Spectral loss: squared distance between the sounds as Φ hears them, differentiated through Φ∘g.

    .. math:: \mathcal{L}^{\mathrm{SP}} = \tfrac12 \|\Phi(g(\tilde\theta)) - \Phi(g(\theta))\|_2^2

    With a ``box``, a guess outside of it is heard at its nearest point Πθ̃ in the box, and pays for the way there:

    .. math:: \mathcal{L}^{\mathrm{SP}} = \tfrac12 \|\Phi(g(\Pi\tilde\theta)) - \Phi(g(\theta))\|_2^2
              + \tfrac12 \|\Phi(g(\theta))\|_2^2 \big(\sqrt{1 + \rho^2} - 1\big), \qquad
              \rho^2 = \sum_i \Big(\frac{\tilde\theta_i - \Pi\tilde\theta_i}{r_i}\Big)^2

    with r_i half the width of the box.

    Args:
        listen: Φ∘g as one function of θ in raw units, (batch, d) → (batch, K).
        decode: from the network's coordinates to raw θ; identity by default.
        box: lower and upper ends of each parameter, in the network's coordinates; None leaves guesses where they are.

    Raises:
        ValueError: if the box is empty.

    Source: GRETSI 2023, Eq (2), with the ½ of the slides so that its second-order picture is the PNP loss. The box is
    ours: the authors never ran this loss.

    >>> SpectralLoss(torch.square)(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    tensor(4.5000)
    """

    def __init__(self, listen: Function, decode: Function = lambda theta: theta, box: Box | None = None) -> None:
        super().__init__(lambda x, y: 0.5 * (x - y).square().sum(-1), listen, decode, box)


class PNPLoss(nn.Module):
    r"""Perceptual–neural–physical loss: the spectral loss's second-order picture, at the price of a P-loss.

    .. math:: \mathcal{L}^{\mathrm{PNP}} = \tfrac12 \langle\delta \mid \mathbf{M}(\theta) + \lambda\mathbf{D}
              \mid \delta\rangle, \qquad \delta = \tilde\theta - \theta

    Args:
        damping: the constant matrix λD added to every metric (Tikhonov's term), or None; see
            :func:`pnpkit.metric.damp` for the identity, M̄ and its diagonal.

    Raises:
        ValueError: if there is not one metric an item, or the damping is not symmetric and positive semi-definite.

    Source: GRETSI 2023, Eqs (4) and (5), with the ½ of the slides.

    >>> M = torch.eye(2).expand(1, 2, 2)
    >>> PNPLoss()(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]), M)
    tensor(2., dtype=torch.float64)
    """

    relaxed = 0  # how often the damping is divided; only the adaptive one's changes

    def __init__(self, damping: Float[Tensor, "d d"] | None = None) -> None:
        super().__init__()
        self.damping: Tensor | None
        self.register_buffer("damping", None if damping is None else _semidefinite("damping", damping))

    def forward(self, prediction: Batch, target: Batch, metric: Float[Tensor, "batch d d"]) -> Float[Tensor, ""]:
        error = _error(prediction, target)
        if metric.shape[:-2] != error.shape[:-1]:
            raise ValueError(f"{tuple(error.shape)} errors need a metric each, not {tuple(metric.shape)}")
        if self.damping is not None:
            if metric.shape[-2:] != self.damping.shape:
                raise ValueError(f"damping of {tuple(self.damping.shape)} is not for metrics of {tuple(metric.shape)}")
            metric = metric.double() + self.damping.to(metric.device) / RELAXATION**self.relaxed
        return quadratic_form(error, metric).mean()


class AdaptivePNPLoss(PNPLoss):
    """The PNP loss with a damping that follows success: Levenberg's and Marquardt's, an epoch for a step.

    It is divided by :data:`RELAXATION` after an epoch that improves the validation loss, and else multiplied, never
    beyond the first; the trainer takes the weights of such an epoch back.

    Args:
        damping: the first λD.

    Source: slides, "adaptive λ"; Levenberg, 1944; Marquardt, 1963.
    """

    def judge(self, improved: bool) -> int:
        """Trust the metric more after a success, less after a failure; returns how often the damping is divided now."""
        self.relaxed = self.relaxed + 1 if improved else max(self.relaxed - 1, 0)
        return self.relaxed
