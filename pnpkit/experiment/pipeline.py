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
    workspace = Workspace.open(name, (root or data_root()).absolute())  # workers elsewhere have another working folder
    runs = [(workspace, c.loss, c.seed) for c in workspace.profile.runs()]
    starts = dict.fromkeys((c.start_from, c.seed) for c in workspace.profile.runs() if c.start_from)
    workspace.compute_metrics(workers, executor, progress)  # which notes how many processes it had
    with processes(workers, executor) as pool:
        _count("inputs", _inputs, [(workspace,)], pool, progress, len(workspace.problem.table))
        if starts:
            _train("epochs of runs to start from", [(workspace.shared, *start) for start in starts], pool, progress)
        _train("epochs of training", runs, pool, progress)
        _count("evaluations", _evaluate, [(workspace, "", 0), *runs], pool, progress)
    results = workspace.compute_results(progress)
    workspace.keep_results(results)
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
    total = sum(workspace.profile.run(loss, seed).epochs for workspace, loss, seed in runs)

    def count() -> None:
        if progress is not None:
            progress(stage, sum(workspace.epochs_done(loss, seed) for workspace, loss, seed in runs), total)

    count()  # so that the bar is there during the first epoch, and begins where the runs go on
    run_tasks(_train_one, runs, executor=pool, waiting=count)


def _inputs(workspace: Workspace) -> None:
    workspace.inputs()


def _train_one(workspace: Workspace, loss: str, seed: int) -> None:
    workspace.train(loss, seed)


def _evaluate(workspace: Workspace, loss: str, seed: int) -> None:
    if loss:
        workspace.evaluate(loss, seed)
    else:
        workspace.evaluate_references()
