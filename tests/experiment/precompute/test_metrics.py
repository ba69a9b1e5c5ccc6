"""Metrics of a whole data set: interrupted or not, here or on a cluster, the same bits. Most tests use toys of θ."""

import contextlib
import dataclasses
import errno
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
from collections import ChainMap
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distributed import LocalCluster

from pnpkit.experiment.artefacts import ArtefactMismatch, config_hash
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import slices
from pnpkit.experiment.dataset import arpeggio_grid, theta_of
from pnpkit.experiment.machine import locked
from pnpkit.experiment.precompute import metrics as precompute
from pnpkit.experiment.precompute.metric_store import (
    MetricConfig,
    add_digests,
    create_store,
    load_metrics,
    missing_chunks,
    seal_store,
    write_chunk,
)
from pnpkit.experiment.precompute.metrics import compute_metrics, metrics_of, verify_metrics
from pnpkit.experiment.profiles import PROFILES
from pnpkit.jtfs import Phi
from pnpkit.metric import riemannian_metric
from pnpkit.synth import Arpeggio

GRID = GridConfig(n_steps=6)
CONFIG = MetricConfig(GRID, chunk=40)
THETA = theta_of(arpeggio_grid(6), Arpeggio.parameters)
SLICES = slices(len(THETA), CONFIG.chunk)


def toy(grid: GridConfig, items: slice) -> np.ndarray:
    """Positive definite matrices that depend on θ as real ones do: item by item, and on nothing else."""
    theta = THETA[items].numpy()
    outer = theta[:, None, :, None] * theta[:, None, None, :]
    return np.concatenate([outer + np.eye(3), 2 * outer + np.eye(3)], 1)


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(precompute, "metrics_of", toy)


def threads() -> Executor:
    """For calls that succeed. After one that fails a task may be under way, which only its pool's end waits for."""
    return ThreadPoolExecutor(2)


def forks(n: int) -> Executor:
    """Processes in which what is patched here is patched too."""
    return ProcessPoolExecutor(n, multiprocessing.get_context("fork"))


def chunks(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (path / "M").iterdir()}


def lock_of(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


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
    assert seen[0] == (0, 216)
    assert len(seen) == 1 + len(SLICES)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (216, 216)
    assert table.provenance["hash"] == config_hash(CONFIG)
    assert set(table.provenance) >= {"commit", "versions", "cpu", "date", "seconds"}


def test_a_finished_store_is_read_and_not_touched_even_while_another_process_holds_it(uninterrupted, monkeypatch):
    def never(*_args):
        raise AssertionError("computed again")

    monkeypatch.setattr(precompute, "metrics_of", never)
    before = (uninterrupted / "zarr.json").read_bytes()
    with locked(lock_of(uninterrupted)):
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
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="not finite at theta"):
        compute_metrics(path, CONFIG, executor=pool)
    left = missing_chunks(path, CONFIG, strict=True)
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
    with pytest.raises(BrokenProcessPool):
        compute_metrics(path, CONFIG, executor=forks(1))
    assert missing_chunks(path, CONFIG) == SLICES[2:]
    with pytest.raises(ValueError, match=r"lacks 136 metrics \(from id 80 on\)"):
        load_metrics(path, CONFIG)
    monkeypatch.setattr(precompute, "metrics_of", toy)
    compute_metrics(path, CONFIG, executor=threads())
    assert chunks(path) == chunks(uninterrupted)


def fill(path: Path, config: MetricConfig, report: Path | None = None) -> None:
    """Fill a store, not too fast, as the leader of a group of three processes; note a refusal."""
    os.setpgid(0, 0)
    precompute.metrics_of = lambda grid, items: time.sleep(0.03) or toy(grid, items)
    try:
        with forks(2) as executor:
            compute_metrics(path, config, executor=executor)
    except RuntimeError as error:
        if report is None:
            raise
        report.write_text(str(error))


def start(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=fill, args=arguments)
    process.start()
    with contextlib.suppress(ProcessLookupError):  # ended already
        os.setpgid(process.pid, process.pid)  # here too, so that the group is there whoever comes first
    return process


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_in_the_same_bits_and_leaves_no_litter(tmp_path, toys):
    config, seconds = MetricConfig(GRID, chunk=8), 0.0
    for name in ("first", "whole"):  # the second is not slowed by what the first had to load
        whole, began = tmp_path / name, time.perf_counter()
        start(whole, config).join()
        seconds = time.perf_counter() - began
    left = []
    for k, moment in enumerate(np.random.default_rng(0).uniform(0, seconds, 20)):
        path = tmp_path / str(k) / "m.zarr"
        process = start(path, config)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        with locked(lock_of(path)):  # forked workers hold it too: now the last of them is gone
            left.append(len(missing_chunks(path, config)) if path.exists() else 27)
        table = compute_metrics(path, config, executor=threads())
        assert chunks(path) == chunks(whole), f"killed after {moment:.3f} s"
        assert torch.equal(table.theta, THETA)
        assert {p.name for p in path.parent.iterdir()} == {path.name, lock_of(path).name}
        assert not list(path.rglob("*.partial"))
    assert any(0 < n < 27 for n in left), f"no kill fell between the first and the last chunk: {left}"


def test_of_two_started_at_once_the_second_says_who_holds_the_store(uninterrupted, tmp_path):
    path, reports = tmp_path / "contested.zarr", [tmp_path / "0", tmp_path / "1"]
    processes = [start(path, CONFIG, report) for report in reports]
    for process in processes:
        process.join()
    assert chunks(path) == chunks(uninterrupted)
    for report, other in zip(reports, reversed(processes), strict=True):
        held = f"{lock_of(path)} is in use by another process (pid {other.pid})"
        assert not report.exists() or held in report.read_text()
    assert not all(report.exists() for report in reports)


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:50] + bytes([b[50] ^ 1]) + b[51:]])
def test_a_damaged_chunk_is_computed_again(damage, uninterrupted):
    whole = chunks(uninterrupted)
    file = uninterrupted / "M" / "c.1.0.0.0"
    file.write_bytes(damage(file.read_bytes()))
    compute_metrics(uninterrupted, CONFIG, executor=threads())
    assert chunks(uninterrupted) == whole


def test_a_metric_that_is_not_finite_stops_the_run_with_its_theta(tmp_path, monkeypatch):
    def broken(_g, _phi, theta):
        J = torch.eye(3).repeat(len(theta), 1, 1)
        J[(theta == THETA[130]).all(1), 0, 1] = torch.nan
        return torch.zeros(len(theta), 3), J

    monkeypatch.setattr(precompute, "value_and_jacobian", broken)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ValueError, match=re.escape(f"the metric is not finite at theta = [{THETA[130].tolist()}]")),
    ):
        compute_metrics(tmp_path / "m.zarr", CONFIG, executor=pool)
    assert missing_chunks(tmp_path / "m.zarr", CONFIG)[0] == SLICES[3]


def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(uninterrupted, tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    original = LocalStore.set

    async def until_full(self, key, value):
        if key.startswith("c.3"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await original(self, key, value)

    path = tmp_path / "m.zarr"
    monkeypatch.setattr(LocalStore, "set", until_full)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(OSError, match=rf"{path} cannot be written \(No space left on device\)"),
    ):
        compute_metrics(path, CONFIG, executor=pool)
    monkeypatch.setattr(LocalStore, "set", original)
    assert missing_chunks(path, CONFIG)[0] == SLICES[3]
    compute_metrics(path, CONFIG, executor=threads())
    assert chunks(path) == chunks(uninterrupted)


def test_a_worker_that_does_not_see_the_store_says_so_before_it_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(precompute, "metrics_of", None)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/m.zarr is not there on .*: all workers must share"):
        precompute._task(tmp_path / "m.zarr", CONFIG, SLICES[0])


def test_a_run_killed_before_it_noted_its_provenance_notes_it_later(uninterrupted):
    with_note = (uninterrupted / "zarr.json").read_text()
    create_store(uninterrupted.with_name("other.zarr"), CONFIG, arpeggio_grid(6), Arpeggio.parameters)
    (uninterrupted / "zarr.json").write_text((uninterrupted.with_name("other.zarr") / "zarr.json").read_text())
    assert '"provenance"' in with_note
    assert compute_metrics(uninterrupted, CONFIG, executor=threads()).provenance["hash"] == config_hash(CONFIG)


def test_a_store_of_another_configuration_is_refused_and_kept(uninterrupted):
    whole, other = chunks(uninterrupted), MetricConfig(GRID, chunk=30)
    both = f"{uninterrupted} was made with configuration {config_hash(CONFIG)}, not {config_hash(other)}"
    with pytest.raises(ArtefactMismatch, match=both):
        compute_metrics(uninterrupted, other, executor=threads())
    assert chunks(uninterrupted) == whole


def test_a_store_that_is_being_filled_is_left_to_who_fills_it(tmp_path, toys):
    path = tmp_path / "m.zarr"
    held = rf"{lock_of(path)} is in use by another process \(pid {os.getpid()}\): wait for it or stop it"
    with locked(lock_of(path)), pytest.raises(RuntimeError, match=held):
        compute_metrics(path, CONFIG, executor=threads())


def test_verification_finds_a_metric_that_is_not_what_a_new_computation_gives(uninterrupted):
    assert verify_metrics(uninterrupted, CONFIG, 1000) == 0  # more than there are
    wrong = toy(GRID, SLICES[1])
    wrong[3] *= 1.001
    write_chunk(uninterrupted, SLICES[1], wrong)
    seal_store(uninterrupted, again=True)
    with pytest.raises(ValueError, match=r"the metric of id 43 differs from a new computation by 1\.0e-03, .* 1e-04"):
        verify_metrics(uninterrupted, CONFIG, 1000)


def test_verification_allows_theta_the_rounding_of_another_processor_and_no_more(uninterrupted, monkeypatch):
    monkeypatch.setattr(precompute, "theta_of", lambda *of: (1 + 1e-15) * theta_of(*of))
    assert verify_metrics(uninterrupted, CONFIG, 1) == 0
    monkeypatch.setattr(precompute, "theta_of", lambda *of: (1 + 1e-9) * theta_of(*of))
    with pytest.raises(ValueError, match="theta is not that of the data set"):
        verify_metrics(uninterrupted, CONFIG, 1)


def test_verification_looks_at_every_metric_and_theta_whatever_the_sample(uninterrupted):
    wrong = toy(GRID, SLICES[2])
    wrong[5, 0, 0, 1] += 1e-9
    write_chunk(uninterrupted, SLICES[2], wrong)
    seal_store(uninterrupted, again=True)
    with pytest.raises(ValueError, match=r"uninterrupted.zarr: M \(detached\) is not symmetric at id 85"):
        verify_metrics(uninterrupted, CONFIG, 1)
    (uninterrupted / "theta" / "c" / "0" / "0").unlink()
    seal_store(uninterrupted, again=True)
    with pytest.raises(ValueError, match=r"uninterrupted.zarr: theta is not that of the data set"):
        verify_metrics(uninterrupted, CONFIG, 1)


# Real metrics ---------------------------------------------------------------------------------------------------------


def test_both_gains_come_from_one_jacobian():
    """The attached metric, had from homogeneity of S, is what differentiating the gain gives."""
    phi = Phi.reference(2**15)
    ids = slice(100, 103)
    ours = torch.from_numpy(metrics_of(GRID, ids))
    for k, detach in enumerate((True, False)):
        direct = riemannian_metric(Arpeggio(detach_gain=detach), phi, THETA[ids])
        difference = torch.linalg.norm(ours[:, k] - direct, dim=(1, 2)) / torch.linalg.norm(direct, dim=(1, 2))
        assert difference.max() < 1e-5


def test_a_metric_does_not_depend_on_its_neighbours():
    together = metrics_of(GRID, slice(10, 15))  # more than one group of those differentiated at once
    alone = np.concatenate([metrics_of(GRID, slice(i, i + 1)) for i in range(10, 15)])
    difference = np.linalg.norm(together - alone, axis=(2, 3)) / np.linalg.norm(alone, axis=(2, 3))
    assert difference.max() < 1e-5
    np.testing.assert_array_equal(metrics_of(GRID, slice(10, 15)), together)  # and again the same bits


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_the_local_pool(tmp_path, monkeypatch, capsys):
    """The SLURM script as it is, but for the class of its cluster; toys except for two chunks."""

    def local_cluster(*, cores: int, processes: int, memory: str, walltime: str) -> LocalCluster:
        assert (cores, processes) == (1, 1)
        return LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None)

    tiny = dataclasses.replace(PROFILES["smoke"], name="tiny", metric_chunk=2)
    config = MetricConfig(GRID, chunk=2)
    ours, theirs = tmp_path / "ours.zarr", tmp_path / "tiny" / "metrics.zarr"
    for path in (ours, theirs):
        create_store(path, config, arpeggio_grid(6), Arpeggio.parameters)
        made = [write_chunk(path, items, toy(GRID, items)) for items in slices(216, config.chunk)[2:]]
        add_digests(path, dict(ChainMap(*made)))
    compute_metrics(ours, config, workers=1)

    monkeypatch.setitem(PROFILES, "tiny", tiny)
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=local_cluster))
    runpy.run_path(str(Path(__file__).parents[3] / "tools" / "slurm.py"))["main"]("tiny", 2)
    assert capsys.readouterr().out == f"216 metrics at {theirs}\n"
    assert chunks(theirs) == chunks(ours)
    real = load_metrics(ours, config).metric()[:4]
    torch.testing.assert_close(real, torch.from_numpy(metrics_of(GRID, slice(0, 4)))[:, 0], rtol=1e-5, atol=0)
