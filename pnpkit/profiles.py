"""Every number of a run, in one place: what is computed at the scales ``smoke``, ``laptop`` and ``paper``."""

from dataclasses import dataclass, replace
from typing import Literal

Loss = Literal["p", "weighted-p", "sp", "pnp", "pnp-identity", "pnp-mean"]

LOSS_LABELS: dict[str, str] = {
    "p": "P",
    "weighted-p": "weighted P",
    "sp": "SP",
    "pnp": "PNP",
    "pnp-identity": "PNP + λI",
    "pnp-mean": "PNP + λM̄",
}


@dataclass(frozen=True)
class GridConfig:
    """Which sounds: a synthesiser and the grid of its data set."""

    synth: str = "arpeggio"
    variant: str = "code"  # of the synthesiser; see pnpkit.synth
    n_steps: int = 30  # cells along each axis of θ


@dataclass(frozen=True)
class FeatureConfig:
    """The network's input: a constant-Q scalogram, log1p-compressed."""

    octaves: int = 6  # the paper says 10, which cannot run at this length: 32.7 Hz · 2^10 is above Nyquist
    bins_per_octave: int = 12
    f_min: float = 32.7  # Hz
    hop: int = 256  # samples
    eps: float = 1e-3  # log1p(x/eps)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run. Its hash keys the run's folder, so every field that changes the result is here."""

    grid: GridConfig
    loss: str  # one of LOSS_LABELS
    seed: int = 0
    epochs: int = 70
    batch_size: int = 256
    learning_rate: float = 1e-3  # Adam, constant
    coordinates: str = "raw"  # of prediction and target; see ParameterSpace
    head: str = "leaky_relu"  # leaky_relu (paper) | tanh (normalised coordinates) | linear
    gain: str = "detached"  # whether M differentiates the synthesiser's gain: detached | attached
    lam: float = 1.0  # λ of the damped losses; ignored by the others
    jitter: float = 1e-8  # λ of the identity added to every undamped metric, as the authors did
    bias_at_mean: bool = False  # start the head's bias at the mean target: a labelled remedy, not the protocol
    features: FeatureConfig = FeatureConfig()


@dataclass(frozen=True)
class Profile:
    """A whole recipe: data set, losses, seeds, protocol."""

    name: str
    grid: GridConfig
    training: TrainingConfig  # the protocol; loss and seed are filled in by runs()
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    description: str
    metric_chunk: int = 100  # metrics a task and a chunk of the store
    other_epochs: tuple[tuple[str, int], ...] = ()  # losses that train for another number of epochs

    def run(self, loss: str, seed: int) -> TrainingConfig:
        """Configuration of one run of this profile.

        Raises:
            ValueError: if the loss is unknown.
        """
        if loss not in LOSS_LABELS:
            raise ValueError(f"unknown loss {loss!r}; valid losses: {', '.join(LOSS_LABELS)}")
        return replace(
            self.training, loss=loss, seed=seed, epochs=dict(self.other_epochs).get(loss, self.training.epochs)
        )

    def runs(self) -> tuple[TrainingConfig, ...]:
        """All runs, seed by seed, so that an interrupted profile has every loss before a second seed."""
        return tuple(self.run(loss, seed) for seed in self.seeds for loss in self.losses)


def _protocol(n_steps: int, epochs: int, batch_size: int, coordinates: str, head: str) -> TrainingConfig:
    grid = GridConfig(n_steps=n_steps)
    return TrainingConfig(grid, "p", 0, epochs, batch_size, coordinates=coordinates, head=head)


_THREE = ("p", "pnp", "pnp-mean")  # the rows of Table 1 that the authors filled
_SMOKE = _protocol(6, 4, 16, "logminmax", "linear")
_LAPTOP = _protocol(14, 20, 32, "logminmax", "linear")
_PAPER = _protocol(30, 70, 256, "raw", "leaky_relu")

PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("smoke", _SMOKE.grid, _SMOKE, _THREE, (0,), "every part real, minutes, no claim", metric_chunk=27),
        Profile("laptop", _LAPTOP.grid, _LAPTOP, _THREE, (0, 1), "normalised coordinates, small grid"),
        Profile(
            "study", _LAPTOP.grid, _LAPTOP, tuple(LOSS_LABELS), (0, 1, 2, 3, 4),
            "the laptop's recipe with every loss and five seeds; a step of SP costs ten of the others",
            other_epochs=(("sp", 2),),
        ),
        Profile("paper", _PAPER.grid, _PAPER, _THREE, (0,), "the headline protocol of the paper"),
    )
}  # fmt: skip


def get_profile(name: str) -> Profile:
    """A profile by name.

    Raises:
        ValueError: if there is none of that name; the message lists the valid ones.

    >>> get_profile("paper").grid.n_steps
    30
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; valid profiles: {', '.join(PROFILES)}")
    return PROFILES[name]
