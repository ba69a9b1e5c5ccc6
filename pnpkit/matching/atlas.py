"""Where to start: Φ of many sounds of a synthesiser, compressed, and the nearest of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from pnpkit.synth import Synthesiser

SCHEMA = 1


@dataclass(frozen=True)
class Atlas:
    r"""Φ of a set of sounds in principal components, level normalised, with θ beside.

    S is homogeneous of degree one, S(ax) = aS(x), Φ = log(1 + S/ε) is not. So every sound is brought to one energy
    before Φ is taken, :math:`x \mapsto r\,x/\|x\|_2`, with r the geometric mean of the set's own norms; the norm itself
    is kept beside, for sounds whose level is known.

    Args:
        theta: of each sound, raw units, float32.
        scores: components of Φ − mean, float16.
        left: squared length of Φ − mean that the components leave, float16.
        log_norm: log ‖x‖₂ of each sound as synthesised, float32.
        mean, basis: of Φ, float32; float16, rows orthonormal.
        reference: r.
        fingerprint: sounds of the synthesiser at three fixed θ, thinned, float32.
        name: the synthesiser's, for messages.
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
        phi: Callable[[Tensor], Tensor],
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
            components: how many are kept.
            subset: sounds from which they are computed, in memory at once.
            chunk: sounds a task.
            mapped: calls a picklable function on each of a sequence, in order: ``map``, or an executor's ``map``.
        """
        raise NotImplementedError

    def check(self, g: Synthesiser) -> None:
        """Raise ``ValueError`` unless the synthesiser makes the sounds that this atlas was made of."""
        raise NotImplementedError

    def normalise(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """x at the level of the atlas, r x/‖x‖₂: what Φ is taken of before :meth:`nearest`."""
        raise NotImplementedError

    def nearest(
        self, phi: Float[Tensor, "*batch k"], n: int = 1, log_norm: Float[Tensor, "*batch"] | None = None
    ) -> tuple[Int[Tensor, "*batch n"], Float[Tensor, "*batch n"]]:
        """Rows of the n nearest sounds, nearest first, and their distances in Φ.

        Args:
            phi: Φ of the sound, normalised by :meth:`normalise`.
            n: how many.
            log_norm: log ‖x‖₂ before that, if the level is known: a difference then counts as Φ hears a level.
        """
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write it as one file of arrays (``.npz``, compressed, no pickle)."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "Atlas":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if the file is no atlas, or one of another version.
        """
        raise NotImplementedError
