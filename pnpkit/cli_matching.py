"""Verbs of the instrument: ``match``, ``transform`` and ``morph``; sounds in, parameters and sounds out."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnpkit._names import require_known
from pnpkit.progress import bars

if TYPE_CHECKING:
    from pnpkit.experiment.matches import MatchConfig
    from pnpkit.matching import Match
    from pnpkit.synth import ParameterSpace

Synth = Annotated[str, typer.Option("--synth", help="arpeggio, drum, or module:attribute.")]
Variant = Annotated[str | None, typer.Option(help="Of the synthesiser; its headline one by default.")]
Starts = Annotated[int, typer.Option(min=1, help="Nearest sounds of the atlas from which a descent begins.")]
Steps = Annotated[int, typer.Option(min=1, help="Of each descent, at most.")]
Finish = Annotated[str, typer.Option(help="phi, or waveform: goes on with the waveform where that explains the sound.")]
LONG = 120  # bytes of a file's name: what is longer leaves no room for what is added to it
PARTIAL = 3  # exit code: some files could not be matched


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (match_, transform, morph_):
        app.command(verb.__name__.rstrip("_"))(verb)

    @app.command("analyse", help="The old name of `match`, which says so.")
    @wraps(match_)
    def analyse(**options: Any) -> None:
        print("pnpkit: `analyse` is `match`", file=sys.stderr)
        match_(**options)


def _print_columns(wanted: bool) -> bool:
    if wanted:
        from pnpkit.experiment.matches import COLUMNS, SCHEMA

        rest = "of each parameter: its value, and the ends of its 95 % region, if there is one"
        told = [f"{name}\t{meaning}" for name, meaning in {**COLUMNS, "NAME, NAME_low, NAME_high": rest}.items()]
        print(f"version {SCHEMA}", *told, sep="\n")
        raise typer.Exit
    return wanted


def match_(
    files: Annotated[list[str], typer.Argument(help="Sounds, or folders of them; - is standard input.")],
    synth: Synth = "arpeggio",
    variant: Variant = None,
    out: Annotated[Path | None, typer.Option(help="Folder of matches.csv, and a report and a match a sound.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, with the columns of the CSV.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler, tcp://host:port, instead.")] = None,
    starts: Starts = 4,
    steps: Steps = 48,
    finish: Finish = "phi",
    columns: Annotated[
        bool, typer.Option("--columns", callback=_print_columns, is_eager=True, help="Say what is in a row.")
    ] = False,
) -> None:
    """Find the parameters of sounds, with how sure one can be, and whether the synthesiser made them at all."""
    from pnpkit.experiment.machine import dask_executor, locked, run_tasks
    from pnpkit.experiment.matches import Table, sounds_in

    if out is not None:
        import_module("pnpkit.figures.report")  # what a bare installation lacks is said before the work
    if scheduler is not None:  # a worker elsewhere has another working folder
        out, files = out and out.absolute(), [f if f == "-" else str(Path(f).absolute()) for f in files]
    own: Any = nullcontext() if out is None else locked(out, wait=False)
    with bars() as progress, dask_executor(scheduler) as executor, own:
        config = _config(synth, variant, starts, steps, finish, jobs, progress, executor)
        sources = sounds_in(files)
        table = None if out is None else Table(out / "matches.csv", config.synth.parameters)
        todo = [s for s in sources if table is None or not table.done(s, config)]
        names = _names([*sources, *(table.rows if table is not None else ())])
        if table is not None:
            table.begin(todo)
        told = Counter({"done before": len(sources) - len(todo)})

        def ended(row: dict[str, Any]) -> None:
            told["failed" if row["error"] else "done"] += 1
            if table is not None:
                table.add(row)
            _say(row, config, as_json)
            if progress is not None:
                progress("matching", told.total(), len(sources))

        tasks = [(s, config, out, names[s]) for s in todo]
        alone = jobs == 1 and executor is None
        for task in tasks:
            if alone or task[0] == "-":  # standard input is that of this process
                ended(_matched(*task))
        if not alone:
            others = [task for task in tasks if task[0] != "-"]
            run_tasks(_matched, others, workers=jobs, executor=executor, finished=ended)
    if told["done before"]:
        print(f"pnpkit: {told['done before']} of {len(sources)} were matched before: {out}", file=sys.stderr)
    if told["failed"]:
        raise typer.Exit(PARTIAL if len(sources) > 1 else 1)


def transform(
    file: Annotated[str, typer.Argument(help="A sound, or a match (.npz) that `pnpkit match --out` has left.")],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write, mono, 16 bits.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, in the parameter's unit.")] = None,
    scale: Annotated[list[str] | None, typer.Option("--scale", help="NAME=FACTOR, after --set.")] = None,
    synth: Synth = "arpeggio",
    variant: Variant = None,
    starts: Starts = 4,
    steps: Steps = 48,
) -> None:
    """Analyse a sound, change its parameters, and synthesise it again, at its level and its place."""
    from pnpkit.audio import save_wav
    from pnpkit.experiment.files import write_atomically
    from pnpkit.matching.placed import Placed

    config = _config(synth, variant, starts, steps, "phi", atlas=False)
    g, space = config.synth, config.synth.parameters
    changes = [(*_change(text, space), k) for k, texts in enumerate((set_, scale)) for text in texts or ()]
    if out.suffix.lower() != ".wav":
        raise ValueError(f"{out} must end in .wav, which is what is written")
    found = _answer(file, config)
    theta = found.theta.clone()
    for i, value, factor in changes:
        theta[i] = theta[i] * value if factor else value
    say_outside(space, theta.tolist())
    world = Placed(g, max(1.0, 2 * abs(found.level)), max(1.0, 2 * abs(found.delay)))
    x = world(theta.new_tensor([*theta.tolist(), found.level, found.delay]))
    peak = float(x.abs().max())
    gain = 1.0 if peak <= 1 else None
    if gain is None:
        print(f"pnpkit: {out} would clip: its peak is brought from {peak:.2f} to 0.9", file=sys.stderr)
    write_atomically(out, lambda path: save_wav(path, x, g.sample_rate, gain))
    for p, before, after in zip(space.parameters, found.theta.tolist(), theta.tolist(), strict=True):
        print(f"{p.name}\t{before:.5g}\t{after:.5g}\t{p.unit}")


def morph_(
    first: Annotated[str, typer.Argument(metavar="A", help="A sound, or a match (.npz).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the sounds, 00.wav on, and of morph.csv.")],
    steps: Annotated[int, typer.Option(min=1, help="Between the two: so many sounds and one.")] = 8,
    synth: Synth = "arpeggio",
    variant: Variant = None,
    starts: Starts = 4,
) -> None:
    """Go from one sound to another in steps that sound equal: along the geodesic of the metric."""
    import pandas as pd

    from pnpkit.audio import common_gain, save_wav
    from pnpkit.experiment.files import write_atomically
    from pnpkit.experiment.precompute.atlases import matching_problem
    from pnpkit.matching import morph

    config = _config(synth, variant, starts, 48, "phi", atlas=False)
    a, b = (_answer(file, config) for file in (first, second))
    problem = matching_problem(config.atlas.grid)
    g = problem.synth
    path = morph(a.theta, b.theta, steps, g=g, phi=problem.phi)
    sounds = list(g(path.theta))
    gain = common_gain(sounds)
    for k, x in enumerate(sounds):
        write_atomically(out / f"{k:02d}.wav", lambda p, x=x: save_wav(p, x, g.sample_rate, gain))  # type: ignore[misc]
    table = pd.DataFrame(path.theta.numpy(), columns=list(g.parameters.names)).rename_axis("step")
    table["length"] = [0.0, *path.lengths.tolist()]
    write_atomically(out / "morph.csv", lambda p: table.to_csv(p))
    print(
        f"{steps} steps of {float(path.lengths.mean()):.3g} in Φ, uneven by {100 * path.unevenness:.1f} %; together "
        f"{float(path.lengths.sum()):.4g}, where the straight line has {float(path.straight_lengths.sum()):.4g}"
        + ("" if path.converged else " (did not converge)")
    )


def say_outside(space: "ParameterSpace", theta: list[float]) -> None:
    """Warn of parameters out of the range of the data set."""
    for p, value in zip(space.parameters, theta, strict=True):
        if not p.low <= value <= p.high:
            print(f"pnpkit: {p.name} = {value:.4g} is out of range: {p.low:g} to {p.high:g} {p.unit}", file=sys.stderr)


def _config(
    synth: str, variant: str | None, starts: int, steps: int, finish: str,
    jobs: int = 1, progress: Any = None, executor: Any = None, atlas: bool = True,
) -> "MatchConfig":  # fmt: skip
    """The options of a match; its atlas is there afterwards, so that no task builds it."""
    from pnpkit.experiment.matches import MatchConfig
    from pnpkit.experiment.precompute.atlases import atlas_config, find_atlas

    require_known("finish", finish, ("phi", "waveform"))
    config = MatchConfig(atlas_config(synth, variant), starts, steps, finish)
    if atlas:
        find_atlas(config.atlas, jobs, progress, executor)
    return config


def _matched(source: str, config: "MatchConfig", out: Path | None, name: str) -> dict[str, Any]:
    """Task: match one file, leave its report and its answer, give its row; what cannot be read is said there."""
    from pnpkit.experiment.files import write_atomically
    from pnpkit.experiment.matches import identity, match_file, row

    try:
        found, sound = match_file(source, config)
    except (ValueError, OSError, RuntimeError) as error:
        return identity(source, config) | {"error": " ".join(str(error).split())}
    if out is not None:
        from pnpkit.figures.report import report

        page = report(name, sound.told, sound.x, found, config.synth.sample_rate).encode("utf-8", "replace")
        write_atomically(out / f"{name}.html", lambda path: path.write_bytes(page))
        write_atomically(out / f"{name}.npz", found.save)
    return row(source, config, found, sound)


def _names(sources: Iterable[str]) -> dict[str, str]:
    """Of the reports: the file's, with a digest of its path where several files have one name, or it is long."""
    from pnpkit.experiment.artefacts import digest

    short = {s: "standard input" if s == "-" else Path(s).name for s in sources}
    count = Counter(name.casefold() for name in short.values())
    plain = {s for s, name in short.items() if count[name.casefold()] == 1 and len(os.fsencode(name)) <= LONG}
    return {s: n if s in plain else f"{n[:30]}-{digest(os.fsencode(os.path.abspath(s)))}" for s, n in short.items()}


def _say(row: dict[str, Any], config: "MatchConfig", as_json: bool) -> None:
    """A line a sound."""
    if row["error"]:
        print(f"pnpkit: {row['error']}", file=sys.stderr)
    if as_json:
        print(json.dumps(row, allow_nan=False, ensure_ascii=False), flush=True)
    elif not row["error"]:
        parameters = config.synth.parameters.parameters
        values = ", ".join(f"{p.name} {row[p.name]:.4g} {p.unit}".removesuffix(" 1") for p in parameters)
        numbers = f"{row['distance']:.3g} where {row['usual']:.3g} is usual, {100 * row['share']:.0f} % explained"
        ended = "" if row["converged"] else " (did not converge)"
        print(f"{row['file']}: {row['verdict']}{ended}: {numbers}; {values}; {row['told']}", flush=True)


def _answer(file: str, config: "MatchConfig") -> "Match":
    """A match that was saved, or that of a sound; its sentence is told."""
    from pnpkit.experiment.matches import match_file
    from pnpkit.experiment.precompute.atlases import find_atlas
    from pnpkit.matching import Match

    if Path(file).suffix == ".npz":
        found = Match.load(Path(file))
    else:
        with bars() as progress:
            find_atlas(config.atlas, progress=progress)
        found = match_file(file, config)[0]
    if found.space != config.synth.parameters:
        raise ValueError(f"{file} is a match with another synthesiser: of {', '.join(found.space.names)}; see --synth")
    print(f"{file}: {found.sentence()}", file=sys.stderr)
    return found


def _change(text: str, space: "ParameterSpace") -> tuple[int, float]:
    """Which parameter, and the number, of NAME=NUMBER."""
    name, _, number = text.partition("=")
    require_known("parameter", name, space.names)
    try:
        return space.names.index(name), float(number)
    except ValueError as error:
        raise ValueError(f"{text!r} must be NAME=NUMBER") from error
