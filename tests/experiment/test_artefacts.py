"""Artefacts: whole or absent, keyed by their configuration, refused by name when they are another's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnpkit._files import write_atomically
from pnpkit.experiment import artefacts as p
from pnpkit.experiment.config import GridConfig, TrainingConfig
from pnpkit.experiment.profiles import get_profile
from pnpkit.experiment.remedies import data_root

DATA = Path(__file__).parents[2] / "data"
CONFIG = TrainingConfig(GridConfig(), "pnp")
KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.integers() | st.floats(allow_nan=False) | KEYS | st.booleans() | st.none()


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "results.json"

    def half(path, content):
        path.write_text("half")
        raise KeyboardInterrupt

    for before in ({}, {"results.json": "old"}):
        for name, text in before.items():
            (tmp_path / name).write_text(text)
        with monkeypatch.context() as patched:
            patched.setattr(type(target), "write_bytes", half)
            with pytest.raises(KeyboardInterrupt):
                write_atomically(target, b"whole")
        assert contents(tmp_path) == before


def test_a_write_replaces_in_one_step_and_makes_its_folder(tmp_path):
    target = tmp_path / "a" / "b" / "results.json"
    for content in ({"x": 1}, {"x": [1.5, None, "λ"]}):
        p.write_json(target, content)
        assert p.read_json(target) == content
    assert list(contents(target.parent)) == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_a_number_is_refused_and_the_old_file_stays(tmp_path, value):
    target = tmp_path / "results.json"
    p.write_json(target, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        p.write_json(target, {"x": value})
    assert p.read_json(target) == {"x": 1}


def test_absent_json_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"r\.json is not there$"):
        p.read_json(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError, match=r"r\.json is not there: `pnpkit table` makes it$"):
        p.read_json(tmp_path / "r.json", "table")


def test_truncated_json_names_its_file(tmp_path):
    target = tmp_path / "summary.json"
    target.write_text(json.dumps({"x": list(range(9))})[:-4])
    with pytest.raises(ValueError, match=r"summary\.json is not valid JSON.*truncated"):
        p.read_json(target)


@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES), min_size=2))
def test_hash_does_not_depend_on_the_order_of_keys(config):
    reverse = dict(reversed(config.items()))
    assert p.config_hash(config) == p.config_hash(reverse)
    assert p.config_hash(config) == p.config_hash(p.config_dict(config))


def test_hash_depends_on_every_field():
    changes = [
        {"grid": GridConfig(n_steps=29)}, {"loss": "p"}, {"seed": 1}, {"epochs": 71}, {"batch_size": 255},
        {"learning_rate": 2e-3}, {"coordinates": "log"}, {"head": "tanh"}, {"gain": "attached"}, {"lam": 2.0},
        {"jitter": 0.0}, {"bias_at_mean": True}, {"features": replace(CONFIG.features, hop=128)},
        {"schedule": "cosine"}, {"start_from": "pnp"}, {"unit_trace": True},
    ]  # fmt: skip
    assert {key for change in changes for key in change} == set(CONFIG.__dataclass_fields__)
    hashes = [p.config_hash(CONFIG), *(p.config_hash(replace(CONFIG, **change)) for change in changes)]
    assert len(set(hashes)) == len(hashes)


def test_a_field_added_later_leaves_the_hashes_of_what_does_without():
    """Configurations that were shipped before the field was there are still the same ones."""
    for loss in ("p", "pnp"):
        config = get_profile("laptop").run(loss, 0)
        shipped = p.read_json(DATA / "laptop" / "runs" / loss / "0" / "config.json")
        assert p.config_dict(config) == shipped
        assert p.config_hash(replace(config, schedule="cosine")) != p.config_hash(config) == p.config_hash(shipped)


def test_a_mismatch_names_both_hashes_and_what_differs():
    other = replace(CONFIG, seed=3)
    with pytest.raises(p.ArtefactMismatch) as caught:
        p.require_same_config(Path("runs/pnp/0"), p.config_dict(other), CONFIG)
    message = str(caught.value)
    assert p.config_hash(other) in message
    assert p.config_hash(CONFIG) in message
    assert "seed: 3 there, 0 wanted" in message
    assert "runs/pnp/0" in message
    assert "epochs" not in message
    p.require_same_config(Path("runs/pnp/0"), p.config_dict(CONFIG), CONFIG)


def test_provenance_says_how_to_do_it_again():
    made = p.provenance(CONFIG, 12.345)
    assert made["config"] == p.config_dict(CONFIG)
    assert made["hash"] == p.config_hash(made["config"])
    assert made["seconds"] == 12.3
    assert set(made["versions"]) == {"python", *p.PACKAGES}
    assert json.loads(json.dumps(made)) == made


def test_the_commit_is_that_of_the_checkout():
    assert p.provenance(CONFIG, 0.0)["commit"] != "unknown"  # tests/test_wheel.py has the installed copy


def test_a_package_that_is_absent_stops_nothing(monkeypatch):
    monkeypatch.setattr(p, "PACKAGES", ("numpy", "no-such-package"))
    assert p.provenance(CONFIG, 0.0)["versions"]["no-such-package"] == "absent"


def test_variables_name_where_artefacts_are(monkeypatch, tmp_path):
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    assert data_root() == tmp_path


@pytest.mark.parametrize("given", [None, ""])
def test_data_root_is_the_working_folders_or_for_a_chapter_the_one_above(given, monkeypatch, tmp_path):
    monkeypatch.delenv("PNPKIT_DATA", raising=False)
    if given is not None:
        monkeypatch.setenv("PNPKIT_DATA", given)
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path / "book")
    assert data_root() == Path("data")
    (tmp_path / "data").mkdir()
    assert data_root().resolve() == tmp_path / "data"
    (tmp_path / "book" / "data").mkdir()
    assert data_root().resolve() == tmp_path / "book" / "data"
