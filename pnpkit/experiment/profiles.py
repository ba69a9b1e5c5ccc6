"""Every number of a run, in one place: what each profile computes, from data set to seeds."""

from dataclasses import replace
from typing import Any

from pnpkit._names import UnknownName, load_object, require_known
from pnpkit.experiment.config import PAPER_PROTOCOL, GridConfig, Profile, ScalogramConfig, TrainingConfig
from pnpkit.experiment.remedies import GIVEN

_THREE = ("p", "pnp", "pnp-mean")  # the rows of Table 1 that the authors filled
_FOUR = ("p", "weighted-p", "pnp", "pnp-mean")  # with one constant matrix, which converts units and no more
_SIX = ("p", "weighted-p", "sp", "pnp", "pnp-identity", "pnp-mean")
_LAPTOP = TrainingConfig(GridConfig(n_steps=14), "p", 0, 20, 32, coordinates="logminmax", head="linear")
_SMOKE = replace(_LAPTOP, grid=GridConfig(n_steps=6), epochs=4, batch_size=16)
_LOW = ScalogramConfig(octaves=10, f_min=8.613)
_DRUM = replace(_SMOKE, grid=GridConfig("drum", "all", 5), gain="attached", features=_LOW)
_PAPER = PAPER_PROTOCOL

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
_vary("softplus", "raw units, Softplus, as many steps as the paper's", "raw-long", ("p", "pnp-mean"), head="softplus")
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
            "the laptop's recipe with six losses and five seeds; a step of SP costs ten of the others",
            overrides={"sp": {"epochs": 2, "gain": "attached"}}, shares="laptop",
        ),
        Profile(
            "spectral", _LAPTOP.grid, replace(_LAPTOP, gain="attached"), ("sp",), (2,),
            "the laptop's recipe to its end with SP", shares="laptop",  # the study's first seed that has probes
        ),
        Profile(
            "of-sounds", _LAPTOP.grid, replace(_LAPTOP, gain="attached"), ("sp-linear", "mss"), (2,),
            "the laptop's recipe to its end with other losses of sounds: SP linearised, and DDSP's", shares="laptop",
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
            "drum", _DRUM.grid, _DRUM, (*_FOUR, "pnp-identity", "pnp-adaptive"), (0, 1, 2),
            "the percussion of the slides, on a small grid",
            # Ten mean eigenvalues of M̄, both: the adaptive loss counts in these, the other in units of M
            metric_chunk=25, overrides={"pnp-identity": {"lam": 5.4e8}, "pnp-adaptive": {"lam": 10.0}},
        ),
        Profile(
            "drum-unit-trace", _DRUM.grid, replace(_DRUM, unit_trace=True), ("pnp-mean",), (0, 1, 2),
            "drum, but each M over its mean eigenvalue", shares="drum",
        ),
        Profile(
            "paper-controls", _PAPER.grid, _PAPER, _CONTROLS, (0, 1, 2),
            "the paper's protocol, and the controls that tell units from metrics, over three seeds", shares="paper",
        ),
        Profile(
            "paper-of-sounds", _PAPER.grid, replace(_PAPER, gain="attached"), ("sp-linear",), (0,),
            "the paper's protocol with SP, linearised", shares="paper",
        ),
        Profile("paper", _PAPER.grid, _PAPER, _THREE, (0,), "the headline protocol of the paper"),
        *VARIANTS.values(),
    )
}  # fmt: skip


def get_profile(name: str) -> Profile:
    """A profile by name, or one of the user's own: ``my_study.py:STUDY`` or ``module:STUDY``.

    Raises:
        ValueError: if there is none of that name; the message lists the valid ones, or says what does not import.

    >>> get_profile("paper").grid.n_steps
    30
    """
    if ":" not in name:
        require_known("profile", name, PROFILES)
        GIVEN.pop(name, None)
        return PROFILES[name]
    profile = load_object("profile", name)
    if not isinstance(profile, Profile):
        raise UnknownName(
            f"{name} is no profile but a {type(profile).__name__}: make a pnpkit.experiment.config.Profile"
        )
    GIVEN[profile.name] = name
    return profile
