"""A sound-matching problem: a synthesiser, its data set, and the descriptor that listens to it."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.experiment.artefacts import ArtefactMismatch
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.systems import SYSTEMS, fingerprint, get_system
from pnpkit.jtfs import JTFS, Phi
from pnpkit.synth import ParameterSpace, Synthesiser
from pnpkit.synth.parameters import gain_gradient


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
        return get_system(self.grid.synth).table(self.grid.n_steps)

    @cached_property
    def jtfs(self) -> JTFS:
        """S, the scattering operator for waveforms of the synthesiser's length."""
        return get_system(self.grid.synth).jtfs(self.synth.n_samples)

    @cached_property
    def phi(self) -> Phi:
        """Φ, the log-compressed scattering coefficients of a waveform."""
        return Phi(self.jtfs)

    @property
    def phi_name(self) -> str:
        """Φ, as configurations name it."""
        reference = get_system(self.grid.synth).jtfs == JTFS.reference
        return f"{'JTFS.reference' if reference else self.jtfs.sizes}, log1p(S/1e-3)"

    @property
    def space(self) -> ParameterSpace:
        """The parameters of the synthesiser."""
        return self.synth.parameters

    def listen(self, theta: Tensor) -> Tensor:
        """Φ∘g, from raw θ."""
        return self.phi(self.synth(theta.double()))

    def with_gain(self, gain: str) -> "Problem":
        """The same sounds; whether derivatives follow the synthesiser's gain: ``"attached"``, or ``"detached"``.

        Raises:
            ValueError: if they should, and it has no field ``detach_gain`` by which that is asked for.
        """
        synth: Any = self.synth
        if gain == "detached":
            return self
        if not hasattr(synth, "detach_gain"):
            middle = self.space.decode(torch.zeros(len(self.space), dtype=torch.float64), "logminmax")
            if bool(gain_gradient(synth, middle).any()):
                raise ValueError(
                    f"{self.grid.synth} leaves its gain out of its derivatives: a match, and losses of sounds, need a "
                    "field detach_gain that is False, or no log_gain_gradient"
                )
            return self
        return replace(self, synth=replace(synth, detach_gain=False))


@cache
def get_problem(grid: GridConfig) -> Problem:
    """The problem of a configuration, made once a process; of a synthesiser from elsewhere with its fingerprint.

    Raises:
        ArtefactMismatch: if the configuration has the fingerprint of other code than there is now.
        ValueError: if there is no such synthesiser, or no such variant of it, or it cannot be used; says why.

    >>> get_problem(GridConfig("drum", "all", 5)).space.names
    ('omega', 'tau', 'p', 'D', 'alpha')
    """
    system = get_system(grid.synth)
    require_known(f"variant of {grid.synth}", grid.variant, system.variants)
    synth = system.variants[grid.variant]
    if grid.synth in SYSTEMS:
        return Problem(grid, synth)
    found = fingerprint(grid.synth, synth, Problem(grid, synth).phi_name, silent=bool(grid.fingerprint))
    if grid.fingerprint not in ("", found):
        raise ArtefactMismatch(
            f"{grid.synth} does not sound as it did: its fingerprint is {found}, and {grid.fingerprint} in what was "
            "made with it. Make that again, or go back to the code of then."
        )
    return Problem(replace(grid, fingerprint=found), synth)
