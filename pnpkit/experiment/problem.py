"""A sound-matching problem: a synthesiser, its data set, and the descriptor that listens to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.dataset import arpeggio_grid, drum_grid
from pnpkit.jtfs import JTFS, log_compress
from pnpkit.synth import Arpeggio, ParameterSpace, RectangularDrum, Synthesiser


@dataclass(frozen=True)
class Problem:
    """What metrics, training and evaluation share. Data set and Φ are made when they are first asked for.

    Args:
        grid: which synthesiser and which data set.
        synth: g, its gain's gradient detached.
    """

    grid: GridConfig
    synth: Synthesiser

    @cached_property
    def table(self) -> pd.DataFrame:
        """The data set: ``id``, parameters, ``fold``; the row number is the id."""
        return get_system(self.grid.synth).grid(self.grid.n_steps)

    @cached_property
    def jtfs(self) -> JTFS:
        """S, the scattering operator for waveforms of the synthesiser's length."""
        return JTFS.reference(self.synth.n_samples)

    @property
    def space(self) -> ParameterSpace:
        """The parameters of the synthesiser."""
        return self.synth.parameters

    def phi(self, x: Tensor) -> Tensor:
        """Φ, the log-compressed scattering coefficients of a waveform."""
        return log_compress(self.jtfs(x))

    def features(self, theta: Tensor) -> Tensor:
        """Φ∘g, from raw θ."""
        return self.phi(self.synth(theta.double()))

    def with_gain(self, gain: str) -> "Problem":
        """The same sounds; whether derivatives follow the synthesiser's gain: ``"attached"``, or ``"detached"``."""
        synth: Any = self.synth
        return self if gain == "detached" else replace(self, synth=replace(synth, detach_gain=False))


@dataclass(frozen=True)
class System:
    """A synthesiser that has a data set.

    Args:
        variants: of the synthesiser, by name, the headline first; their gain's gradient is detached, as
            :func:`pnpkit.experiment.precompute.metrics.metrics_of` gives both kinds of metric from there.
        grid: the data set, from the number of steps an axis.
    """

    variants: dict[str, Synthesiser]
    grid: Callable[[int], pd.DataFrame]


SYSTEMS = {
    "arpeggio": System({"code": Arpeggio("code"), "paper": Arpeggio("paper")}, arpeggio_grid),
    "drum": System(
        {
            "all": RectangularDrum(detach_gain=True),
            "diagonal": RectangularDrum(diagonal=True, detach_gain=True),
        },
        drum_grid,
    ),
}


def get_system(name: str) -> System:
    """A synthesiser and its data set, by name.

    Raises:
        ValueError: if there is none of that name; lists the valid ones.
    """
    require_known("synthesiser", name, SYSTEMS)
    return SYSTEMS[name]


@cache
def get_problem(grid: GridConfig) -> Problem:
    """The problem of a configuration; made once a process.

    Raises:
        ValueError: if there is no such synthesiser, or no such variant of it; lists the valid ones.

    >>> get_problem(GridConfig("drum", "all", 5)).space.names
    ('omega', 'tau', 'p', 'D', 'alpha')
    """
    variants = get_system(grid.synth).variants
    require_known(f"variant of {grid.synth}", grid.variant, variants)
    return Problem(grid, variants[grid.variant])
