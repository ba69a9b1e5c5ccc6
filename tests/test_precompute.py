"""Metrics of a whole data set: interrupted or not, the same bits. All but the last tests use toys of θ."""

import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit import precompute
from pnpkit._system import locked
from pnpkit.dataset import arpeggio_grid, theta_of
from pnpkit.jtfs import JTFS, log_compress
from pnpkit.metric import riemannian_metric
from pnpkit.precompute import compute_metrics, metrics_of, verify_metrics
from pnpkit.profiles import GridConfig
from pnpkit.provenance import ArtefactMismatch, config_hash
from pnpkit.store import MetricConfig, chunk_slices, load_metrics, missing_chunks, write_chunk
from pnpkit.synth import Arpeggio

GRID = GridConfig(n_steps=6)
CONFIG = MetricConfig(GRID, chunk=40)
THETA = theta_of(arpeggio_grid(6), Arpeggio.parameters)
SLICES = chunk_slices(CONFIG, len(THETA))


def toy(grid: GridConfig, items: slice) -> np.ndarray:
    """Positive definite matrices that depend on θ as real ones do: item by item, and on nothing else."""
    theta = THETA[items].numpy()
    outer = theta[:, None, :, None] * theta[:, None, None, :]
    return np.concatenate([outer + np.eye(3), 2 * outer + np.eye(3)], 1)


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(precompute, "metrics_of", toy)


def threads() -> Executor:
    return ThreadPoolExecutor(2)


def chunks(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (path / "M").iterdir()}


@pytest.fixture
def uninterrupted(tmp_path, toys) -> Path:
    path = tmp_path / "uninterrupted.zarr"
    compute_metrics(path, CONFIG, executor=threads())
    return path


def test_it_fills_the_store_and_says_how_far_it_is(tmp_path, toys):
    seen = []
    table = compute_metrics(
        tmp_path / "m.zarr", CONFIG, executor=threads(), progress=lambda done, n: seen.append((done, n))
    )
    np.testing.assert_array_equal(table.metric("attached").numpy(), toy(GRID, slice(0, 216))[:, 1])
    assert len(seen) == len(SLICES)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (216, 216)
    assert table.provenance["hash"] == config_hash(CONFIG)
    assert set(table.provenance) >= {"commit", "versions", "cpu", "date", "seconds"}


def test_a_full_store_is_read_and_not_touched(uninterrupted, monkeypatch):
    def never(*_args):
        raise AssertionError("computed again")

    monkeypatch.setattr(precompute, "metrics_of", never)
    before = (uninterrupted / "zarr.json").read_bytes()
    compute_metrics(uninterrupted, CONFIG, executor=threads())
    assert (uninterrupted / "zarr.json").read_bytes() == before


def test_a_failing_task_keeps_what_others_wrote_and_a_second_call_ends_in_the_same_bits(
    uninterrupted, tmp_path, monkeypatch
):
    def failing(grid, items):
        if items.start == 120:
            raise ValueError("the metric is not finite at theta = [1.0, 2.0, 3.0]")
        return toy(grid, items)

    monkeypatch.setattr(precompute, "metrics_of", failing)
    path = tmp_path / "resumed.zarr"
    with pytest.raises(ValueError, match="not finite at theta"):
        compute_metrics(path, CONFIG, executor=ThreadPoolExecutor(1))
    left = missing_chunks(path, CONFIG)
    assert SLICES[3] in left
    assert SLICES[0] not in left

    asked = []
    monkeypatch.setattr(precompute, "metrics_of", lambda grid, items: asked.append(items.start) or toy(grid, items))
    compute_metrics(path, CONFIG, executor=threads())
    assert sorted(asked) == [s.start for s in left]  # only what was missing
    assert chunks(path) == chunks(uninterrupted)


def deadly(grid: GridConfig, items: slice) -> np.ndarray:
    """Kills its process at the third chunk."""
    if items.start == SLICES[2].start:
        os.kill(os.getpid(), signal.SIGKILL)
    return toy(grid, items)


def test_a_killed_worker_stops_the_call_and_a_second_call_ends_in_the_same_bits(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(precompute, "metrics_of", deadly)
    path = tmp_path / "killed.zarr"
    workers = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))  # forked, so that they are toys too
    with pytest.raises(BrokenProcessPool):
        compute_metrics(path, CONFIG, executor=workers)
    assert missing_chunks(path, CONFIG) == SLICES[2:]
    with pytest.raises(ValueError, match=r"lacks 136 metrics \(from id 80 on\)"):
        load_metrics(path, CONFIG)
    monkeypatch.setattr(precompute, "metrics_of", toy)
    compute_metrics(path, CONFIG, executor=threads())
    assert chunks(path) == chunks(uninterrupted)


def test_a_damaged_chunk_is_computed_again(uninterrupted):
    whole = chunks(uninterrupted)
    file = uninterrupted / "M" / "c.1.0.0.0"
    file.write_bytes(file.read_bytes()[:-3])
    compute_metrics(uninterrupted, CONFIG, executor=threads())
    assert chunks(uninterrupted) == whole


def test_a_store_of_another_configuration_is_refused_and_kept(uninterrupted):
    whole, other = chunks(uninterrupted), MetricConfig(GRID, chunk=30)
    with pytest.raises(ArtefactMismatch, match=f"{config_hash(CONFIG)}, not {config_hash(other)}"):
        compute_metrics(uninterrupted, other, executor=threads())
    assert chunks(uninterrupted) == whole


def test_two_processes_do_not_fill_one_store(uninterrupted):
    lock = uninterrupted.parent / f".{uninterrupted.name}.lock"
    with locked(lock), pytest.raises(RuntimeError, match="in use by another process"):
        compute_metrics(uninterrupted, CONFIG, executor=threads())


def test_verification_finds_a_metric_that_is_not_what_a_new_computation_gives(uninterrupted):
    assert verify_metrics(uninterrupted, CONFIG, 1000) == 0
    wrong = toy(GRID, SLICES[1])
    wrong[3] *= 1.001
    write_chunk(uninterrupted, SLICES[1], wrong)
    with pytest.raises(ValueError, match=r"the metric of id 43 differs from a new computation by 1\.0e-03"):
        verify_metrics(uninterrupted, CONFIG, 1000)


# Real metrics ---------------------------------------------------------------------------------------------------------


def test_both_gains_come_from_one_jacobian():
    """The attached metric, had from homogeneity of S, is what differentiating the gain gives."""
    jtfs = JTFS.reference(2**15)
    ids = slice(100, 103)
    ours = torch.from_numpy(metrics_of(GRID, ids))
    for k, detach in enumerate((True, False)):
        direct = riemannian_metric(Arpeggio(detach_gain=detach), lambda x: log_compress(jtfs(x)), THETA[ids])
        difference = torch.linalg.norm(ours[:, k] - direct, dim=(1, 2)) / torch.linalg.norm(direct, dim=(1, 2))
        assert difference.max() < 1e-5


def test_a_metric_does_not_depend_on_its_neighbours():
    together = metrics_of(GRID, slice(10, 15))  # more than one group of those differentiated at once
    alone = np.concatenate([metrics_of(GRID, slice(i, i + 1)) for i in range(10, 15)])
    difference = np.linalg.norm(together - alone, axis=(2, 3)) / np.linalg.norm(alone, axis=(2, 3))
    assert difference.max() < 1e-5
    np.testing.assert_array_equal(metrics_of(GRID, slice(10, 15)), together)  # and again the same bits
