"""Damped Gauss–Newton descent on the distance in Φ: many sounds, many starts, each with a pace of its own."""

from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pnpkit._checks import require_finite, require_whole
from pnpkit.losses import RELAXATION
from pnpkit.metric import Function, value_and_jacobian
from pnpkit.synth import ParameterSpace
from pnpkit.synth.parameters import space_of

STALLED = 1e8  # λ, in mean eigenvalues, at which no step worth the name is left
EASIEST = 1e-6  # λ falls no further: where the way grows rough it would take as many steps to come back
FREE = 10.0  # λ up to which a step is free enough to judge by
DEAF = 1e-12  # share of the largest squared unit that a unit has at least: what is not heard at first may be later on
FLAT = 1e-12  # eigenvalues of M below this share of the largest are taken as zero


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a descent ended and how it went there; ``steps`` counts from the start, which is row 0.

    Args:
        theta: answers, raw units, float64.
        distance: ‖Φ(g(θ̃)) − Φ(x)‖ there.
        tangent: the part of that distance a further undamped step could remove, by the linear picture.
        metric: M at the answer, in ``coordinates``.
        converged: whether it ended by its own criterion; not if it ran out of steps or λ out of bounds. It may have
            ended in another valley: the distance says how near that is.
        jacobians: how many Jacobians each took.
        distances, lams, kept, path: after each step: the distance tried, λ in mean eigenvalues of the first M (or, each
            parameter in its own unit, in those), whether the step was kept, and θ̃; in a batch the last row of an item
            that has ended is repeated.
        space, coordinates: in which it went.
    """

    theta: Float[Tensor, "*batch d"]
    distance: Float[Tensor, "*batch"]
    tangent: Float[Tensor, "*batch"]
    metric: Float[Tensor, "*batch d d"]
    converged: Bool[Tensor, "*batch"]
    jacobians: Int[Tensor, "*batch"]
    distances: Float[Tensor, "steps *batch"]
    lams: Float[Tensor, "steps *batch"]
    kept: Bool[Tensor, "steps *batch"]
    path: Float[Tensor, "steps *batch d"]
    space: ParameterSpace
    coordinates: str

    def table(self, *index: int) -> pd.DataFrame:
        """One item's history, a row a step: ``distance``, ``lam``, ``kept``, and θ̃, a column a parameter."""
        rows: tuple[slice | int, ...] = (slice(int(self.jacobians[index])), *index)
        columns = {"distance": self.distances[rows], "lam": self.lams[rows], "kept": self.kept[rows]}
        columns |= dict(zip(self.space.names, self.path[rows].unbind(-1), strict=True))
        return pd.DataFrame({k: v.cpu().numpy() for k, v in columns.items()}).rename_axis("step")


def refine(
    g: Function,
    phi: Function,
    target: Float[Tensor, "*sounds k"],
    start: Float[Tensor, "*starts d"],
    *,
    space: ParameterSpace | None = None,
    lam: float = 0.1,
    steps: int = 20,
    tolerance: float = 0.02,
    cosine: float = 0.01,
    still: float = 0.0,
    coordinates: str = "logminmax",
    own: bool = False,
) -> Descent:
    r"""Descend on ½‖Φ(g(θ̃)) − Φ(x)‖² by damped Gauss–Newton steps, one item after the other.

    .. math:: (\mathbf{M} + \lambda\,\mathbf{I})\,\delta = -\mathbf{J}^\top\big(\Phi(g(\tilde\theta)) - \Phi(x)\big),
              \qquad \mathbf{M} = \mathbf{J}^\top\mathbf{J}

    A step that comes closer is kept, and λ divided by ten (to a millionth at least); one that does not is undone, and λ
    multiplied by ten. With λ = 0 that is Gauss and Newton's method, every step kept. A parameter at a bound that wants
    to leave stays there while the others go on. An item ends when the linear picture has nothing more to offer: the
    undamped step would change Φ by no more than ``tolerance``, or by no more than ``cosine`` of the distance (the
    residual is orthogonal to all that θ can do). Level and delay join as parameters of
    :class:`~pnpkit.matching.placed.Placed`.

    Args:
        g: synthesiser, its gain's gradient attached: a detached gain sends the steps astray.
        phi: descriptor, (…, n) → (…, K).
        target: Φ(x), one a sound; its batch and that of the starts are broadcast, so (sounds, 1, K) and
            (sounds, starts, d) give every sound its starts.
        start: θ̃, raw units, within the ranges up to rounding (its own answer at a bound is a start).
        space: of θ; by default that of the synthesiser.
        lam: first λ, in mean eigenvalues of the first M, or in units of D if those are its diagonal's (``own``).
        steps: how many are tried at most.
        tolerance: in units of Φ; 0 for none.
        cosine: share of the distance; 0 for none.
        still: where Φ∘g is rough the linear picture promises what no step can keep: end, too, when one that λ ≤ 10 held
            back brings no more than this share of the distance; 0 for never.
        coordinates: in which I is the identity.
        own: put D, the diagonal of the first M, in the place of I, as Marquardt did: each parameter is held back in its
            own unit. A delay, a thousand times as steep as the rest and bent within a millisecond, else holds up all.

    Returns:
        Answers and history, of the broadcast batch.

    Raises:
        ValueError: if λ is negative, a start is not finite or lies outside the ranges, or the target is not of Φ; or
            Φ of a start is not finite.

    Source: Levenberg, 1944; Marquardt, 1963; for the criterion Moré, 1978.

    >>> from pnpkit.synth import Parameter
    >>> space = ParameterSpace((Parameter("a", "a", "1", -1.0, 1.0),))
    >>> target = torch.sin(torch.tensor([[0.5]]))
    >>> refine(torch.sin, lambda x: x, target, torch.zeros(1, 1), space=space, tolerance=1e-6).theta
    tensor([[0.5000]], dtype=torch.float64)
    """
    if not 0 <= lam < float("inf"):
        raise ValueError(f"lambda must be finite and not negative, not {lam}")
    require_whole("steps", steps, 0)
    space, device = space_of(g, space), target.device
    start = space.inside(start)
    batch = torch.broadcast_shapes(target.shape[:-1], start.shape[:-1])
    low, high = (end.to(device) for end in space.box(coordinates))

    def at(u: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """M, gradient Jᵀr and distance."""
        value, J = value_and_jacobian(lambda v: g(space.decode(v, coordinates)), phi, u)
        if (ours := value.shape[1:]) != (theirs := wanted.shape[1:]):
            raise ValueError(f"the target has shape {tuple(theirs)}, Φ of a sound {tuple(ours)}")
        residual, J = (value - wanted).double(), J.double()
        return J.mT @ J, (J.mT @ residual.unsqueeze(-1)).squeeze(-1), residual.norm(dim=-1)

    def descend(u: Float[Tensor, "1 d"], wanted: Float[Tensor, "1 k"]) -> Descent:
        """One item, all that is of it a batch of one."""
        M, gradient, distance = at(u, wanted)
        require_finite("Φ of the starts, or a slope of it,", torch.cat([distance, M.flatten()]))
        diagonal = M.diagonal(dim1=-2, dim2=-1)
        unit = diagonal if own else diagonal.mean(-1, keepdim=True).expand_as(diagonal)
        unit = unit.clamp_min(DEAF * unit.amax(-1, keepdim=True)).clamp_min(1e-300).sqrt()
        damping, stood, rows = float(lam), False, [(distance, float(lam), True, u)]
        while True:
            free = _free(u, gradient, low, high)
            tangent = _tangent(M, gradient, free)
            small = tangent <= torch.clamp(cosine * distance, min=tolerance)
            ended = stood or bool(small if tolerance or cosine else tangent < 0)
            if ended or damping >= STALLED or len(rows) > steps:
                break
            guess = torch.clamp(u + _solve(M, damping, gradient, free, unit), low, high)
            M_there, gradient_there, there = at(guess, wanted)
            closer, gain = bool(there < distance) or lam == 0, distance - there
            stood = bool((gain > 0) & (gain <= still * distance)) and damping <= FREE
            if closer:
                u, M, gradient, distance = guess, M_there, gradient_there, there
            rows.append((there, damping, closer, u))
            damping = max(damping / RELAXATION, min(lam, EASIEST)) if closer else damping * RELAXATION
        distances, lams, kept, places = zip(*rows, strict=True)
        facts = torch.tensor(ended, device=device), torch.tensor(len(rows), device=device)
        way = torch.cat(distances), torch.tensor(lams, dtype=M.dtype, device=device), torch.tensor(kept, device=device)
        theta, path = (space.decode(v, coordinates) for v in (u, torch.cat(places)))
        return Descent(theta[0], distance[0], tangent[0], M[0], *facts, *way, path, space, coordinates)

    u = torch.clamp(space.encode(start.to(device), coordinates), low, high)
    starts, targets = (v.expand(*batch, v.shape[-1]).reshape(-1, 1, v.shape[-1]) for v in (u, target))
    return _together([descend(*item) for item in zip(starts, targets, strict=True)], batch)


def _together(ends: list[Descent], batch: torch.Size) -> Descent:
    """Descents as one batch; the last row of one that has ended is repeated."""
    rows = torch.arange(max(len(end.kept) for end in ends))

    def column(name: str) -> Any:
        values, lead = [getattr(end, name) for end in ends], int(name in ("distances", "lams", "kept", "path"))
        if lead:
            values = [v[rows.to(v.device).clamp_max(len(v) - 1)] for v in values]
        return torch.stack(values, lead).reshape((*values[0].shape[:lead], *batch, *values[0].shape[lead:]))

    return replace(ends[0], **{f.name: column(f.name) for f in fields(Descent)[:-2]})


def _free(u: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Parameters that may move: not those at a bound which the descent would leave."""
    return ~(((u <= low) & (gradient > 0)) | ((u >= high) & (gradient < 0)))


def _solve(M: Tensor, damping: float, gradient: Tensor, free: Tensor, unit: Tensor) -> Tensor:
    """−(M + λD)⁺ Jᵀr on the free parameters, D the squares of the units."""
    w, V, along = _spectral(M / unit.unsqueeze(-1) / unit.unsqueeze(-2), gradient / unit, free)
    along = _over(along, w + damping)
    return -(V @ along.unsqueeze(-1)).squeeze(-1) / unit * free


def _tangent(M: Tensor, gradient: Tensor, free: Tensor) -> Tensor:
    """Length of the residual's component that the free parameters span, √(rᵀJ M⁺ Jᵀr)."""
    w, _, along = _spectral(M, gradient, free)
    return _over(along.square(), w).sum(-1).clamp_min(0).sqrt()


def _spectral(M: Tensor, gradient: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues and vectors of M, and the gradient along these; what is of parameters that are not free is zero."""
    mask = free.to(M)
    w, V = torch.linalg.eigh(M * mask.unsqueeze(-1) * mask.unsqueeze(-2))
    return w, V, (V.mT @ (gradient * free).unsqueeze(-1)).squeeze(-1)


def _over(values: Tensor, w: Tensor) -> Tensor:
    """Values over eigenvalues; none where these are taken as zero."""
    return torch.where(w > FLAT * w.amax(-1, keepdim=True), values / w, torch.zeros_like(values))
