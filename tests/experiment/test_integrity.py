"""Files at rest: what their records vouch for, how damage is named, and what may replace what."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch

from pnpkit._files import sweep, write_atomically
from pnpkit.experiment import artefacts, integrity
from pnpkit.experiment.artefacts import ArtefactMismatch, read_record, write_json, write_record
from pnpkit.experiment.evaluation import studies
from pnpkit.experiment.evaluation.folder import evaluate_run
from pnpkit.experiment.integrity import KEY, Damaged, verify_files
from pnpkit.experiment.match_table import Table
from pnpkit.experiment.precompute import inputs
from pnpkit.experiment.precompute.atlases import PACKAGED, AtlasConfig, atlas_config
from pnpkit.experiment.precompute.metric_store import load_metrics
from pnpkit.experiment.profiles import PROFILES, get_profile
from pnpkit.experiment.remedies import ATLASES, remedy
from pnpkit.experiment.results import keep
from pnpkit.experiment.schema import BadRecord, check
from pnpkit.experiment.seals import check_all, seal_all
from pnpkit.experiment.training.loop import train
from pnpkit.experiment.training.run_folder import RUN_PROVENANCE, read_history
from pnpkit.experiment.workspace import Workspace
from pnpkit.matching.stored import read_arrays, write_arrays
from pnpkit.synth import Arpeggio
from tests.campaign.plant import FEATURES, NAME, TABLE, Plant, data

SHIPPED = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant(tmp_path_factory.mktemp("plant")).build()
    yield made
    inputs.BLOCK = made.block
    del PROFILES[NAME]


@pytest.fixture
def plant(original: Plant, tmp_path: Path) -> Plant:
    shutil.copytree(original.root, tmp_path, dirs_exist_ok=True)
    return Plant(tmp_path)


def test_what_is_shipped_is_what_was_written() -> None:
    assert check_all(SHIPPED) == check_all(PACKAGED) == []
    others = {"zarr.json", "config.json"}  # sealed elsewhere: in the store's attributes, by the run's provenance
    records = [p for folder in (SHIPPED, PACKAGED) for p in folder.rglob("*.json") if p.name not in others]
    assert [path for path in records if KEY not in json.loads(path.read_text())] == []


@pytest.mark.parametrize("name", ["atlases/drum.json", "atlases/drum.npz", "benchmark.json", "campaign.json"])
@pytest.mark.parametrize("below", [True, False])
def test_a_check_of_the_folder_finds_damage_beside_the_profiles(name: str, below: bool, tmp_path: Path) -> None:
    for file in {name, name.replace(".npz", ".json"), name.replace("drum.json", "drum.npz")}:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy((PACKAGED.parent if "atlases" in file else SHIPPED) / file, tmp_path / file)
    (path := tmp_path / name).write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    (said,) = check_all(tmp_path if below else path.parent)
    assert str(path) in said


@pytest.mark.parametrize(
    ("old", "new"), [("1.5", "1.6"), ("λ", "μ"), ("[", " ["), ('"self": "', '"self": "0'), ("a", "a")]
)
def test_a_record_is_its_text(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_record(path, {"b": [1.5, None], "a": "λ"})
    assert read_record(path) == {"a": "λ", "b": [1.5, None]}
    path.write_text(path.read_text().replace(old, new) + ("" if old != new else " "))
    with pytest.raises(Damaged, match=r"r\.json was changed after it was written"):
        read_record(path)


def test_a_file_that_changes_within_a_process_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1")
    write_record(tmp_path / "r.json", {}, ["x.csv", "absent.csv"])
    read_record(tmp_path / "r.json")
    (tmp_path / "x.csv").write_text("2")
    with pytest.raises(Damaged, match=r"x\.csv is not the file that r\.json speaks of"):
        read_record(tmp_path / "r.json")
    (tmp_path / "x.csv").unlink()
    with pytest.raises(Damaged, match=r"x\.csv is gone"):
        read_record(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("runs/p/0/predictions.csv", "train --profile {p} --loss p --seed 0"),
        ("runs/p/0/checkpoint/epoch-00003/best.safetensors", "train --profile {p} --loss p --seed 0"),
        ("evaluation/pnp/2/items.csv", "evaluate --profile {p} --loss pnp --seed 2"),
        ("evaluation/pnp/2/curve.json", "evaluate --profile {p} --loss pnp --seed 2 --curve"),
        ("evaluation/train-mean/summary.json", "table --profile {p}"),
        ("metrics.zarr/theta/c/0/0", "metrics --profile {p}"),
        ("results.json", "table --profile {p}"),
    ],
)
def test_advice_names_the_command_and_the_folder_that_was_given(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = remedy(tmp_path / "a b" / "laptop" / name)
    assert f"`pnpkit {command.format(p='laptop')} --out '{tmp_path / 'a b'}'`" in said
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path / "a b"))
    assert f"`pnpkit {command.format(p='laptop')}`" in remedy(tmp_path / "a b" / "laptop" / name)


@pytest.mark.parametrize(
    ("name", "what", "again"),
    [
        ("atlases/arpeggio.npz", "Delete it", "pnpkit metrics --profile paper --atlas 1 --out ROOT"),
        ("atlases/drum.json", "Delete it", "pnpkit metrics --profile drum --atlas 1 --out ROOT"),
        ("atlases/bell.npz", "Delete it", "pnpkit metrics --profile … --atlas … --out ROOT"),
        ("matching/drum/rows.csv", "Move ROOT/matching/drum away", "PNPKIT_DATA=ROOT python -m MOD.studies drum"),
        ("of-sounds/gradients.csv", "Delete it", "PNPKIT_DATA=ROOT python -m MOD.gradients of-sounds"),
        ("study/tangents-0/00128.npz", "Move ROOT/study/tangents-0/00128.json away", "pnpkit train --loss sp-linear …"),
        ("study/tangents-0/basis.npz", "Move ROOT/study/tangents-0 away", "pnpkit train --loss sp-linear …"),
        ("benchmark.json", "Delete it", "make bench OUT=ROOT/benchmark.json"),
        ("pnpkit/atlas-0123.npz", "Delete it", "pnpkit match …"),
    ],
)  # fmt: skip
def test_what_has_no_run_has_a_command_of_its_own(name: str, what: str, again: str, tmp_path: Path) -> None:
    for short, long in (("ROOT", str(tmp_path)), ("MOD", "pnpkit.experiment.evaluation")):
        what, again = what.replace(short, long), again.replace(short, long)
    assert remedy(tmp_path / name) == f"{what}: `{again}` makes it again"


def test_the_commands_that_are_named_are_there(tmp_path: Path) -> None:
    """Their modules, their studies, and the atlases as they are shipped."""
    assert find_spec("pnpkit.experiment.evaluation.gradients")
    assert {"noise-20", "from-p", "drum", "morphs"} <= studies.studies().keys()
    for name, options in ATLASES.items():
        _, profile, _, every = options.split()
        assert AtlasConfig(get_profile(profile).grid, int(every)) == atlas_config(name)  # by its record


def test_a_profile_of_ones_own_is_called_as_the_user_calls_it(tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(
        "import dataclasses\nfrom pnpkit.experiment.profiles import PROFILES\n"
        "STUDY = dataclasses.replace(PROFILES['smoke'], name='smoke')\n"
    )
    given = f"{tmp_path}/my_own.py:STUDY"
    workspace = Workspace.open(given, tmp_path)
    assert f"`pnpkit table --profile {given} --out {tmp_path}`" in remedy(workspace.folder / "results.json")
    with pytest.raises(FileNotFoundError, match=f"`pnpkit run --profile {given} --out {tmp_path}` makes them"):
        workspace.compute_results()
    Workspace.open("smoke", tmp_path)
    assert "--profile smoke" in remedy(workspace.folder / "results.json")


def test_changed_predictions_are_blamed_not_the_good_evaluation(plant: Plant) -> None:
    run, out = plant.workspace.run_folder("p", 0), plant.workspace.evaluation_folder("p", 0)
    predictions = run / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("7", "8", 1))
    with pytest.raises(Damaged, match=r"runs/p/0/predictions\.csv is not .*train --profile tiny --loss p .*--out"):
        evaluate_run(run, out, plant.problem)


def test_a_summary_without_its_run_or_a_count_is_named_by_the_field(plant: Plant) -> None:
    path = plant.workspace.evaluation_folder("p", 0) / "summary.json"
    for keys in (("made", "run"), ("summary", "last", "status", "ok")):
        content = json.loads(path.read_text())
        whole, part = path.read_text(), content
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]
        write_record(path, {k: v for k, v in content.items() if k != KEY}, ["items.csv"])
        with pytest.raises(ValueError, match=rf"summary\.json: field {'.'.join(keys)} is missing"):
            plant.workspace.evaluation("p", 0)
        path.write_text(whole)


def test_two_whole_chunks_exchanged_are_computed_again(plant: Plant) -> None:
    before = load_metrics(plant.workspace.metrics_path, plant.workspace.metric_config)
    M = plant.workspace.metrics_path / "M"
    a, b = (M / f"c.{i}.0.0.0" for i in (2, 5))
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    with pytest.raises(ValueError, match=r"lacks 54 metrics \(from id 54 on\)"):
        load_metrics(plant.workspace.metrics_path, plant.workspace.metric_config)
    shutil.rmtree(plant.workspace.metrics_path / "theta" / "c")
    with pytest.raises(Damaged, match="theta/c/0/0 is gone"):
        load_metrics(plant.workspace.metrics_path, plant.workspace.metric_config)
    assert len(before.theta) == len(TABLE)


def test_a_run_of_another_loss_or_recipe_is_refused_by_every_reader(plant: Plant) -> None:
    workspace = plant.workspace
    for place in (workspace.run_folder, workspace.evaluation_folder):
        place("p", 0).rename(plant.root / "away")
        place("pnp", 0).rename(place("p", 0))
        (plant.root / "away").rename(place("pnp", 0))
    readers = (
        workspace.evaluate,
        workspace.evaluation,
        workspace.curve,
        lambda *run: workspace.verify_evaluation(*run, 1),
    )
    for read in (*readers, workspace.predictions, workspace.probe, workspace.history, workspace.provenance):
        with pytest.raises(ArtefactMismatch, match="loss: 'pnp' there, 'p' wanted"):
            read("p", 0)
    with pytest.raises(ArtefactMismatch, match="loss: 'pnp' there, 'p' wanted"):
        workspace.compute_results()
    for loss in ("p", "pnp"):  # each configuration where it belongs again, beside the answers of the other
        write_record(workspace.run_folder(loss, 0) / "config.json", artefacts.config_dict(plant.config(loss)))
    for read in (workspace.predictions, workspace.probe, workspace.history, workspace.provenance):
        with pytest.raises(Damaged, match=r"p/0/config\.json is not the file"):
            read("p", 0)


def test_results_give_way_to_equal_or_more_and_to_fewer_only_if_told(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    file, results = plant.workspace.folder / "results.json", plant.results()
    before, status = file.read_bytes(), file.stat()
    assert not keep.write_results(plant.workspace.folder, results), "the numbers are the same"
    labelled = {**results, "rows": {w: {**by, "new": None} for w, by in results["rows"].items()}}
    assert not keep.write_results(plant.workspace.folder, labelled), "a loss without runs is no number"
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    rows = {w: {**by, "pnp": None} for w, by in results["rows"].items()}
    fewer = {**results, "rows": rows, "runs": {"p/0": results["runs"]["p/0"]}}
    with pytest.raises(ValueError, match=r"1 runs more than are there now \(pnp/0\): is a disk missing\? `--fewer`"):
        keep.write_results(plant.workspace.folder, fewer)
    assert file.read_bytes() == before
    assert keep.write_results(plant.workspace.folder, fewer, fewer=True)
    assert keep.write_results(plant.workspace.folder, results), "more than before"


def test_results_of_items_that_changed_since_are_stale(plant: Plant) -> None:
    items = plant.workspace.evaluation_folder("p", 0) / "items.csv"
    items.write_text(items.read_text().replace("1", "2", 3))
    with pytest.raises(Damaged, match=r"items\.csv is not the file that summary\.json speaks of"):
        plant.workspace.results()
    seal_all(items.parent, again=True)
    with pytest.raises(Damaged, match=r"results\.json is of other items than .*items\.csv holds.*table --profile"):
        plant.workspace.results()


def test_results_without_their_digests_are_read_and_said(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    file = plant.workspace.folder / "results.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != KEY}))
    integrity.say_once.cache_clear()
    assert plant.workspace.results()["runs"].keys() == {"p/0", "pnp/0"}
    assert f"{file} holds no digests" in caplog.text


def test_reading_a_folder_that_is_not_there_makes_none(tmp_path: Path, original: Plant) -> None:
    workspace = Workspace.open(NAME, tmp_path / "mistyped")
    for read in (workspace.compute_results, workspace.results, lambda: workspace.evaluate("p", 0), workspace.metrics):
        with pytest.raises(FileNotFoundError, match=f"{tmp_path}/mistyped/{NAME}.*--out {tmp_path}/mistyped"):
            read()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_read_and_said(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_of: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    results = plant.results()
    results["rows"]["last"]["p"]["jtfs"]["mean"] += 1.0
    integrity.say_once.cache_clear()
    assert not keep.write_results(plant.workspace.folder, results)
    assert "results.json cannot be written: the table is not kept" in caplog.text
    shutil.rmtree(plant.workspace.evaluation_folder("p", 0))
    again = evaluate_run(plant.workspace.run_folder("p", 0), plant.workspace.evaluation_folder("p", 0), plant.problem)
    assert again.summary["last"]["items"] == (TABLE.fold == "test").sum()
    assert "what is computed here is not kept" in caplog.text


def test_a_full_disk_is_named_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_of: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"{tmp_path}/a/r\.json cannot be written \(No space left on device\)"):
        write_json(tmp_path / "a" / "r.json", {})
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(OSError, match=r"/dev/full cannot be written \(No space left on device\)"):
        Table(Path("/dev/full"), Arpeggio.parameters).add({"file": "a.wav"})
    with pytest.raises(OSError, match=r"features-.*\.npy cannot be written \(No space left on device\)"):
        inputs.compute_inputs(TABLE.head(2), Arpeggio(), FEATURES, tmp_path / "b")


def test_what_was_computed_is_printed_though_it_cannot_be_kept(
    plant: Plant, verb: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "problem", plant.problem)
    evaluate = ("evaluate", "--profile", NAME, "--loss", "p", "--out", plant.root)
    printed = [verb(*evaluate, *curve)[:2] for curve in ((), ("--curve",))]
    shutil.rmtree(plant.workspace.evaluation_folder("p", 0))

    def full(*_of: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for (code, page), curve, file in zip(printed, ((), ("--curve",)), ("items.csv", "curve.json"), strict=True):
        assert code == 0
        assert verb(*evaluate, *curve)[:2] == (1, page)
        assert f"{file} cannot be written (No space left on device)" in verb(*evaluate, *curve)[2]


def test_what_dead_processes_left_is_swept_and_what_others_write_is_not(tmp_path: Path) -> None:
    dead, alive = 2**22 + 1, os.getppid()
    gone = [f".w.safetensors.{dead}.partial.safetensors", f".r.json.{os.uname().nodename}.{dead}.partial.json"]
    kept = [
        f".r.json.{os.uname().nodename}.{alive}.partial.json",
        f".r.json.elsewhere.{dead}.partial.json",
        "my.partial",
    ]
    for name in gone + kept:
        (tmp_path / name).write_text("half")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    (tmp_path / gone[0]).write_text("half")
    write_atomically(tmp_path / "x", b"whole")
    assert not (tmp_path / gone[0]).exists()


def test_a_users_copy_of_a_checkpoint_is_nobody_elses_business(plant: Plant) -> None:
    run = plant.workspace.run_folder("pnp-mean", 0)
    for name in ("epoch-keep", "epoch-00009.bak"):
        shutil.copytree(plant.newest, plant.newest.with_name(name))
    result = train(plant.unfinished, data(), run, max_hours=0.0)
    assert list(result.history.epoch) == [1, 2, 3]
    assert train(plant.unfinished, data(), run).finished
    assert sorted(path.name for path in (run / "checkpoint").iterdir()) == ["epoch-00009.bak", "epoch-keep"]


def test_a_probe_that_was_changed_while_a_run_rested_is_found(plant: Plant) -> None:
    probe = plant.workspace.run_folder("pnp-mean", 0) / "probe.csv"
    lines = probe.read_text().splitlines(keepends=True)
    with probe.open("a") as file:
        file.write(lines[-1].replace("2,", "3,", 1))  # an epoch of which the checkpoint knows nothing, as after a kill
    plant.reader("checkpoint", probe)()
    probe.write_text("".join([lines[0], lines[1].replace("1", "2"), *lines[2:]]))
    with pytest.raises(Damaged, match=r"probe\.csv was changed since epoch 2 was done"):
        plant.reader("checkpoint", probe)()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": "60"}, "seconds must be a finite number, not '60'"),
        ({"seconds": -1.0}, "seconds must be 0 or more, not -1.0"),
        ({"seconds": True}, "seconds must be a finite number, not True"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": 2**70}, "epochs must be a whole number"),
        ({"versions": ["numpy"]}, "versions must be an object"),
        ({"versions": {"numpy": 2}}, "versions.numpy must be a text, not 2"),
        ({"typo": 1}, "unknown field typo"),
        (None, "its content must be an object, not None"),
    ],
)
def test_a_malformed_record_names_file_and_field(change: dict | None, said: str) -> None:
    made = artefacts.provenance({}, 1.0)
    check(made, RUN_PROVENANCE, Path("provenance.json"))
    with pytest.raises(BadRecord, match=r"provenance\.json: ") as caught:
        check(change if change is None else made | change, RUN_PROVENANCE, Path("provenance.json"))
    assert said in str(caught.value)
    with pytest.raises(BadRecord, match="field hash is missing"):
        check({k: v for k, v in made.items() if k != "hash"}, RUN_PROVENANCE, Path("provenance.json"))


def test_a_schema_s_own_signs_are_no_names() -> None:
    for value in ({"a?": 1}, {"a": "x"}, {"b": 1}):
        with pytest.raises(BadRecord, match=r"x\.json: (unknown field [ab]|a must be)"):
            check(value, {"a?": int}, Path("x.json"))
    with pytest.raises(BadRecord, match="a must be a finite number"):
        check({"a": "x"}, dict[str, float], Path("x.json"))


def test_weights_may_be_absent_and_may_not_be_others(plant: Plant) -> None:
    run = plant.workspace.run_folder("p", 0)
    shutil.copy(plant.workspace.run_folder("pnp", 0) / "weights.safetensors", run)
    with pytest.raises(Damaged, match=r"p/0/weights\.safetensors is not the file"):
        plant.reader("weights", run / "weights.safetensors")()
    (run / "weights.safetensors").unlink()
    plant.reader("run", run / "weights.safetensors")()
    verify_files(run / "provenance.json", {"best.safetensors": "0"}, only=())


def test_sealing_changes_no_number(plant: Plant) -> None:
    run = plant.workspace.run_folder("p", 0)
    stored = json.loads((run / "provenance.json").read_text())
    write_json(run / "provenance.json", {k: v for k, v in stored.items() if k != KEY})
    assert seal_all(run) == [run / "provenance.json"]
    assert json.loads((run / "provenance.json").read_text()) == stored
    assert seal_all(run) == []
    assert replace(plant.config("p"), seed=1) != plant.config("p")


def test_a_history_that_lacks_its_last_row_is_read_whole(plant: Plant) -> None:
    """As it does after a kill between the checkpoint and it; the checkpoint has the row."""
    path = plant.newest.parents[1] / "history.csv"
    whole = read_history(path.parent)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    pd.testing.assert_frame_equal(read_history(path.parent), whole)
    assert len(whole) == 2
    assert train(plant.unfinished, data(), path.parent, max_hours=0.0).history.epoch.tolist() == [1, 2, 3]


def test_a_row_of_matches_that_is_damaged_is_matched_again(tmp_path: Path) -> None:
    """More or fewer fields, from a comma or a line's end that came in or went; the others stay as they are."""
    path = tmp_path / "matches.csv"
    table = Table(path, Arpeggio.parameters)
    table.begin(())
    for name in ("a", "b", "c", "d"):
        table.add(dict.fromkeys(table.columns, "15") | {"file": name})
    head, a, *rest = path.read_text().splitlines(keepends=True)
    for damaged in (a.replace("15,", "1,5,", 1), a.replace("15,", "15", 1), a.replace("5,", "5\r", 1), a[:9] + "\0"):
        path.write_text("".join([head, damaged, *rest]), newline="")
        again = Table(path, Arpeggio.parameters)
        assert {"c", "d"} <= {Path(key).name for key in again.rows} <= {"b", "c", "d"}
        again.begin(())
        assert Table(path, Arpeggio.parameters).rows == again.rows
    for name in ("", "../c", "/c"):
        path.write_text("".join([head, *rest]).replace(",c,", f",{name},"), newline="")
        assert [Path(key).name for key in Table(path, Arpeggio.parameters).rows] == ["b", "d"]


def test_arrays_cut_anywhere_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_arrays(path, "things", {"a": torch.arange(99.0), "b": "text"})
    content = path.read_bytes()
    for start in range(0, len(content), 7):
        path.write_bytes(content[:start] + content[start + 5 :])
        with pytest.raises(ValueError, match=r"x\.npz is (no things of pnpkit|of version)"):
            read_arrays(path, "things")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.npz"):
        read_arrays(path, "things")
