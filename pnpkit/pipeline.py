"""A whole profile, stage by stage, its runs and evaluations through a pool of processes."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnpkit.parallel import run_tasks
from pnpkit.workspace import Progress, Workspace


def run_profile(
    name: str, workers: int = 2, progress: Progress | None = None, root: Path | None = None
) -> dict[str, Any]:
    """Everything a profile asks for: metrics, features, all runs, their evaluation, the table.

    Runs go through a pool of processes, one thread each. Every stage resumes, so this can be killed at any moment.

    Args:
        name: of the profile.
        workers: processes.
        progress: called with (stage, done, in all).
        root: folder of artefacts, as in :meth:`Workspace.open`.

    Returns:
        The results, as written to ``results.json``.
    """
    space = Workspace.open(name, root)
    space.compute_metrics(workers, progress=progress)
    space.features(progress)
    runs = [(name, root, c.loss, c.seed) for c in space.profile.runs()]
    shared = space.shared.profile.name
    starts = dict.fromkeys((shared, root, c.start_from, c.seed) for c in space.profile.runs() if c.start_from)
    if starts:
        _stage("runs to start from", _train_task, [*starts], workers, progress)
    _stage("training runs", _train_task, runs, workers, progress)
    _stage("evaluations", _evaluate_task, [(name, root, "", 0), *runs], workers, progress)
    return space.write_results()


def _stage(
    stage: str, task: Callable[..., None], arguments: list[tuple[Any, ...]], workers: int, progress: Progress | None
) -> None:
    done = itertools.count()

    def count(_: None) -> None:
        if progress is not None:
            progress(stage, next(done), len(arguments))

    count(None)  # none yet: so that the bar is there during the first
    run_tasks(task, arguments, workers=workers, finished=count)


def _train_task(name: str, root: Path | None, loss: str, seed: int) -> None:
    Workspace.open(name, root).train(loss, seed)


def _evaluate_task(name: str, root: Path | None, loss: str, seed: int) -> None:
    space = Workspace.open(name, root)
    if loss:
        space.evaluate(loss, seed)
    else:
        space.evaluate_references()
