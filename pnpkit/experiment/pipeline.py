"""A whole profile, stage by stage, each through the same processes, or through a cluster's."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from pnpkit._names import require_known
from pnpkit.analyser.network import HEADS
from pnpkit.experiment.counting import Progress, counted, staged
from pnpkit.experiment.machine import processes, run_tasks
from pnpkit.experiment.remedies import GIVEN, data_root
from pnpkit.experiment.training.objective import check_run, check_sounds
from pnpkit.experiment.workspace import Workspace


def run_profile(
    name: str, workers: int = 2, progress: Progress = None, root: Path | None = None, executor: Executor | None = None
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
    for run in workspace.profile.runs():  # before any work
        require_known("head", run.head, HEADS)  # a network of one's own is no part of a profile
        check_run(run, workspace.problem.table)
        check_sounds(run, workspace.problem.synth)
    runs = [(workspace, c.loss, c.seed) for c in workspace.profile.runs()]
    starts = dict.fromkeys((workspace.shared, c.start_from, c.seed) for c in workspace.profile.runs() if c.start_from)
    workspace.compute_metrics(workers, executor, progress)  # which notes how many processes it had

    def stage(name: str, tasks: Sequence[tuple[Any, ...]], items: int = 1) -> None:
        """Run tasks of so many items each, and tell how many are done."""
        count = counted(staged(name, progress), items * len(tasks))
        run_tasks(_do, tasks, executor=pool, finished=lambda _: count(items))

    def train(name: str, runs: Sequence[tuple[Workspace, str, int]]) -> None:
        """Train all; progress is of epochs, as far as the histories on disk have come."""
        total = sum(home.profile.run(loss, seed).epochs for home, loss, seed in runs)

        def count() -> None:
            if progress is not None:
                progress(name, sum(home.epochs_done(loss, seed) for home, loss, seed in runs), total)

        count()  # so that the bar is there during the first epoch, and begins where the runs go on
        run_tasks(_do, [(home, "train", loss, seed) for home, loss, seed in runs], executor=pool, waiting=count)

    with processes(workers, executor) as pool:
        stage("inputs", [(workspace, "inputs")], len(workspace.problem.table))
        if starts:
            train("epochs of runs to start from", [*starts])
        train("epochs of training", runs)
        evaluations = [(home, "evaluate", loss, seed) for home, loss, seed in runs]
        stage("evaluations", [(workspace, "evaluate_references"), *evaluations])
    results = workspace.compute_results(progress)
    workspace.keep_results(results)
    return results


def _do(workspace: Workspace, stage: str, *run: Any) -> None:
    """Task: a stage of a workspace, which travels to workers who need no list of profiles; the result is on disk."""
    GIVEN[workspace.profile.name] = workspace.name  # messages there call it as the user does
    getattr(workspace, stage)(*run)
