"""Computes the metrics of a whole data set, in parallel, surviving interruption."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pnpkit._system import locked
from pnpkit.dataset import theta_of
from pnpkit.metric import pullback, value_and_jacobian
from pnpkit.problem import get_problem
from pnpkit.profiles import GridConfig
from pnpkit.provenance import provenance
from pnpkit.store import (
    MetricConfig,
    MetricTable,
    add_provenance,
    check_store,
    create_store,
    load_metrics,
    missing_chunks,
    write_chunk,
)

TOGETHER = 4  # items differentiated at once: fills the vector units, fits the cache


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
    for part in theta.split(TOGETHER):
        phi, J = value_and_jacobian(problem.synth, problem.phi, part)
        loudness = -torch.expm1(-phi.double())
        J_attached = J.double() + loudness.unsqueeze(-1) * problem.synth.log_gain_gradient(part).unsqueeze(-2)
        results.append(torch.stack([pullback(J, part), pullback(J_attached, part)], 1))
    return torch.cat(results).numpy()


def _task(path: Path, grid: GridConfig, items: slice) -> int:
    """One task, one chunk: compute it, write it, say how many items it held."""
    torch.set_num_threads(1)
    write_chunk(path, items, metrics_of(grid, items))
    return items.stop - items.start


def compute_metrics(
    path: Path,
    config: MetricConfig,
    *,
    workers: int = 2,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MetricTable:
    """Fill a store with what it lacks, then read it.

    Args:
        path: of the store, made if absent.
        config: which metrics.
        workers: processes, of one thread each, where no executor is given.
        executor: where to run the tasks instead: anything with the interface of :mod:`concurrent.futures`, such as a
            Dask client's ``get_executor()``.
        progress: called with (items done, items in all).

    Returns:
        All metrics.

    Raises:
        ArtefactMismatch: if the store was made for another configuration.
        RuntimeError: if another process is filling it.
        ValueError: if a metric is not finite; names the θ that gave it. Chunks already written stay.
    """
    problem = get_problem(config.grid)
    with locked(path.parent / f".{path.name}.lock", wait=False):
        if not path.exists():
            create_store(path, config, problem.table, problem.space)
        check_store(path, config)
        todo, start = missing_chunks(path, config), time.perf_counter()
        done = len(problem.table) - sum(s.stop - s.start for s in todo)
        if todo:
            context = multiprocessing.get_context("spawn")
            with executor or ProcessPoolExecutor(min(workers, len(todo)), context) as pool:
                futures = [pool.submit(_task, path, config.grid, items) for items in todo]
                try:
                    for future in as_completed(futures):
                        done += future.result()
                        if progress is not None:
                            progress(done, len(problem.table))
                except BaseException:
                    for future in futures:
                        future.cancel()
                    raise
            add_provenance(path, provenance(config, time.perf_counter() - start))
    return load_metrics(path, config)


def verify_metrics(path: Path, config: MetricConfig, n: int, seed: int = 0) -> float:
    """Recompute a random sample of a store's metrics and return the largest relative difference, in Frobenius norm.

    Raises:
        ValueError: if a sampled metric differs by more than 1e-4, naming its id.
    """
    stored = load_metrics(path, config)
    ids = np.random.default_rng(seed).choice(len(stored.theta), min(n, len(stored.theta)), replace=False)
    worst = 0.0
    for i in sorted(int(i) for i in ids):
        again = torch.from_numpy(metrics_of(config.grid, slice(i, i + 1)))[0]
        kept = torch.stack([stored.metric("detached")[i], stored.metric("attached")[i]])
        difference = float(torch.linalg.norm(again - kept) / torch.linalg.norm(kept))
        if not difference <= 1e-4:
            raise ValueError(f"{path}: the metric of id {i} differs from a new computation by {difference:.1e}")
        worst = max(worst, difference)
    return worst
