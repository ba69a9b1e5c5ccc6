"""Verbs of the paper's experiment: from the data set to Table 1, each for a profile and its folder of artefacts."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnpkit._names import Misuse, require_known
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.profiles import PROFILES
from pnpkit.progress import bars

if TYPE_CHECKING:
    from pnpkit.experiment.workspace import Workspace

ProfileName = Annotated[
    str, typer.Option("--profile", help="A recipe; `pnpkit profiles` lists them, my_study.py:STUDY is one of your own.")
]
LossName = Annotated[str, typer.Option("--loss", help=f"One of {', '.join(LOSS_LABELS)}.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of weights, data order and dropout.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of artefacts; data/ or $PNPKIT_DATA by default.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes, of one thread each.")]
Scheduler = Annotated[str | None, typer.Option(help="Dask scheduler, tcp://host:port, instead of processes.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (profiles, dataset, metrics, train, evaluate, table_, run):
        app.command(verb.__name__.rstrip("_"))(verb)


def _opened(profile: str, out: Path | None = None) -> "Workspace":
    from pnpkit.experiment.workspace import Workspace

    return Workspace.open(profile, out)


def profiles() -> None:
    """List the recipes: name, size, losses, seeds, and what each is for."""
    for p in PROFILES.values():
        size = f"{p.grid.n_steps} steps an axis, {p.training.epochs} epochs"
        print(f"{p.name:<20} {p.description} ({size}, {len(p.losses)} losses × {len(p.seeds)} seeds)")


def dataset(
    profile: ProfileName = "laptop", out: Annotated[Path | None, typer.Option(help="CSV to write.")] = None
) -> None:
    """Draw the data set: ids, parameters, folds, as CSV."""
    from pnpkit.experiment.artefacts import write_csv

    frame = _opened(profile).problem.table
    if out is None:
        frame.to_csv(sys.stdout, index=False)
    else:
        write_csv(out, frame)


def metrics(
    profile: ProfileName = "laptop",
    out: Out = None,
    workers: Workers = 2,
    scheduler: Scheduler = None,
    verify: Annotated[int, typer.Option(min=0, help="Recompute so many at random, here, and compare, instead.")] = 0,
    atlas: Annotated[
        int, typer.Option(min=0, help="Make the atlas where matching starts, of every so many-th train sound, instead.")
    ] = 0,
) -> None:
    """Compute the Riemannian metrics that are missing."""
    from pnpkit.experiment.machine import dask_executor
    from pnpkit.experiment.precompute.atlases import AtlasConfig, own_atlas, store_atlas
    from pnpkit.experiment.precompute.metrics import METRIC_TOLERANCE, verify_metrics
    from pnpkit.experiment.remedies import data_root

    if verify and atlas:
        raise Misuse("--verify and --atlas are two commands: each says instead of what metrics does")
    workspace = _opened(profile, out)
    if verify:
        with bars() as progress:
            told = progress and partial(progress, "metrics again")
            worst = verify_metrics(workspace.metrics_path, workspace.metric_config, verify, progress=told)
        total = len(workspace.problem.table)
        print(
            f"{min(verify, total)} of {total} metrics computed again: largest relative difference {worst:.1e}, "
            f"tolerance {METRIC_TOLERANCE:.0e}; all {total} symmetric and positive semi-definite"
        )
        return
    with bars() as progress, dask_executor(scheduler) as executor:
        if atlas:
            grid = workspace.problem.grid
            path = own_atlas(grid, out)
            store_atlas(path, AtlasConfig(grid, atlas), workers, progress, executor)
            elsewhere = out is not None and out.resolve() != data_root().resolve()
            print(f"an atlas at {path}" + (f": match finds it with PNPKIT_DATA={out}" if elsewhere else ""))
            return
        found = workspace.compute_metrics(workers, executor, progress)
    print(f"{len(found.theta)} metrics at {workspace.metrics_path}")


def train(
    loss: LossName,
    profile: ProfileName = "laptop",
    seed: Seed = 0,
    out: Out = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, or delete the run first.")] = True,
    max_hours: Annotated[float | None, typer.Option(help="Stop at the end of the epoch in which time is up.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="On the CPU; another number gives other bits.")] = 1,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for scalars.")] = None,
) -> None:
    """Train one network; continue it if it was interrupted."""
    workspace, options = _opened(profile, out), {"device": device, "threads": threads, "tensorboard": tensorboard}
    with bars() as progress:
        run = workspace.train(loss, seed, progress, resume=resume, max_hours=max_hours, **options)
    print(f"epoch {len(run.history)} of {workspace.run_config(loss, seed).epochs}: {run.folder}")
    if not run.finished:
        raise typer.Exit(3)


def evaluate(
    loss: LossName,
    profile: ProfileName = "laptop",
    seed: Seed = 0,
    out: Out = None,
    curve: Annotated[bool, typer.Option("--curve", help="Mean distances after each epoch, instead.")] = False,
) -> None:
    """Distances and parameter errors of a finished run over the test fold."""
    from pnpkit.experiment.results.tables import summary_table

    workspace = _opened(profile, out)

    def show(found: Any) -> None:  # before it is kept: what is printed is there, whatever becomes of the file
        page = found if curve else summary_table(found.summary, workspace.problem.space)
        print(page.to_string(index=not curve), flush=True)

    with bars() as progress:
        (workspace.curve if curve else workspace.evaluate)(loss, seed, progress, show=show)


def table_(
    profile: ProfileName = "laptop",
    out: Out = None,
    form: Annotated[str, typer.Option(help="markdown, html or latex.")] = "markdown",
    seed: Annotated[list[int] | None, typer.Option(help="Only of this seed, and others given alike; not kept.")] = None,
    fewer: Annotated[bool, typer.Option("--fewer", help="Keep it though the one there is of more runs.")] = False,
) -> None:
    """Evaluate what is finished, print Table 1 with its verdicts, and keep it as results.json."""
    from pnpkit.experiment.results.tables import FORMS, claim_table, render, table

    require_known("form", form, FORMS)
    workspace = _opened(profile, out)
    with bars() as progress:
        results = workspace.compute_results(progress, seed or None)
    print(render(table(results), form))
    if results["claims"]["last"]:
        print(render(claim_table(results), form))
    if not seed:
        sys.stdout.flush()  # what is printed is there, whatever becomes of the file
        workspace.keep_results(results, fewer)


def run(profile: ProfileName = "laptop", out: Out = None, workers: Workers = 2, scheduler: Scheduler = None) -> None:
    """Everything a profile asks for, from metrics to the table."""
    from pnpkit.experiment.machine import dask_executor
    from pnpkit.experiment.pipeline import run_profile
    from pnpkit.experiment.results.tables import render, table

    with bars() as progress, dask_executor(scheduler) as executor:
        results = run_profile(profile, workers, progress, out, executor)
    print(render(table(results), "markdown"))
