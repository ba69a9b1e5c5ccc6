"""Synthesisers by name, ours and others'; one from elsewhere is tried before hours are spent on it."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pnpkit._checks import require_whole
from pnpkit._names import load_object, require_known
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.dataset import arpeggio_grid, drum_grid, parameter_grid
from pnpkit.jtfs import JTFS
from pnpkit.metric import load_forward_mode
from pnpkit.synth import Arpeggio, ParameterSpace, RectangularDrum, Synthesiser
from pnpkit.synth.parameters import gain_gradient

GROUP = "pnpkit.systems"  # of entry points
PLACES = 3  # θ at which a synthesiser is tried
RESOLUTION = 1e-4  # of a sound's peak: what is smaller differs between machines


@dataclass(frozen=True)
class System:
    """A synthesiser that has a data set, and something that listens to it.

    Args:
        variants: of the synthesiser, by name, the headline first; their gain's gradient is detached, as
            :func:`pnpkit.experiment.precompute.metrics.metrics_of` gives both kinds of metric from there.
        grid: the data set, from the number of steps an axis; by default that of :func:`parameter_grid`.
        jtfs: the scattering operator, from the number of samples.
    """

    variants: Mapping[str, Synthesiser]
    grid: Callable[[int], pd.DataFrame] | None = None
    jtfs: Callable[[int], JTFS] = JTFS.reference

    def table(self, n_steps: int) -> pd.DataFrame:
        """The data set: ``id``, parameters, ``fold``."""
        space = next(iter(self.variants.values())).parameters
        return parameter_grid(space, n_steps) if self.grid is None else self.grid(n_steps)


SYSTEMS = {
    "arpeggio": System({"code": Arpeggio("code"), "paper": Arpeggio("paper")}, arpeggio_grid),
    "drum": System(
        {"all": RectangularDrum(detach_gain=True), "diagonal": RectangularDrum(diagonal=True, detach_gain=True)},
        drum_grid,
    ),
}


@cache
def get_system(name: str) -> System:
    """A synthesiser and its data set: one of ours, an entry point ``pnpkit.systems``, or ``module:attribute``.

    What is named is a synthesiser, a :class:`System`, or what gives one of them when called without arguments.

    Raises:
        ValueError: if there is none of that name, or it is no synthesiser; says which, or lists the valid names.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if ":" in name:
        return _recognised(name, load_object("synthesiser", name))
    others = {point.name: point.value for point in entry_points(group=GROUP)}
    require_known("synthesiser", name, [*SYSTEMS, *others, "module:attribute"])
    return _recognised(name, load_object("synthesiser", others[name]))


def called(grid: GridConfig, between: str) -> str:
    """The name of a synthesiser, with that of its variant where this is not the first."""
    first = grid.variant == next(iter(get_system(grid.synth).variants))
    return grid.synth if first else grid.synth + between + grid.variant


def _recognised(name: str, found: Any) -> System:
    """The system that an object is, or makes, or is the synthesiser of."""
    if isinstance(found, type) or (callable(found) and not hasattr(found, "parameters")):
        try:
            found = found()
        except TypeError as error:
            raise ValueError(f"{name} has no parameters, and gives no synthesiser when called: {error}") from error
    for g in (variants := getattr(found, "variants", {GridConfig.variant: found})).values():
        for part in ("parameters", "sample_rate", "n_samples"):
            if not hasattr(g, part):
                raise ValueError(f"{name} has no {part}: a synthesiser has parameters, sample_rate and n_samples")
        if not callable(g) or not isinstance(g.parameters, ParameterSpace):
            raise ValueError(f"{name} is no synthesiser: it must be callable, and its parameters a ParameterSpace")
        for part in ("sample_rate", "n_samples"):
            require_whole(f"{part} of {name}", getattr(g, part), 1)
    if not hasattr(found, "variants"):
        return System(variants)
    return System(variants, getattr(found, "grid", None), getattr(found, "jtfs", JTFS.reference))


def fingerprint(name: str, g: Synthesiser, phi_name: str = "", silent: bool = False) -> str:
    """What tells the code of a synthesiser from a later one: hash of its sounds at three θ and of their derivatives.

    Warns of a derivative that is lost, and of random numbers: metrics of such a synthesiser are not what they seem.

    Args:
        name: for messages.
        g: the synthesiser.
        phi_name: of the Φ that its artefacts depend on too.
        silent: whether not to warn.

    Raises:
        ValueError: if g fails, cannot be differentiated, or returns another shape than it should or no finite numbers.
    """
    space, d = g.parameters, len(g.parameters)
    golden = torch.arange(1.0, PLACES + 1).outer(torch.arange(1.0, d + 1)).double() * 0.6180339887498949 % 1
    theta = space.decode(1.8 * golden - 0.9, "logminmax")
    with torch.random.fork_rng(devices=[]):
        sounds, again, slopes = _tried(name, g, theta)
    gains = gain_gradient(g, theta).abs().sum(0)
    lost = [p.name for p, s, gain in zip(space.parameters, slopes, gains, strict=True) if not s.any() and not gain]
    if lost and not silent:
        warnings.warn(
            f"{name} loses the derivative with respect to {', '.join(lost)}: a whole column of the Jacobian is zero",
            stacklevel=2,  # one line of code, so that it is told once
        )
    if not torch.equal(again, sounds) and not silent:
        where = ", ".join(f"{p.name} = {v:.4g}" for p, v in zip(space.parameters, theta[0].tolist(), strict=True))
        warnings.warn(f"{name} draws random numbers: two sounds of {where} differ", stacklevel=2)
    text = hashlib.sha256(repr((space, g.sample_rate, phi_name)).encode())
    for row in torch.cat([sounds.unsqueeze(0), slopes]).detach().flatten(0, 1):
        peak = row.abs().max().clamp_min(torch.finfo(row.dtype).tiny)
        text.update(f"{float(peak):.3e}".encode() + (row / peak / RESOLUTION).round().to(torch.int16).numpy().tobytes())
    return text.hexdigest()[:12]


def _tried(name: str, g: Synthesiser, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sounds of three θ, the same again unseeded, and their derivatives along the range of each parameter."""
    d, n, doing = theta.shape[-1], g.n_samples, "fails"
    directions = torch.eye(d, dtype=theta.dtype) * (g.parameters.high - g.parameters.low)
    try:
        one, sounds = (_seeded(g, th) for th in (theta[0], theta))
        if one.shape != (n,) or sounds.shape != (PLACES, n):
            doing, wanted = "returns the wrong shape", f"({PLACES}, {d}) must give ({PLACES}, {n}), and ({d},) ({n},)"
            raise ValueError(f"theta of shape {wanted}, not {tuple(sounds.shape)} and {tuple(one.shape)}")
        doing = "cannot be differentiated"
        load_forward_mode()
        along = (partial(torch.func.jvp, g, (theta,), (v.expand_as(theta),)) for v in directions)
        slopes = torch.stack([_seeded(slope)[1] for slope in along])
        if not bool(torch.isfinite(sounds).all() & torch.isfinite(slopes).all()):
            doing = "gives sounds, or derivatives, that are not finite"
            raise ValueError(f"theta = {theta.tolist()}")
        return sounds, g(theta), slopes
    except Exception as error:  # whatever the code of others may raise
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if "storage" in reason:  # torch's word for a number that is asked for while it is being differentiated
            reason += "; does it leave torch, for numpy, float() or item()?"
        raise ValueError(f"{name} {doing}: {reason}") from error


def _seeded(call: Callable[..., Any], *arguments: Any) -> Any:
    torch.manual_seed(0)
    return call(*arguments)
