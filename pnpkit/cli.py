"""The command line: ``pnpkit VERB``. It parses, calls the library, and turns errors into one line and an exit code."""

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pnpkit import __version__
from pnpkit._names import UnknownName
from pnpkit.cli_matching import register, say_outside
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.profiles import PROFILES
from pnpkit.progress import bars

# Each verb imports what it needs when it runs: torch and timm take seconds that `--help` has no use for.

ERRORS = (ValueError, OSError, RuntimeError, FloatingPointError, ImportError)
REPORT = "https://github.com/pnpkit/pnpkit/issues"
TRACEBACK = "--traceback"
INTERRUPTED, STOPPED = 130, "interrupted: what is done is kept, the same command goes on"


class _Verbs(TyperGroup):
    """A group that answers an unknown verb with the list of valid ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            verbs = ", ".join(sorted(self.commands))
            near = difflib.get_close_matches(args[0], self.commands, 1)
            meant = f", did you mean {near[0]!r}?" if near else ";"
            print(f"pnpkit: unknown verb {args[0]!r}{meant} valid verbs: {verbs}", file=sys.stderr)
            raise typer.Exit(2)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Verbs, no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

ProfileName = Annotated[
    str, typer.Option("--profile", help="A recipe; `pnpkit profiles` lists them, my_study.py:STUDY is one of your own.")
]
LossName = Annotated[str, typer.Option("--loss", help=f"One of {', '.join(LOSS_LABELS)}.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of weights, data order and dropout.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of artefacts; data/ or $PNPKIT_DATA by default.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes, of one thread each.")]
Scheduler = Annotated[str | None, typer.Option(help="Dask scheduler, tcp://host:port, instead of processes.")]


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Perceptual–neural–physical sound matching."""


@app.command()
def profiles() -> None:
    """List the recipes: name, size, losses, seeds, and what each is for."""
    for p in PROFILES.values():
        size = (
            f"{p.grid.n_steps} steps an axis, {p.training.epochs} epochs, {len(p.losses)} losses × {len(p.seeds)} seeds"
        )
        print(f"{p.name:<20} {p.description} ({size})")


@app.command()
def dataset(
    profile: ProfileName = "laptop", out: Annotated[Path | None, typer.Option(help="CSV to write.")] = None
) -> None:
    """Draw the data set: ids, parameters, folds, as CSV."""
    from pnpkit.experiment.artefacts import write_atomically
    from pnpkit.experiment.workspace import Workspace

    frame = Workspace.open(profile).problem.table
    if out is None:
        frame.to_csv(sys.stdout, index=False)
    else:
        write_atomically(out, lambda path: frame.to_csv(path, index=False))


@app.command()
def metrics(
    profile: ProfileName = "laptop",
    out: Out = None,
    workers: Workers = 2,
    scheduler: Scheduler = None,
    verify: Annotated[int, typer.Option(min=0, help="Recompute so many at random and compare, instead.")] = 0,
) -> None:
    """Compute the Riemannian metrics that are missing."""
    from pnpkit.experiment.machine import dask_executor
    from pnpkit.experiment.precompute.metrics import METRIC_TOLERANCE, verify_metrics
    from pnpkit.experiment.workspace import Workspace

    workspace = Workspace.open(profile, out)
    if verify:
        worst = verify_metrics(workspace.metrics_path, workspace.metric_config, verify)
        total = len(workspace.problem.table)
        print(
            f"{min(verify, total)} of {total} metrics computed again: largest relative difference {worst:.1e}, "
            f"tolerance {METRIC_TOLERANCE:.0e}; all {total} symmetric and positive semi-definite"
        )
        return
    with bars() as progress, dask_executor(scheduler) as executor:
        found = workspace.compute_metrics(workers, executor, progress)
    print(f"{len(found.theta)} metrics at {workspace.metrics_path}")


@app.command()
def train(
    loss: LossName,
    profile: ProfileName = "laptop",
    seed: Seed = 0,
    out: Out = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = True,
    max_hours: Annotated[float | None, typer.Option(help="Stop at the end of the epoch in which time is up.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="On the CPU; another number gives other bits.")] = 1,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for scalars.")] = None,
) -> None:
    """Train one network; continue it if it was interrupted."""
    from pnpkit.experiment.workspace import Workspace

    workspace = Workspace.open(profile, out)
    options = {"resume": resume, "max_hours": max_hours, "tensorboard": tensorboard}
    with bars() as progress:
        run = workspace.train(loss, seed, progress, device=device, threads=threads, **options)
    print(f"epoch {len(run.history)} of {workspace.profile.run(loss, seed).epochs}: {run.folder}")
    if not run.finished:
        raise typer.Exit(3)


@app.command()
def evaluate(
    loss: LossName,
    profile: ProfileName = "laptop",
    seed: Seed = 0,
    out: Out = None,
    curve: Annotated[bool, typer.Option("--curve", help="Mean distances after each epoch, instead.")] = False,
) -> None:
    """Distances and parameter errors of a finished run over the test fold."""
    from pnpkit.experiment.results.tables import summary_table
    from pnpkit.experiment.workspace import Workspace

    workspace = Workspace.open(profile, out)
    with bars() as progress:
        if curve:
            print(workspace.curve(loss, seed, progress).to_string(index=False))
        else:
            print(summary_table(workspace.evaluate(loss, seed, progress).summary, workspace.problem.space).to_string())


@app.command("table")
def table_(
    profile: ProfileName = "laptop",
    out: Out = None,
    form: Annotated[str, typer.Option(help="markdown, html or latex.")] = "markdown",
    seed: Annotated[list[int] | None, typer.Option(help="Only of this seed, and others given alike; not kept.")] = None,
    fewer: Annotated[bool, typer.Option("--fewer", help="Keep it though the one there is of more runs.")] = False,
) -> None:
    """Evaluate what is finished, print Table 1 with its verdicts, and keep it as results.json."""
    from pnpkit.experiment.results.tables import check_form, claim_table, render, table
    from pnpkit.experiment.workspace import Workspace

    check_form(form)
    workspace = Workspace.open(profile, out)
    with bars() as progress:
        results = workspace.compute_results(progress, seed or None)
    print(render(table(results), form))  # type: ignore[arg-type]
    if results["claims"]["last"]:
        print(render(claim_table(results), form))  # type: ignore[arg-type]
    if not seed:
        sys.stdout.flush()  # what is printed is there, whatever becomes of the file
        workspace.keep_results(results, fewer)


@app.command()
def run(profile: ProfileName = "laptop", out: Out = None, workers: Workers = 2, scheduler: Scheduler = None) -> None:
    """Everything a profile asks for, from metrics to the table."""
    from pnpkit.experiment.machine import dask_executor
    from pnpkit.experiment.pipeline import run_profile
    from pnpkit.experiment.results.tables import render, table

    with bars() as progress, dask_executor(scheduler) as executor:
        results = run_profile(profile, workers, progress, out, executor)
    print(render(table(results), "markdown"))


@app.command(context_settings={"ignore_unknown_options": True})  # so that −1.7 is a number and no option
def synth(
    theta: Annotated[
        list[float],
        typer.Argument(
            help="Parameters in raw units. Arpeggio: f_c (Hz), f_m (Hz), gamma (octave/s). Drum: omega (rad/s), "
            "tau (s), p, D, alpha. One out of the range of the data set is said to be."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write, mono, 16 bits, its peak at 0.9.")],
    name: Annotated[str, typer.Option("--synth", help="arpeggio, drum, or module:attribute.")] = "arpeggio",
    variant: Annotated[
        str | None, typer.Option(help="arpeggio: code, or paper (Eqs 6–8 as printed); drum: all modes, or diagonal.")
    ] = None,
) -> None:
    """Synthesise one sound."""
    import torch

    from pnpkit.audio import wav_bytes
    from pnpkit.experiment.artefacts import write_atomically
    from pnpkit.experiment.config import GridConfig
    from pnpkit.experiment.problem import get_problem
    from pnpkit.experiment.systems import get_system

    g = get_problem(GridConfig(name, variant or next(iter(get_system(name).variants)))).synth
    if out.suffix.lower() != ".wav":
        raise ValueError(f"{out} must end in .wav, which is what is written")
    sound = g(torch.tensor(theta, dtype=torch.float64))
    say_outside(g.parameters, theta)
    content = wav_bytes(sound, g.sample_rate)
    write_atomically(out, lambda path: path.write_bytes(content))


@app.command()
def analyse(
    wav: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Mono sound, of the length and rate of the run's synthesiser, at a level like its sounds'.",
        ),
    ],
    run: Annotated[
        Path, typer.Option("--run", help="Folder of a finished run with weights: data/laptop/runs/pnp-mean/0 has them.")
    ],
) -> None:
    """Estimate the parameters of a sound with a trained network alone; `pnpkit match` is the tool."""
    import soundfile
    import torch

    from pnpkit.experiment.evaluation.estimation import estimate
    from pnpkit.experiment.problem import get_problem
    from pnpkit.experiment.training.run_folder import read_config

    if not wav.is_file():
        raise ValueError(f"{wav} is no regular file")
    header = soundfile.info(wav)  # what it says is checked before anything is read: a sound may last ten hours
    if header.channels > 1:
        raise ValueError(f"{wav} has {header.channels} channels: it must be mono")
    g = get_problem(read_config(run).grid).synth
    space, samples, rate = g.parameters, header.frames, header.samplerate
    if (samples, rate) == (g.n_samples, g.sample_rate):
        x, rate = soundfile.read(wav, dtype="float32")
        samples = len(x)
    if (samples, rate) != (g.n_samples, g.sample_rate):
        raise ValueError(
            f"{wav}: the run is of sounds of {g.n_samples} samples at {g.sample_rate} Hz, not {samples} at {rate} Hz"
        )
    theta = estimate(torch.from_numpy(x), rate, run).tolist()
    for parameter, value in zip(space.parameters, theta, strict=True):
        print(f"{parameter.name}\t{value:.4g}\t{parameter.unit}")
    say_outside(space, theta)
    print("pnpkit: `pnpkit match` takes any sound, and says how sure it is", file=sys.stderr)


register(app)


def main() -> None:
    """Entry point: misuse and unknown names exit with 2, unfinished work with 3, other failures with 1 and one line."""
    # Torch's threads wait actively for their next loop, on the cores that the loops of numba need meanwhile: a training
    # step on two threads took a sixth longer. Read when torch is loaded, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Greek must not end a verb after its work
    arguments = [argument for argument in sys.argv[1:] if argument != TRACEBACK]
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer's own answer to Ctrl-C
            print(f"pnpkit: {STOPPED}", file=sys.stderr)
        raise
    except BrokenPipeError:  # `pnpkit dataset | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if TRACEBACK in sys.argv:
            raise
        code, said = _told(error)
        if said:
            print(f"pnpkit: {said}", file=sys.stderr)
        sys.exit(code)


def _told(error: BaseException) -> tuple[int, str]:
    """Exit code of an error, and one line for it."""
    line = "; ".join(part.strip() for part in str(error).splitlines() if part.strip())
    if hasattr(error, "format_message"):  # click's: misuse, by its message
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 2, ""
        return 2, _misuse(" ".join(error.format_message().split()))
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED, STOPPED
    if isinstance(error, MemoryError) or "not enough memory" in line or "can't allocate memory" in line:
        return 1, "there is not enough memory: fewer --workers, and run again; what is done is kept"
    if type(error).__name__ == "BrokenProcessPool":
        return 1, (
            "a worker was ended from outside, most likely because memory ran out: run again with fewer --workers; what "
            "is done is kept"
        )
    if isinstance(error, ERRORS) and line:
        return 2 if isinstance(error, UnknownName) else 1, line
    return 1, f"{type(error).__name__}: {line or 'no message'}. This is our fault: {REPORT} (details: {TRACEBACK})"


def _misuse(said: str) -> str:
    """Click's message, with the option that a stray argument was meant for."""
    if "unexpected extra argument" in said:
        stray = said.rstrip(")").rpartition("(")[2].split()[0]
        option = (
            "--profile"
            if stray in PROFILES
            else "--loss"
            if stray in LOSS_LABELS
            else "--seed"
            if stray.isdigit()
            else ""
        )
        said += f": did you mean {option} {stray}?" if option else ""
    return said


if __name__ == "__main__":
    main()
