"""The answer to one sound: its parameters, what they are worth, and in which words one says so."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.atlas import require_made_by
from pnpkit.matching.region import Region
from pnpkit.matching.stored import read_arrays, write_arrays
from pnpkit.synth import Parameter, ParameterSpace, Synthesiser

MADE, NEAR, NOT = VERDICTS = ("made by it", "near it", "not made by it")
OPTIONAL = {"region", "rival"}  # of a match, in a file
REGION = ("centre", "covariance", "radius", "coordinates")  # of the region, in a file
MARGIN = 2.0  # times the usual distance: made by it
# Share of ‖Φ(x)‖ that must be explained: near it. Set on six recordings (the study "recordings"), and thin: of a drum,
# two toms leave it at 0.83 and 0.85, a tone of one strong partial at 0.79.
NEARNESS = 0.8


@dataclass(frozen=True, eq=False)
class Match:
    """The answer to one sound.

    Args:
        theta: θ̃, raw units, in the order of the synthesiser's parameters.
        level: dB by which x is louder than g(θ̃); 0 where it was known.
        delay: seconds by which x is late; 0 where it was known. Φ averages over all of a sound and hardly tells it: for
            its place to a millisecond let the waveform finish.
        region: 95 % of θ, level and delay profiled out; None if the last descent in Φ did not converge, or ended so
            far from x (:data:`NEARNESS`) that no linear picture tells, unless the waveform gave one. It is of the
            valley that the answer lies in: Φ may have others, and in one of them a clean sound leaves more than
            rounding would, if less than usual.
        distance: ‖Φ(x̃) − Φ(x)‖, as heard in the noise, of this very answer, whatever it was fitted to last.
        usual: the distance that an in-model sound in that noise would leave.
        norm: ‖Φ(x)‖, as heard in the noise.
        rival: another answer of nearly equal distance, raw units, or None; ``rival_distance`` is its distance. Looked
            for among the starts that were tried, and the first that leaves nothing but noise is the last: of a sound
            that is *made by it* there hardly ever is one.
        resynthesis: x̃, at the level and the delay of x, as long as g's sounds.
        noise: standard deviation of the noise assumed, in units of x; 0 for none.
        converged: whether the descent ended by its own criterion. One that did not is never said to be *made by it*.
        finish: ``"phi"`` or ``"waveform"``: what the answer was last fitted to.
        explained: share of the energy of x, noise taken off, that x̃ has in common with it, phase free.
        jacobians: how many the history has, over all starts.
        seconds: it took.
        history: a row a step in Φ: ``start`` (−1 the last polish of the best, whose distances are in units of the
            noise; −2 where what is left is rounding), ``step``, ``distance``, ``lam``, ``kept``, and the parameters.
        space: of θ.
        synth: what the command line calls the synthesiser; "" if a caller of :func:`~pnpkit.matching.match` gave it.
        fingerprint: its sounds at three fixed θ, thinned; None if nobody took them.
        begins: seconds into the recording at which x begins, below 0 where silence was put before it; 0 if x is all.

    >>> import torch
    >>> space = ParameterSpace((Parameter("f", "f", "Hz", 1.0, 9.0),))
    >>> sound = {"resynthesis": torch.zeros(8), "noise": 0.0, "level": 0.0, "delay": 0.0, "explained": torch.nan}
    >>> way = {"converged": True, "finish": "phi", "jacobians": 9, "seconds": 1.0, "history": pd.DataFrame()}
    >>> alone = {"region": None, "rival": None, "rival_distance": torch.nan}
    >>> found = Match(torch.tensor([2.0]), distance=88.0, usual=3.0, norm=200.0, space=space, **sound, **way, **alone)
    >>> found.sentence()
    'not made by it: 88 where 3 is usual'
    """

    theta: Float[Tensor, " d"]
    level: float
    delay: float
    region: Region | None
    distance: float
    usual: float
    norm: float
    rival: Float[Tensor, " d"] | None
    rival_distance: float
    resynthesis: Float[Tensor, " n"]
    noise: float
    converged: bool
    finish: str
    explained: float
    jacobians: int
    seconds: float
    history: pd.DataFrame
    space: ParameterSpace
    synth: str = ""
    fingerprint: Float[Tensor, "three m"] | None = None
    begins: float = 0.0

    @property
    def share(self) -> float:
        """Of ‖Φ(x)‖, explained by x̃: 1 − distance/‖Φ(x)‖."""
        return 1 - self.distance / self.norm

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        if self.converged and self.distance <= MARGIN * self.usual:
            return MADE
        return NEAR if self.share >= NEARNESS else NOT

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Names of the parameters at an end of their range: with a wider one the sound might be met better."""
        values = zip(self.space.parameters, self.theta.tolist(), strict=True)
        return tuple(p.name for p, value in values if p.at_bound(value))

    def sentence(self) -> str:
        """The verdict in one line, such as ``not made by it: 88 where 3 is usual``."""
        numbers = f"{self.distance:.3g} where {self.usual:.3g} is usual"
        if self.verdict == NEAR:
            numbers = f"{100 * self.share:.0f} % of Φ explained, {numbers}"
        return f"{self.verdict}: {numbers}" + ("" if self.converged else " (did not converge)")

    def check(self, g: Synthesiser) -> None:
        """Raise ``ValueError`` unless a synthesiser makes the sounds of the one that was matched with."""
        if self.space != g.parameters:
            theirs, ours = (", ".join(space.names) for space in (self.space, g.parameters))
            raise ValueError(f"the match is of another synthesiser: of {theirs}, not of {ours}, or of other ranges")
        if self.fingerprint is not None:
            require_made_by(g, self.fingerprint, self.synth or "synthesiser", "the match")

    def save(self, path: Path | str) -> None:
        """Write it as one file of arrays (``.npz``, no pickle)."""
        values = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        values["history"] = json.dumps(self.history.to_dict("split"))
        values["space"] = json.dumps([vars(p) for p in self.space.parameters])
        if (region := values.pop("region", None)) is not None:
            values |= {name: getattr(region, name) for name in REGION}
        write_arrays(path, "match", values)

    @classmethod
    def load(cls, path: Path | str) -> "Match":
        """Read what :meth:`save` wrote; ``ValueError`` if it is something else."""
        values = read_arrays(path, "match")
        needed = {f.name for f in fields(cls) if f.default is MISSING} - OPTIONAL
        if missing := needed - values.keys():
            raise ValueError(f"{path} is no match of pnpkit, or damaged: it lacks {', '.join(sorted(missing))}")
        space = ParameterSpace(tuple(Parameter(**p) for p in json.loads(values.pop("space"))))
        own = {name: values.pop(name) for name in REGION if name in values}
        region = Region(space=space, **own) if own else None
        table = json.loads(values.pop("history"))
        history = pd.DataFrame(table["data"], columns=table["columns"], index=table["index"])
        return cls(**{"rival": None, **values}, region=region, space=space, history=history)


def participation(residual: Float[Tensor, " k"], paths: pd.DataFrame | None) -> float:
    """How many paths share the energy of a residual, (Σe)²/Σe²; how many coefficients, where nobody says the paths."""
    blocks = residual.split(1 if paths is None else (paths.rows * paths.frames).tolist())
    energy = np.array([float(part.double().square().sum()) for part in blocks])
    return float(energy.sum() ** 2 / max((energy**2).sum(), 1e-300))
