"""Every number of a run, in one place: what each profile computes, from data set to seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pnpkit._names import require_known
from pnpkit.provenance import added

LOSS_LABELS: dict[str, str] = {
    "p": "P",
    "sigma-p": "P over σ²",
    "weighted-p": "weighted P",
    "mean-metric": "M̄ alone",
    "sp": "SP",
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
    learning_rate: float = 1e-3  # Adam; see schedule
    coordinates: str = "raw"  # of prediction and target; see ParameterSpace
    head: str = "leaky_relu"  # leaky_relu (paper) | tanh (normalised coordinates) | linear
    gain: str = "detached"  # whether M, and SP's gradient, differentiate the synthesiser's gain: detached | attached
    lam: float = 1.0  # λ of the damped losses, the first λ of the adaptive one; ignored by the others
    jitter: float = 1e-8  # λ of the identity added to every undamped metric, as the authors did
    bias_at_mean: bool = False  # start the head's bias at the mean target: a labelled remedy, not the protocol
    features: FeatureConfig = FeatureConfig()
    schedule: str = added("constant")  # of the learning rate over the epochs: constant (paper) | cosine, towards zero
    unit_trace: bool = added(False)  # scale each metric to mean eigenvalue 1, so that no item outweighs another
    start_from: str = added("")  # a loss: begin with the last weights of its run of the same seed; "" draws them


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
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)  # by loss, fields that differ
    shares: str = ""  # a profile of the same grid, whose metrics, inputs, and runs of equal configuration are used

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


def _protocol(n_steps: int, epochs: int, batch_size: int, coordinates: str, head: str) -> TrainingConfig:
    grid = GridConfig(n_steps=n_steps)
    return TrainingConfig(grid, "p", 0, epochs, batch_size, coordinates=coordinates, head=head)


_THREE = ("p", "pnp", "pnp-mean")  # the rows of Table 1 that the authors filled
_FOUR = ("p", "weighted-p", "pnp", "pnp-mean")  # with one constant matrix, which converts units and no more
_SIX = ("p", "weighted-p", "sp", "pnp", "pnp-identity", "pnp-mean")
_SMOKE = _protocol(6, 4, 16, "logminmax", "linear")
_LAPTOP = _protocol(14, 20, 32, "logminmax", "linear")
_DRUM = TrainingConfig(
    GridConfig("drum", "all", 5), "p", 0, 4, 16, coordinates="logminmax", head="linear", gain="attached",
    features=FeatureConfig(octaves=10, f_min=8.613),
)  # fmt: skip
_PAPER = _protocol(30, 70, 256, "raw", "leaky_relu")

# From the plain P-loss to PNP + λM̄ in steps of one idea each; data/paper-controls/plan.md says what they are to decide
_CONTROLS = ("p", "sigma-p", "weighted-p", "mean-metric", "pnp-permuted", "pnp-mean", "pnp")

# The laptop's recipe with something changed, by name: the chapter "Does it survive?" has a row for each
VARIANTS: dict[str, Profile] = {}
_OF_THE_METRIC = {"gain", "unit_trace", "lam"}  # what P does not see: the P of such a variant is that of its base
# Those whose first seed overturned the order of the losses, or nearly: one seed does not decide that
_SEVERAL_SEEDS = ("raw-bias", "unit-trace")


def _vary(name: str, description: str, base: str = "study", losses: tuple[str, ...] = _THREE, **changes: Any) -> None:
    """Add a variant of a recipe, whose metrics, inputs and, where P does not see the change, P-loss it shares."""
    training = replace(VARIANTS[base].training if base in VARIANTS else _LAPTOP, **changes)
    losses = tuple(loss for loss in losses if loss != "p" or not changes.keys() & _OF_THE_METRIC)
    seeds, shares = (0, 1, 2) if name in _SEVERAL_SEEDS else (0,), "" if "grid" in changes else base
    VARIANTS[name] = Profile(name, training.grid, training, losses, seeds, f"laptop, but {description}", shares=shares)


_vary("raw", "raw units, LeakyReLU", coordinates="raw", head="leaky_relu")
_vary("raw-bias", "raw units, bias at the train mean", "raw", _FOUR, bias_at_mean=True)
# 66 steps an epoch: 5 874 in all, where the paper's 70 epochs of 84 make 5 880
_vary("long", "as many steps as the paper's", epochs=89)
_vary("raw-long", "raw units, as many steps as the paper's", "raw", _FOUR, epochs=89)
_vary("log", "logarithms, not normalised", coordinates="log")
_vary("minmax", "normalised, no logarithms", coordinates="minmax")
_vary("tanh", "bounded output (tanh)", head="tanh")
_vary("unit-trace", "unit trace: each M over its mean eigenvalue", unit_trace=True)
_vary("attached", "gain differentiated in M", gain="attached")
_vary("literal", "the synthesiser as printed", grid=GridConfig("arpeggio", "paper", 14))
_vary("batch64", "batches of 64, half the steps", batch_size=64)
_vary("cosine", "cosine learning rate", schedule="cosine")
_vary("cosine-unit-trace", "cosine learning rate, unit trace", "cosine", unit_trace=True)
_vary("raw-bias-unit-trace", "raw units, bias at the train mean, unit trace", "raw-bias", unit_trace=True)
for _k in (-3, -2, -1, 1, 2, 3, 4, 5, 6):  # six decades for each damping; λ = 1 is the recipe itself
    _tried = {"pnp-mean": _k <= 3, "pnp-identity": _k >= 2}
    _vary(f"lambda{_k}", f"λ = {10.0**_k:,.10g}", losses=tuple(k for k, yes in _tried.items() if yes), lam=10.0**_k)

PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("smoke", _SMOKE.grid, _SMOKE, _THREE, (0,), "every part real, minutes, no claim", metric_chunk=27),
        Profile("laptop", _LAPTOP.grid, _LAPTOP, _THREE, (0, 1), "normalised coordinates, small grid"),
        Profile(
            "study", _LAPTOP.grid, _LAPTOP, _SIX, (0, 1, 2, 3, 4),
            "the laptop's recipe with every loss and five seeds; a step of SP costs ten of the others",
            overrides={"sp": {"epochs": 2, "gain": "attached"}}, shares="laptop",
        ),
        Profile(
            "spectral", _LAPTOP.grid, replace(_LAPTOP, gain="attached"), ("sp",), (2,),
            "the laptop's recipe to its end with SP", shares="laptop",  # the study's first seed that has probes
        ),
        Profile(
            "finetune", _LAPTOP.grid, replace(_LAPTOP, learning_rate=1e-4), ("sp", "pnp"), (0, 1),
            "from the laptop's PNP networks on, a tenth as fast and for the same time: an epoch of SP, or ten of PNP",
            shares="laptop",
            overrides={
                "sp": {"start_from": "pnp", "epochs": 1, "gain": "attached"},
                "pnp": {"start_from": "pnp", "epochs": 10},
            },
        ),
        Profile(
            "finetune-detached", _LAPTOP.grid,
            replace(_LAPTOP, learning_rate=1e-4, start_from="pnp", epochs=1), ("sp",), (0,),
            "the same with SP as the authors' synthesiser would differentiate it, its gain held fixed", shares="laptop",
        ),
        Profile(
            "drum", _DRUM.grid, _DRUM, ("p", "weighted-p", "pnp-mean", "pnp-adaptive"), (0, 1, 2),
            "the percussion of the slides, on a small grid",
            metric_chunk=25, overrides={"pnp-adaptive": {"lam": 10.0}},
        ),
        Profile(
            "drum-unit-trace", _DRUM.grid, replace(_DRUM, unit_trace=True), ("pnp-mean",), (0, 1, 2),
            "drum, but each M over its mean eigenvalue", shares="drum",
        ),
        Profile(
            "paper-controls", _PAPER.grid, _PAPER, _CONTROLS, (0, 1, 2),
            "the paper's protocol, and the controls that tell units from metrics, over three seeds", shares="paper",
        ),
        Profile("paper", _PAPER.grid, _PAPER, _THREE, (0,), "the headline protocol of the paper"),
        *VARIANTS.values(),
    )
}  # fmt: skip


def get_profile(name: str) -> Profile:
    """A profile by name.

    Raises:
        ValueError: if there is none of that name; the message lists the valid ones.

    >>> get_profile("paper").grid.n_steps
    30
    """
    require_known("profile", name, PROFILES)
    return PROFILES[name]
