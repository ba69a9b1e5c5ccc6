"""A whole profile at toy size, metrics to table; metrics' values, network and Φ are toys, which `.ci/run` has whole."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnpkit.experiment import pipeline
from pnpkit.experiment import workspace as workspaces
from pnpkit.experiment.artefacts import config_dict
from pnpkit.experiment.config import GridConfig, Profile, ScalogramConfig
from pnpkit.experiment.evaluation.items import STATUS
from pnpkit.experiment.pipeline import run_profile
from pnpkit.experiment.precompute import metrics as precompute
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.profiles import PROFILES
from pnpkit.experiment.results.tables import claim_table, summary_table, table
from pnpkit.experiment.training.run_folder import config_of
from pnpkit.experiment.workspace import Workspace
from pnpkit.jtfs import JTFS
from tests.small_network import small_network


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Profile]:
    """One epoch of P and PNP; metrics are a constant (their computation has tests of its own), Φ is a coarse one."""
    coarse = JTFS(8, 2, J_fr=2, T=None, n_samples=2**15)
    monkeypatch.setattr(Problem, "jtfs", property(lambda _: coarse))

    def constant(grid: GridConfig, items: slice) -> np.ndarray:
        M = np.diag([0.3, 300.0, 5000.0])
        return np.broadcast_to(M, (items.stop - items.start, 2, 3, 3)).copy()

    training = dataclasses.replace(PROFILES["smoke"].training, epochs=1)
    tiny = dataclasses.replace(PROFILES["smoke"], name="tiny", training=training, losses=("p", "pnp"))
    monkeypatch.setitem(PROFILES, "tiny", tiny)
    monkeypatch.setattr(precompute, "metrics_of", constant)
    get_problem.cache_clear()
    yield tiny
    get_problem.cache_clear()  # what it kept has the coarse Φ


def _here(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], **options: Any) -> None:
    """Runs the tasks in this process, where the monkeypatches are."""
    for a in arguments:
        result = task(*a)
        if "finished" in options:
            options["finished"](result)
        if "waiting" in options:
            options["waiting"]()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head": "small"}, "unknown head 'small'; valid ones: leaky_relu"),
        ({"schedule": "cos"}, "unknown schedule 'cos'; valid ones: constant, cosine"),
        ({"coordinates": "logs"}, "unknown coordinates 'logs'; valid ones: raw, log"),
        ({"gain": "free"}, "unknown gain 'free'; valid ones: detached, attached"),
        ({"batch_size": 999}, "batch_size must lie between 2 and the "),
        ({"features": ScalogramConfig(f_min=4.0)}, "bin at 4 Hz needs over 32768 samples, not 32768: a higher f_min"),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_before_any_work(
    change: dict[str, Any], said: str, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = dataclasses.replace(profile, training=dataclasses.replace(profile.training, **change))
    monkeypatch.setitem(PROFILES, "tiny", own)
    with pytest.raises(ValueError, match=said):
        run_profile("tiny", root=tmp_path)
    assert not list(tmp_path.iterdir())


@small_network()
def test_profile_end_to_end(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr(pipeline, "run_tasks", _here)
    monkeypatch.setattr(precompute, "run_tasks", _here)
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path / "elsewhere"))
    seen: dict[str, tuple[int, int]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        seen[stage] = done, total

    results = run_profile("tiny", progress=progress, root=tmp_path)
    assert not (tmp_path / "elsewhere").exists()
    assert seen["metrics"] == seen["inputs"] == (216, 216)
    assert (seen["epochs of training"], seen["evaluations"]) == ((2, 2), (3, 3))
    workspace = Workspace.open("tiny", tmp_path)
    assert workspace.results() == config_dict(results), "what is returned is what is written"
    assert set(workspace.finished_runs()) == {("p", 0), ("pnp", 0)}

    shown = table(results)
    assert shown.loc["SP", "JTFS"] == "—", "a row with no run prints a dash"
    assert float(results["rows"]["last"]["p"]["jtfs"]["mean"]) > 0
    assert len(claim_table(results)) >= 4
    one = summary_table(workspace.evaluation("p", 0).summary, workspace.problem.space).value
    assert float(one["last", "jtfs, mean"]) == pytest.approx(results["rows"]["last"]["p"]["jtfs"]["mean"], rel=1e-3)
    counted = sum(int(one["best", f"items {status}"]) for status in STATUS)
    assert counted == (workspace.problem.table.fold == "test").sum()
    assert {"error of f_c (Hz), median", "gamma out of range"} <= set(one["last"].index)
    for config in profile.runs():
        assert config_of(workspace.run_folder(config.loss, config.seed)) == config_dict(config)
    exact_carrier = results["references"]["f_c exact, rest train mean"]["jtfs"]["mean"]
    assert exact_carrier < results["references"]["train mean"]["jtfs"]["mean"]

    assert workspace.begun_runs() == workspace.finished_runs()
    assert workspace.curve("p", 0).epoch.tolist() == [0, 1]
    other = dataclasses.replace(
        profile, name="other", losses=("p", "pnp"), shares="tiny", overrides={"pnp": {"start_from": "p"}}
    )
    monkeypatch.setitem(PROFILES, "other", other)
    monkeypatch.setattr(precompute, "metrics_of", None)  # those of the first profile serve
    assert run_profile("other", root=tmp_path)["rows"]["last"]["p"] == results["rows"]["last"]["p"]
    sharing = Workspace.open("other", tmp_path)
    assert sharing.run_folder("p", 0) == workspace.run_folder("p", 0)
    assert sorted(path.name for path in sharing.folder.iterdir()) == ["evaluation", "results.json", "runs"]
    constant = sharing.reference("train mean").of("last").jtfs
    assert constant.mean() == pytest.approx(results["references"]["train mean"]["jtfs"]["mean"]), "those it shares"
    tuned = sharing.run_folder("pnp", 0)
    assert config_of(tuned)["start_from"] == "p"
    assert (tuned / "probe.csv").read_text().splitlines()[1] != (
        workspace.run_folder("pnp", 0) / "probe.csv"
    ).read_text().splitlines()[1], "its first answers are those of the network it started from"
    (workspace.run_folder("p", 0) / "weights.safetensors").unlink()
    assert sharing.train("pnp", 0).finished
    with pytest.raises(FileNotFoundError, match=r"weights.safetensors is needed to start from, .*\(--out\)"):
        sharing.train("pnp", 0, resume=False)
    assert sharing.train("pnp", 0).finished, "what cannot begin anew stays as it was"
    (workspace.run_folder("p", 0) / "provenance.json").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=rf"--profile tiny --loss p --seed 0 --out {tmp_path}` makes it"):
        sharing.train("pnp", 0, resume=False)
    (tmp_path / "away").rename(workspace.run_folder("p", 0) / "provenance.json")

    twice = dataclasses.replace(profile.training, epochs=2)
    monkeypatch.setitem(PROFILES, "twice", dataclasses.replace(profile, name="twice", training=twice, shares="tiny"))
    train = ("train", "--profile", "twice", "--loss", "p", "--out", tmp_path)
    code, printed, _ = verb(*train, "--max-hours", 0)
    assert (code, printed) == (3, f"epoch 1 of 2: {(begun := Workspace.open('twice', tmp_path).run_folder('p', 0))}\n")
    code, printed, _ = verb(*train)
    assert (code, printed) == (0, f"epoch 2 of 2: {begun}\n")

    calls: list[str] = []
    monkeypatch.setattr(workspaces, "train", lambda *a, **k: calls.append("train"))
    again = workspace.compute_results()
    assert again["rows"] == results["rows"], "evaluations are reused, and give the same numbers"
    assert not calls
    with pytest.raises(ValueError, match=r"profile tiny has seeds \[0\], not \[0, 1\]"):
        workspace.compute_results(seeds=(1, 0))
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(profile, seeds=(0, 1)))
    more = Workspace.open("tiny", tmp_path)
    with pytest.raises(ValueError, match=r"'p' has seeds \[0\], not \[0, 1\]"):
        more.compute_results()
    assert more.compute_results(seeds=[0])["rows"] == results["rows"], "what is there of a profile that is not done"
