"""The instrument's verb ``match``: sounds in, parameters out, with a table and a report a sound."""

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

Synth = Annotated[str, typer.Option("--synth", help="arpeggio, drum, or module:attribute.")]
Variant = Annotated[str | None, typer.Option(help="Of the synthesiser; its headline one by default.")]
Starts = Annotated[int, typer.Option(min=1, help="Nearest sounds of the atlas from which a descent begins.")]
Steps = Annotated[int, typer.Option(min=1, help="Of each descent, at most.")]
Finish = Annotated[str, typer.Option(help="phi, or waveform: goes on with the waveform where that explains the sound.")]
LONG = 120  # bytes of a file's name: what is longer leaves no room for what is added to it
PARTIAL = 3  # exit code: some files could not be matched


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("match")(match_)

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


def _config(
    synth: str, variant: str | None, starts: int, steps: int, finish: str,
    jobs: int, progress: Any, executor: Any,
) -> "MatchConfig":  # fmt: skip
    """The options of a match; its atlas is there afterwards, so that no task builds it."""
    from pnpkit.experiment.matches import MatchConfig
    from pnpkit.experiment.precompute.atlases import atlas_config, find_atlas

    require_known("finish", finish, ("phi", "waveform"))
    config = MatchConfig(atlas_config(synth, variant), starts, steps, finish)
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
