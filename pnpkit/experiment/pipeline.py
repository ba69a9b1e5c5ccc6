"""A whole profile, stage by stage, its runs and evaluations through a pool of processes."""

import itertools
from pathlib import Path
from typing import Any

from pnpkit.experiment.machine import run_tasks
from pnpkit.experiment.workspace import Progress, Workspace

Task = tuple[str, Path | None, str, int]  # profile, root, loss, seed


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
        _train("epochs of runs to start from", [*starts], workers, progress)
    _train("epochs of training", runs, workers, progress)
    _evaluate([(name, root, "", 0), *runs], workers, progress)
    return space.write_results()


def _train(stage: str, runs: list[Task], workers: int, progress: Progress | None) -> None:
    """Train all; progress is of epochs, as far as the histories on disk have come."""
    if progress is None:
        run_tasks(_train_task, runs, workers=workers)
        return
    spaces = [(Workspace.open(name, root), loss, seed) for name, root, loss, seed in runs]
    total = sum(space.profile.run(loss, seed).epochs for space, loss, seed in spaces)

    def count() -> None:
        progress(stage, sum(space.epochs_done(loss, seed) for space, loss, seed in spaces), total)

    count()  # so that the bar is there during the first epoch, and begins where the runs go on
    run_tasks(_train_task, runs, workers=workers, waiting=count)


def _evaluate(runs: list[Task], workers: int, progress: Progress | None) -> None:
    done = itertools.count()

    def count(_: None) -> None:
        if progress is not None:
            progress("evaluations", next(done), len(runs))

    count(None)
    run_tasks(_evaluate_task, runs, workers=workers, finished=count)


def _train_task(name: str, root: Path | None, loss: str, seed: int) -> None:
    Workspace.open(name, root).train(loss, seed)


def _evaluate_task(name: str, root: Path | None, loss: str, seed: int) -> None:
    space = Workspace.open(name, root)
    if loss:
        space.evaluate(loss, seed)
    else:
        space.evaluate_references()
