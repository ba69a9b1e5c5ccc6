"""A whole profile at toy size: metrics to table, with everything but the metrics' values real."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnpkit import pipeline, precompute
from pnpkit.pipeline import Workspace
from pnpkit.profiles import PROFILES, GridConfig, Profile
from pnpkit.table import claim_table, table


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> Profile:
    """One epoch of P and PNP; metrics are a constant (their computation has tests of its own)."""

    def constant(grid: GridConfig, items: slice) -> np.ndarray:
        M = np.diag([0.3, 300.0, 5000.0])
        return np.broadcast_to(M, (items.stop - items.start, 2, 3, 3)).copy()

    training = dataclasses.replace(PROFILES["smoke"].training, epochs=1)
    tiny = dataclasses.replace(PROFILES["smoke"], name="tiny", training=training, losses=("p", "pnp"))
    monkeypatch.setitem(PROFILES, "tiny", tiny)
    monkeypatch.setattr(precompute, "metrics_of", constant)
    return tiny


class _Here(Executor):
    """Runs its tasks at once, in this process, where the monkeypatches are."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_profile_end_to_end(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.open("tiny", tmp_path)
    workspace.compute_metrics(executor=_Here())
    for config in profile.runs():
        assert workspace.train(config.loss, config.seed).finished
    results = workspace.write_results()
    assert set(workspace.finished_runs()) == {("p", 0), ("pnp", 0)}

    shown = table(results)
    assert shown.loc["SP", "JTFS"] == "—", "a row with no run prints a dash"
    assert float(results["rows"]["last"]["p"]["jtfs"]["mean"]) > 0
    assert len(claim_table(results)) >= 4
    exact_carrier = results["references"]["f_c exact, rest train mean"]["jtfs"]["mean"]
    assert exact_carrier < results["references"]["train mean"]["jtfs"]["mean"]

    calls: list[str] = []
    monkeypatch.setattr(pipeline, "train", lambda *a, **k: calls.append("train"))
    again = workspace.write_results()
    assert again["rows"] == results["rows"], "evaluations are reused, and give the same numbers"
    assert not calls
