"""Where to start: Φ of many sounds of a synthesiser, compressed, and the nearest of them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pnpkit._checks import require_finite
from pnpkit.matching.stored import read_arrays, write_arrays
from pnpkit.metric import Function
from pnpkit.synth import Synthesiser

THIN = 1024  # samples of a fingerprint's sound
SAME = 1e-4  # of its peak: machines round powers and sines differently


@dataclass(frozen=True, eq=False)
class Atlas:
    r"""Φ of a set of sounds in principal components, level normalised, with θ beside.

    S is homogeneous of degree one, S(ax) = aS(x), Φ = log(1 + S/ε) is not. So every sound is brought to one energy
    before Φ is taken, :math:`x \mapsto r\,x/\|x\|_2`, with r the geometric mean of the norms as synthesised; the norm
    itself is kept beside, for sounds whose level is known.

    Args:
        theta: of each sound, raw units, float32.
        scores: components of Φ − mean, float16.
        left: squared length of Φ − mean that the components leave, float16.
        log_norm: log ‖x‖₂ of each sound as synthesised, float32.
        mean, basis: of Φ, float32; float16, rows orthonormal up to rounding.
        reference: r.
        fingerprint: sounds of the synthesiser at three fixed θ, thinned, float32.
        name: the synthesiser's, for messages.

    >>> from pnpkit import JTFS, Phi, RectangularDrum
    >>> g, phi = RectangularDrum(n_samples=4096), Phi(JTFS(6, 4, J_fr=3, T=1024, n_samples=4096))
    >>> theta = g.parameters.decode(torch.linspace(-1, 1, 9).unsqueeze(-1).expand(-1, 5), "logminmax")
    >>> atlas = Atlas.build(g, phi, theta)
    >>> atlas.nearest(phi(atlas.normalise(g(theta[3]))))[0]
    tensor([3])
    """

    theta: Float[Tensor, "sounds d"]
    scores: Float[Tensor, "sounds components"]
    left: Float[Tensor, " sounds"]
    log_norm: Float[Tensor, " sounds"]
    mean: Float[Tensor, " k"]
    basis: Float[Tensor, "components k"]
    reference: float
    fingerprint: Float[Tensor, "three m"]
    name: str

    @classmethod
    def build(
        cls,
        g: Synthesiser,
        phi: Function,
        theta: Float[Tensor, "sounds d"],
        *,
        components: int = 96,
        subset: int = 2048,
        chunk: int = 64,
        mapped: Callable[..., Iterable[Any]] = map,
    ) -> "Atlas":
        """Φ of all sounds, a chunk at a time; principal components from a subset spread evenly over them.

        Args:
            g: synthesiser.
            phi: descriptor.
            theta: of the sounds, raw units.
            components: how many are kept; fewer if the subset has fewer.
            subset: sounds from which they are computed: their Φ are in memory at once.
            chunk: sounds a task.
            mapped: calls a picklable function on each of a sequence, in order: ``map``, or an executor's ``map``.

        Raises:
            ValueError: if there is no sound, or one is silent, or another at a second time, or Φ is so large that
                float16 does not hold it.
        """
        if theta.ndim != 2 or not len(theta):
            raise ValueError(f"an atlas needs at least one sound, θ of shape (sounds, d), not {tuple(theta.shape)}")
        if not torch.equal((own := fingerprint(g)).nan_to_num(), fingerprint(g).nan_to_num()):
            raise ValueError(f"{type(g).__name__} draws random numbers: what its next sound is, no atlas can say")
        theta = theta.double()
        some = theta[torch.linspace(0, len(theta) - 1, min(subset, len(theta))).round().long()]
        with torch.no_grad():
            norms = torch.cat([g(part).double().norm(dim=-1) for part in some.split(chunk)])
        of_all = g, phi, float(norms.log().mean().exp())
        task = partial(heard, *of_all, None)
        values, log_norm = (torch.cat(c) for c in zip(*mapped(task, some.split(chunk)), strict=True))
        mean, basis = principal_components(values, components)
        scores, left = _project(values, mean, basis)
        if len(some) < len(theta):
            task = partial(heard, *of_all, (mean, basis))
            scores, left, log_norm = (torch.cat(c) for c in zip(*mapped(task, theta.split(chunk)), strict=True))
        made = (scores.half(), left.half(), log_norm, mean, basis.half(), of_all[-1])
        require_finite("Φ as an atlas keeps it, in float16,", torch.cat([made[0], made[1].unsqueeze(-1)], -1))
        return cls(theta.float(), *made, own, type(g).__name__)

    def check(self, g: Synthesiser) -> None:
        """Raise ``ValueError`` unless the synthesiser makes the sounds that this atlas was made of."""
        require_made_by(g, self.fingerprint, self.name, "the atlas")

    def normalise(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """x at the level of the atlas, r x/‖x‖₂: what Φ is taken of before :meth:`nearest`."""
        return normalised(x, self.reference)[0]

    def nearest(
        self, phi: Float[Tensor, "*batch k"], n: int = 1, log_norm: Float[Tensor, "*batch"] | None = None
    ) -> tuple[Int[Tensor, "*batch n"], Float[Tensor, "*batch n"]]:
        r"""Rows of the n nearest sounds, nearest first, and their distances in Φ.

        Of what the components leave only the length is known: it counts by its difference. A level, if known, counts
        as Φ hears it: :math:`\partial\Phi/\partial\log a = 1 - e^{-\Phi}`.

        Args:
            phi: Φ of the sound, normalised by :meth:`normalise`.
            n: how many.
            log_norm: log ‖x‖₂ before that, if the level is known.

        Raises:
            ValueError: if Φ has another number of coefficients than the atlas, or it has fewer sounds than n.
        """
        if phi.shape[-1] != len(self.mean):
            raise ValueError(f"the atlas is of {len(self.mean)} coefficients, Φ of the sound has {phi.shape[-1]}")
        if not 1 <= n <= len(self.theta):
            raise ValueError(f"n must be from 1 to {len(self.theta)}, not {n}")
        theirs, basis, rest = self._ready
        phi = phi.to(self.mean)
        scores, left = _project(phi, self.mean, basis)
        squares = (scores.unsqueeze(-2) - theirs).square().sum(-1) if scores.ndim == 1 else _pairs(scores, theirs)
        squares = squares + (left.sqrt().unsqueeze(-1) - rest).square()
        if log_norm is not None:
            weight = torch.expm1(-phi).square().sum(-1, keepdim=True)
            squares = squares + weight * (log_norm.to(phi).unsqueeze(-1) - self.log_norm).square()
        best, rows = squares.topk(n, largest=False)
        return rows, best.clamp_min(0).sqrt()

    @cached_property
    def _ready(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.scores.float(), self.basis.float(), self.left.float().sqrt()

    def save(self, path: Path | str) -> None:
        """Write it as one file of arrays (``.npz``, compressed, no pickle)."""
        write_arrays(path, "atlas", {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path | str) -> "Atlas":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if the file is no atlas, or one of another version.
        """
        return cls(**read_arrays(path, "atlas"))


def heard(
    g: Function, phi: Function, reference: float, onto: tuple[Tensor, Tensor] | None, theta: Float[Tensor, "sounds d"]
) -> tuple[Tensor, ...]:
    """Task: Φ of a few sounds at one level, or its components on a mean and a basis, and log norms as they were."""
    with torch.no_grad():  # one sound after the other: a dozen together would leave the cache
        sounds = [g(th) for th in theta]
        for th, x in zip(theta, sounds, strict=True):
            if not 0 < float(x.double().norm()) < math.inf:
                raise ValueError(f"{type(g).__name__} is silent or not finite at θ = {th.tolist()}: no atlas holds it")
        pairs = [normalised(x, reference) for x in sounds]
        values, log_norm = torch.stack([phi(x).float() for x, _ in pairs]), torch.stack([n for _, n in pairs])
    return *((values,) if onto is None else _project(values, *onto)), log_norm.float()


def normalised(x: Float[Tensor, "*batch n"], norm: float) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
    """x brought to one norm, and the logarithm of the norm it had; ``ValueError`` if it is silent."""
    own = x.double().norm(dim=-1)
    if not bool((own > 0).all()):
        raise ValueError("the sound is silent: there is nothing to match")
    return x * (norm / own).to(x.dtype).unsqueeze(-1), own.log()


def principal_components(
    values: Float[Tensor, "sounds k"], components: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "components k"]]:
    """Mean and leading principal directions, from the Gram matrix of the sounds; rounded as an atlas keeps them."""
    mean = values.mean(0)
    centred = values - mean
    w, V = torch.linalg.eigh((centred @ centred.mT).double())
    kept = w > 1e-10 * w[-1].clamp_min(1e-30)
    w, V = w[kept].flip(0)[:components], V[:, kept].flip(1)[:, :components]
    basis = (V / w.sqrt()).float().mT @ centred
    return mean, basis.half().float()


def fingerprint(g: Synthesiser) -> Float[Tensor, "three m"]:
    """Sounds at a quarter, at half and at three quarters of the ranges, about a thousand samples each."""
    u = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64).unsqueeze(-1).expand(-1, len(g.parameters))
    with torch.no_grad():
        return g(g.parameters.decode(u, "logminmax"))[:, :: max(1, g.n_samples // THIN)].float()


def require_made_by(g: Synthesiser, theirs: Float[Tensor, "three m"], name: str, what: str) -> None:
    """Raise ``ValueError`` unless a synthesiser has the fingerprint of the one that something was made with."""
    own = fingerprint(g)
    if own.shape != theirs.shape or not ((own - theirs).abs().amax(-1) <= SAME * theirs.abs().amax(-1)).all():
        raise ValueError(
            f"{what} is of another synthesiser: of a {name} whose sounds are not those of this {type(g).__name__}"
        )


def _project(values: Tensor, mean: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Components, and the squared length that they leave."""
    centred = values - mean
    scores = centred @ basis.mT
    return scores, (centred.square().sum(-1) - scores.square().sum(-1)).clamp_min(0)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of all pairs, without their differences in memory."""
    return a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.mT
