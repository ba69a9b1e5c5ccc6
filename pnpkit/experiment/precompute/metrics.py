"""Computes the metrics of a whole data set, in parallel, surviving interruption."""

import platform
import time
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pnpkit.experiment.artefacts import provenance
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import Count, counted
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.machine import locked, run_tasks
from pnpkit.experiment.precompute import metric_store as store
from pnpkit.experiment.precompute.metric_store import MetricConfig, create_store, load_metrics
from pnpkit.experiment.precompute.metric_table import GAINS, MetricTable, check_metrics
from pnpkit.experiment.problem import get_problem
from pnpkit.metric import metric_from_jacobian, value_and_jacobian
from pnpkit.synth.parameters import gain_gradient

TOGETHER = 2**19  # samples, of waveforms and their tangents, that pass at once: fills the vector units, fits the cache
METRIC_TOLERANCE = 1e-4  # relative, of a metric computed again: float32 sums differ between machines


def metrics_of(grid: GridConfig, items: slice) -> NDArray[np.float64]:
    """Metrics of consecutive ids with the gain's gradient detached and attached, (items, 2, d, d).

    One Jacobian gives both. S is homogeneous of degree one, so a gain a multiplies it, and

    .. math:: \\frac{\\partial\\Phi}{\\partial\\log a} = \\frac{S/\\varepsilon}{1 + S/\\varepsilon} = 1 - e^{-\\Phi},
              \\qquad \\mathbf{J}_{\\text{attached}} = \\mathbf{J}_{\\text{detached}}
              + \\frac{\\partial\\Phi}{\\partial\\log a} \\, (\\nabla_\\theta \\log a)^\\top.
    """
    problem = get_problem(grid)
    theta = theta_of(problem.table.iloc[items], problem.space)
    results = []
    for part in theta.split(max(1, TOGETHER // ((len(problem.space) + 1) * problem.synth.n_samples))):
        phi, J = value_and_jacobian(problem.synth, problem.phi, part)
        loudness = -torch.expm1(-phi.double())
        J_attached = J.double() + loudness.unsqueeze(-1) * gain_gradient(problem.synth, part).unsqueeze(-2)
        results.append(torch.stack([metric_from_jacobian(J, part), metric_from_jacobian(J_attached, part)], 1))
    return torch.cat(results).numpy()


def _task(path: Path, config: MetricConfig, items: slice) -> tuple[slice, dict[str, str]]:
    """One task, one chunk: compute it, write it, say which items it holds and what its digest is."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there on {platform.node()}: all workers must share the store's disk")
    return items, store.write_chunk(path, items, metrics_of(config.grid, items))


def compute_metrics(
    path: Path, config: MetricConfig, *, workers: int = 2, executor: Executor | None = None, progress: Count = None
) -> MetricTable:
    """Fill a store with what it lacks, then read it. Killed at any moment, it goes on where it was, to the same bits.

    In a script it belongs under ``if __name__ == "__main__":``; see :func:`run_tasks`. On a cluster,
    with the store on a disk that all of it shares (``tools/slurm.py`` is a whole script)::

        from dask_jobqueue import SLURMCluster
        from distributed import Client

        with SLURMCluster(cores=1, processes=1, memory="4GB", walltime="01:00:00") as cluster:
            cluster.scale(32)  # jobs, of one worker each
            with Client(cluster) as client:
                compute_metrics(path, config, executor=client.get_executor())

    Args:
        path: of the store, made if absent.
        config: which metrics.
        workers: processes, of one thread each, where no executor is given.
        executor: where to run the tasks instead: anything with the interface of :mod:`concurrent.futures`, such as a
            Dask client's ``get_executor()``. It is left open.
        progress: called with (items done, items in all), at the start and after each task.

    Returns:
        All metrics.

    Raises:
        ArtefactMismatch: if the store was made for another configuration; names both hashes.
        OSError: if the store cannot be written; names it. Chunks already written stay, as after every error.
        RuntimeError: if another process is filling it; names that process.
        ValueError: if a metric is not finite; names the θ that gave it.
    """
    path = path.absolute()  # a worker elsewhere has another working folder
    if path.exists():
        store.check_store(path, config)
    if not path.exists() or not store.is_finished(path, config):  # a finished one may lie in a folder that is read-only
        with locked(path.parent / f".{path.name}.lock", wait=False):
            _fill(path, config, workers, executor, progress)
    return load_metrics(path, config)


def _fill(path: Path, config: MetricConfig, workers: int, executor: Executor | None, progress: Count) -> None:
    start, problem = time.perf_counter(), get_problem(config.grid)
    if not path.exists():
        create_store(path, config, problem.table, problem.space)
    store.check_store(path, config)
    store.make_ready(path)
    todo, total = store.missing_chunks(path, config, strict=True), len(problem.table)
    new = sum(s.stop - s.start for s in todo)
    count = counted(progress, total, total - new)

    def finished(chunk: tuple[slice, dict[str, str]]) -> None:
        items, digests = chunk
        store.add_digests(path, digests)
        count(items.stop - items.start)

    run_tasks(_task, [(path, config, s) for s in todo], workers=workers, executor=executor, finished=finished)
    effort = {"items": new, "workers": workers if executor is None else None}
    store.add_provenance(path, provenance(config, time.perf_counter() - start) | effort)


def verify_metrics(path: Path, config: MetricConfig, n: int, seed: int = 0, progress: Count = None) -> float:
    """Recompute a random sample of a store's metrics; check that all of it are metrics, and of the data set's θ.

    Args:
        path: of the store.
        config: which metrics.
        n: how many to compute again; all of them if there are fewer.
        seed: of the sample.
        progress: called with (metrics done, metrics in all).

    Returns:
        The largest relative difference, in Frobenius norm.

    Raises:
        ValueError: if a metric of the sample differs by more than the tolerance, one of the store is not symmetric or
            not positive semi-definite, or its θ are not those of the data set; names the ids.
    """
    stored, problem = load_metrics(path, config), get_problem(config.grid)
    # Not to the bit: powers of numpy round differently with and without AVX-512
    if not torch.allclose(stored.theta, theta_of(problem.table, problem.space), rtol=1e-12, atol=0):
        raise ValueError(f"{path}: theta is not that of the data set")
    check_metrics(path, stored)
    ids = np.random.default_rng(seed).choice(len(stored.theta), min(n, len(stored.theta)), replace=False)
    worst, count = 0.0, counted(progress, len(ids))
    for i in sorted(map(int, ids)):
        again = torch.from_numpy(metrics_of(config.grid, slice(i, i + 1)))[0]
        kept = torch.stack([stored.metric(gain)[i] for gain in GAINS])
        difference = float(torch.linalg.norm(again - kept) / torch.linalg.norm(kept))
        if not difference <= METRIC_TOLERANCE:
            raise ValueError(
                f"{path}: the metric of id {i} differs from a new computation by {difference:.1e}, "
                f"tolerance {METRIC_TOLERANCE:.0e}"
            )
        worst = max(worst, difference)
        count(1)
    return worst
