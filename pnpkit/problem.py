"""A sound-matching problem: a synthesiser, its data set, and the descriptor that listens to it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pandas as pd
from torch import Tensor

from pnpkit.dataset import arpeggio_grid
from pnpkit.jtfs import JTFS, log_compress
from pnpkit.profiles import GridConfig
from pnpkit.synth import Arpeggio, ParameterSpace, Synthesiser

EPS = 1e-3  # of Eq (9)


@dataclass(frozen=True)
class Problem:
    """What metrics, training and evaluation share. Everything is derived from a :class:`GridConfig`.

    Args:
        grid: which synthesiser and which data set.
        synth: g, its gain's gradient detached.
        table: ``id``, parameters, ``fold``; the row number is the id.
        jtfs: S.
    """

    grid: GridConfig
    synth: Synthesiser
    table: pd.DataFrame
    jtfs: JTFS

    @property
    def space(self) -> ParameterSpace:
        """The parameters of the synthesiser."""
        return self.synth.parameters

    def phi(self, x: Tensor) -> Tensor:
        """Φ, the log-compressed scattering coefficients of a waveform."""
        return log_compress(self.jtfs(x), EPS)

    def features(self, theta: Tensor) -> Tensor:
        """Φ∘g, from raw θ."""
        return self.phi(self.synth(theta.double()))


_GRIDS: dict[str, Callable[[int], pd.DataFrame]] = {"arpeggio": arpeggio_grid}


@cache
def get_problem(grid: GridConfig) -> Problem:
    """The problem of a configuration; made once a process.

    Raises:
        ValueError: if the synthesiser is unknown.
    """
    if grid.synth not in _GRIDS:
        raise ValueError(f"unknown synthesiser {grid.synth!r}; valid ones: {', '.join(_GRIDS)}")
    synth: Synthesiser = Arpeggio(variant=grid.variant)  # type: ignore[arg-type]
    return Problem(grid, synth, _GRIDS[grid.synth](grid.n_steps), JTFS.reference(synth.n_samples))
