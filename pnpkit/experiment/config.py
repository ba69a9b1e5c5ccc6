"""What a run, a grid and a profile are: frozen dataclasses, whose hash keys what is made from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pnpkit._names import require_known
from pnpkit.experiment.artefacts import added

LOSS_LABELS: dict[str, str] = {
    "p": "P",
    "sigma-p": "P over σ²",
    "weighted-p": "weighted P",
    "mean-metric": "M̄ alone",
    "sp": "SP",
    "sp-linear": "SP, linearised",
    "mss": "MSS (DDSP)",
    "pnp": "PNP",
    "pnp-identity": "PNP + λI",
    "pnp-mean": "PNP + λM̄",
    "pnp-permuted": "PNP + λM̄, permuted",
    "pnp-adaptive": "PNP + λI, adaptive",
}


SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class GridConfig:
    """Which sounds: a synthesiser and the grid of its data set."""

    synth: str = "arpeggio"  # a name, or module:attribute of a synthesiser elsewhere; see pnpkit.experiment.systems
    variant: str = "code"  # of the synthesiser; see pnpkit.synth
    n_steps: int = 30  # cells along each axis of θ
    fingerprint: str = added("")  # of a synthesiser elsewhere: its sounds when the artefacts were made; filled in


@dataclass(frozen=True)
class ScalogramConfig:
    """The network's input: a constant-Q scalogram, log1p-compressed."""

    octaves: int = 6  # the paper says 10, which cannot run at this length: 32.7 Hz · 2^10 is above Nyquist
    bins_per_octave: int = 12
    f_min: float = 32.7  # Hz
    hop: int = 256  # samples
    eps: float = 1e-3  # log1p(x/eps)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: every field that changes the result is here, and a folder holds runs of one configuration.

    Where the network or the loss are objects of the caller's own, ``head`` and ``loss`` are names for them.
    """

    grid: GridConfig
    loss: str  # one of LOSS_LABELS
    seed: int = 0
    epochs: int = 70
    batch_size: int = 256
    learning_rate: float = 1e-3  # Adam; see schedule
    coordinates: str = "raw"  # of prediction and target; see ParameterSpace
    head: str = "leaky_relu"  # leaky_relu (paper) | softplus | tanh (normalised coordinates) | linear
    gain: str = "detached"  # whether M, and SP's gradient, differentiate the synthesiser's gain: detached | attached
    lam: float = 1.0  # λ of the damped losses, the first λ of the adaptive one; ignored by the others
    jitter: float = 1e-8  # λ of the identity added to every undamped metric, as the authors did
    bias_at_mean: bool = False  # start the head's bias at the mean target: a labelled remedy, not the protocol
    features: ScalogramConfig = ScalogramConfig()
    schedule: str = added("constant")  # of the learning rate over the epochs: constant (paper) | cosine, towards zero
    unit_trace: bool = added(False)  # scale each metric to mean eigenvalue 1, so that no item outweighs another
    start_from: str = added("")  # a loss: begin with the last weights of its run of the same seed; "" draws them

    def rate(self, epoch: int) -> float:
        """Learning rate in the epoch after so many: constant, or half a period of a cosine, towards zero.

        >>> config = TrainingConfig(GridConfig(), "p", epochs=4, schedule="cosine")
        >>> [round(1000 * config.rate(epoch), 3) for epoch in range(4)]
        [1.0, 0.854, 0.5, 0.146]
        """
        share = 1.0 if self.schedule == "constant" else (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.learning_rate * share


# GRETSI 2023, section 4, field by field: what a run must be for a verdict to take the paper's spread for its own
PAPER_PROTOCOL = TrainingConfig(
    grid=GridConfig(synth="arpeggio", variant="code", n_steps=30),
    loss="p",  # or any other
    seed=0,  # or any other
    epochs=70,
    batch_size=256,
    learning_rate=1e-3,
    coordinates="raw",
    head="leaky_relu",
    gain="detached",
    lam=1.0,
    jitter=1e-8,
    bias_at_mean=False,
    features=ScalogramConfig(octaves=6, bins_per_octave=12, f_min=32.7, hop=256, eps=1e-3),
    schedule="constant",
    unit_trace=False,
    start_from="",
)


@dataclass(frozen=True)
class Profile:
    """A whole recipe: data set, losses, seeds, protocol.

    A profile may share with another of the same grid. One rule says what: all that the two have in common is in the
    other's folder: metrics, inputs, references, each run of equal configuration, and each loss that only it lists.
    """

    name: str
    grid: GridConfig
    training: TrainingConfig  # the protocol; loss and seed are filled in by runs()
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    description: str
    metric_chunk: int = 100  # metrics a task and a chunk of the store
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)  # by loss, fields that differ
    shares: str = ""  # the profile that it shares with

    def __post_init__(self) -> None:
        for name, values in (("losses", self.losses), ("seeds", self.seeds)):
            if not isinstance(values, (tuple, list)):
                raise ValueError(f"{name} of profile {self.name!r} must be a tuple, as ({values!r},), not {values!r}")
            if not values:
                raise ValueError(f"profile {self.name!r} has no {name}: it would have nothing to do")
        if self.name in ("", ".", "..") or "/" in self.name:
            raise ValueError(f"the name of a profile is that of its folder, without a slash, not {self.name!r}")
        for loss in self.overrides:
            require_known("loss in overrides", loss, LOSS_LABELS)
        if not self.shares and any(of.get("start_from") for of in (vars(self.training), *self.overrides.values())):
            raise ValueError(f"profile {self.name!r} has start_from: the run that it starts from is one of `shares`")

    def run(self, loss: str, seed: int) -> TrainingConfig:
        """Configuration of one run of this profile.

        Raises:
            ValueError: if the loss is unknown.
        """
        require_known("loss", loss, LOSS_LABELS)
        return replace(self.training, loss=loss, seed=seed, **self.overrides.get(loss, {}))

    def runs(self) -> tuple[TrainingConfig, ...]:
        """All runs, seed by seed, so that an interrupted profile has every loss before a second seed."""
        return tuple(self.run(loss, seed) for seed in self.seeds for loss in self.losses)
