"""A whole profile, stage by stage, each through the same processes, or through a cluster's."""

import itertools
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from pnpkit.experiment.machine import processes, run_tasks
from pnpkit.experiment.remedies import data_root
from pnpkit.experiment.workspace import Progress, Workspace

Run = tuple[Workspace, str, int]  # with loss and seed; they travel to the workers, who need no list of profiles


def run_profile(
    name: str,
    workers: int = 2,
    progress: Progress | None = None,
    root: Path | None = None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Everything a profile asks for: metrics, inputs, all runs, their evaluation, the table.

    Runs train on one thread each. Every stage resumes, so this can be killed at any moment.

    Args:
        name: of the profile, as in :func:`pnpkit.experiment.profiles.get_profile`.
        workers: processes.
        progress: called with (stage, done, in all).
        root: folder of artefacts, as in :meth:`Workspace.open`.
        executor: where to run all of it instead, such as a Dask client's ``get_executor()``; its machines share the
            folder's disk. It is left open.

    Returns:
        The results, as written to ``results.json``.
    """
    space = Workspace.open(name, (root or data_root()).absolute())  # workers elsewhere have another working folder
    runs = [(space, c.loss, c.seed) for c in space.profile.runs()]
    starts = dict.fromkeys((c.start_from, c.seed) for c in space.profile.runs() if c.start_from)
    space.compute_metrics(workers, executor, progress)  # which notes how many processes it had
    with processes(workers, executor) as pool:
        _count("features", _inputs, [(space,)], pool, progress, len(space.problem.table))
        if starts:
            _train("epochs of runs to start from", [(space.shared, *start) for start in starts], pool, progress)
        _train("epochs of training", runs, pool, progress)
        _count("evaluations", _evaluate, [(space, "", 0), *runs], pool, progress)
    results = space.compute_results(progress)
    space.keep_results(results)
    return results


def _count(
    stage: str,
    task: Any,
    arguments: Sequence[tuple[Any, ...]],
    pool: Executor,
    progress: Progress | None,
    items: int = 1,
) -> None:
    """Run tasks of so many items each, and tell how many are done."""
    done = itertools.count(step=items)

    def count(_: None) -> None:
        if progress is not None:
            progress(stage, next(done), items * len(arguments))

    count(None)
    run_tasks(task, arguments, executor=pool, finished=count)


def _train(stage: str, runs: list[Run], pool: Executor, progress: Progress | None) -> None:
    """Train all; progress is of epochs, as far as the histories on disk have come."""
    total = sum(space.profile.run(loss, seed).epochs for space, loss, seed in runs)

    def count() -> None:
        if progress is not None:
            progress(stage, sum(space.epochs_done(loss, seed) for space, loss, seed in runs), total)

    count()  # so that the bar is there during the first epoch, and begins where the runs go on
    run_tasks(_train_one, runs, executor=pool, waiting=count)


def _inputs(space: Workspace) -> None:
    space.features()


def _train_one(space: Workspace, loss: str, seed: int) -> None:
    space.train(loss, seed)


def _evaluate(space: Workspace, loss: str, seed: int) -> None:
    if loss:
        space.evaluate(loss, seed)
    else:
        space.evaluate_references()
