"""Profiles: every run of a recipe is one configuration, and what is unknown is named."""

import dataclasses
import json
from pathlib import Path

import pytest
import zarr

from pnpkit.experiment.artefacts import config_dict, config_hash
from pnpkit.experiment.config import LOSS_LABELS, PAPER_PROTOCOL
from pnpkit.experiment.profiles import PROFILES, VARIANTS, get_profile
from pnpkit.experiment.workspace import Workspace

SHIPPED = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_runs_are_all_pairs_of_loss_and_seed_and_a_seed_is_finished_before_the_next(profile):
    runs = profile.runs()
    assert [(r.seed, r.loss) for r in runs] == [(s, loss) for s in profile.seeds for loss in profile.losses]
    assert len({config_hash(run) for run in runs}) == len(runs)
    assert {run.grid for run in runs} == {profile.grid}


@pytest.mark.parametrize(
    "record", sorted(SHIPPED.glob("*/runs/*/*/provenance.json")), ids=lambda p: str(p.parent)[-30:]
)
def test_a_shipped_run_has_the_hash_that_its_profile_computes_today(record: Path) -> None:
    made = json.loads(record.read_text())
    name, _, loss, seed = record.parent.relative_to(SHIPPED).parts
    run = get_profile(name).run(loss, int(seed))
    assert made["config"] == config_dict(run)
    assert made["hash"] == config_hash(run)
    assert Workspace.open(name, SHIPPED).run_folder(loss, int(seed)) == record.parent, "it is found where it is"


@pytest.mark.parametrize("store", sorted(SHIPPED.glob("*/metrics.zarr")), ids=lambda p: p.parent.name)
def test_a_shipped_store_has_the_hash_that_its_profile_computes_today(store: Path) -> None:
    made, workspace = zarr.open_group(store, mode="r").attrs, Workspace.open(store.parent.name, SHIPPED)
    assert workspace.metrics_path == store
    assert made["hash"] == made["provenance"]["hash"] == config_hash(workspace.metric_config)


def test_the_papers_protocol_is_the_papers():
    run = get_profile("paper").run("pnp-mean", 0)
    assert (run.grid.n_steps, run.epochs, run.batch_size, run.learning_rate) == (30, 70, 256, 1e-3)
    assert (run.coordinates, run.head, run.lam, run.gain) == ("raw", "leaky_relu", 1.0, "detached")
    assert not run.bias_at_mean
    assert {"p", "pnp", "pnp-mean"} <= set(get_profile("paper").losses)
    assert dataclasses.replace(run, loss=PAPER_PROTOCOL.loss) == PAPER_PROTOCOL


def test_the_study_goes_on_where_the_laptop_stops(tmp_path):
    """Its runs include the laptop's, with the same configurations: what is trained once serves both."""
    laptop, study = get_profile("laptop"), get_profile("study")
    assert set(laptop.runs()) < set(study.runs())
    assert {run.loss for run in study.runs()} == {"p", "weighted-p", "sp", "pnp", "pnp-identity", "pnp-mean"}
    for sharing in (p for p in PROFILES.values() if p.shares):
        base = get_profile(sharing.shares)
        assert (sharing.grid, sharing.training.features) == (base.grid, base.training.features)
    folders = [Workspace.open("study", tmp_path).run_folder("p", seed) for seed in (1, 2)]
    assert [folder.parents[2].name for folder in folders] == ["laptop", "study"]
    for name, loss, home in (
        ("unit-trace", "p", "laptop"),
        ("unit-trace", "pnp", "unit-trace"),
        ("lambda2", "p", "laptop"),
    ):
        folder = Workspace.open(name, tmp_path).run_folder(loss, 0)
        assert folder.parents[2].name == home, "a loss that only the profile shared with lists is there"
    assert study.run("sp", 3).epochs < study.run("pnp", 3).epochs == laptop.training.epochs


def test_a_variant_is_the_laptops_recipe_with_one_thing_changed():
    base = get_profile("laptop").run("pnp-mean", 0)
    # Units and output belong together; two variants ask what is left of one change beside another
    changed = {"raw": 2, "raw-long": 3, "softplus": 3, "raw-bias": 3, "cosine-unit-trace": 2, "raw-bias-unit-trace": 4}
    for variant in VARIANTS.values():
        (run, *_) = (r for r in variant.runs() if r.loss.startswith("pnp"))
        fields = [f.name for f in dataclasses.fields(run) if getattr(run, f.name) != getattr(base, f.name)]
        assert len(set(fields) - {"loss"}) == changed.get(variant.name, 1), variant.name
        assert bool(variant.shares) == (variant.name != "literal")
        if "p" not in variant.losses:  # P must be of the recipe that differs in the metric alone, or in λ
            same = {"gain": run.gain, "unit_trace": run.unit_trace, "lam": run.lam}
            assert dataclasses.replace(get_profile(variant.shares).run("p", 0), loss=run.loss, **same) == run
    decades = {loss: sorted(v.training.lam for v in VARIANTS.values() if loss in v.losses and v.name[:6] == "lambda")
               for loss in ("pnp-mean", "pnp-identity")}  # fmt: skip
    assert all(max(*values, 1) / min(*values, 1) == pytest.approx(1e6) for values in decades.values())


@pytest.mark.usefixtures("unchecked")
def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ValueError, match=f"'papper'; valid ones: {', '.join(PROFILES)}$"):
        get_profile("papper")
    with pytest.raises(ValueError, match=f"'l2'; valid ones: {', '.join(LOSS_LABELS)}".replace("+", r"\+")):
        get_profile("smoke").run("l2", 0)
    for words in ({"losses": "pnp"}, {"seeds": 0}):
        ((name, value),) = words.items()
        with pytest.raises(ValueError, match=rf"{name} of profile 'smoke' must be a tuple, as \({value!r},\), not"):
            dataclasses.replace(get_profile("smoke"), **words)
    wrong = {
        "has no losses": {"losses": ()},
        "has no seeds": {"seeds": ()},
        "unknown loss in overrides 'pmp'": {"overrides": {"pmp": {"epochs": 2}}},
        "without a slash, not ''": {"name": ""},
        "without a slash, not '../x'": {"name": "../x"},
        "has start_from": {"overrides": {"pnp": {"start_from": "p"}}},
    }
    for message, words in wrong.items():
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(get_profile("smoke"), **words)
