"""The instrument's verb ``match``: sounds in, parameters out, with a table and a report a sound."""

import json
import math
import sys
from collections import Counter
from contextlib import nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnpkit.progress import bars

if TYPE_CHECKING:
    from pnpkit.experiment.matches import MatchConfig
    from pnpkit.synth import Parameter

Synth = Annotated[str, typer.Option("--synth", help="arpeggio, drum, or module:attribute.")]
Variant = Annotated[str | None, typer.Option(help="Of the synthesiser; its headline one by default.")]
Starts = Annotated[
    int, typer.Option(min=1, help="Nearest sounds of the atlas to descend from; half as many more are read off a drum.")
]
Steps = Annotated[int, typer.Option(min=1, help="Of each descent, at most.")]
Finish = Annotated[str, typer.Option(help="phi, or waveform: goes on with the waveform where that explains the sound.")]
WIDE = 0.1  # of a value: a region that is wider is told by its ends
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
        from pnpkit.experiment.match_table import COLUMNS, OF_A_PARAMETER, SCHEMA

        of_each = {f"NAME{end}": f"of each parameter: {meaning}" for end, meaning in OF_A_PARAMETER.items()}
        told = [f"{name}\t{meaning}" for name, meaning in {**COLUMNS, **of_each}.items()]
        print(f"version {SCHEMA}", *told, sep="\n")
        raise typer.Exit
    return wanted


def match_(
    files: Annotated[list[str], typer.Argument(help="Sounds, or folders of them; - is standard input.")],
    synth: Synth = "arpeggio",
    variant: Variant = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of matches.csv, index.html, and a page and a match a sound.")
    ] = None,
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
    """Find the parameters of sounds, with how sure one can be, and whether the synthesiser made them at all.

    Exit code 3 if one or more of several sounds, or of a folder, could not be matched; 1 if the only one could not.
    """
    from pnpkit._files import write_atomically
    from pnpkit.experiment.machine import dask_executor, locked, run_tasks
    from pnpkit.experiment.match_table import Table, columns_of, typed
    from pnpkit.experiment.matches import MatchConfig, sounds_in
    from pnpkit.experiment.precompute.atlases import atlas_config, find_atlas

    pages = None if out is None else _pages()
    if scheduler is not None:  # a worker elsewhere has another working folder
        out, files = out and out.absolute(), [f if f == "-" else str(Path(f).absolute()) for f in files]
    own: Any = nullcontext() if out is None else locked(out, wait=False)
    with bars() as progress, dask_executor(scheduler) as executor, own:
        config = MatchConfig(atlas_config(synth, variant), starts, steps, finish)
        columns_of(config.synth.parameters)  # before any work
        sources = sounds_in(files)
        table = None if out is None else Table(out / "matches.csv", config.synth.parameters)
        todo = [s for s in sources if table is None or not table.done(s, config, pages is not None)]
        if any(s == "-" or Path(s).is_file() for s in todo):
            find_atlas(config.atlas, jobs, progress, executor)  # so that no task builds it
        names = {s: "" if table is None else table.name(s) for s in sources}
        told = Counter({"done before": len(sources) - len(todo)})
        if table is not None:
            table.begin(todo)
            for kept in (row for s in sources if as_json and (row := table.rows.get(table.key(s)))):
                _say(typed(kept), config, as_json)

        def advanced() -> None:
            if progress is not None:
                progress("matching", told.total(), len(sources))

        def ended(row: dict[str, Any]) -> None:
            told["failed" if row["error"] else "done"] += 1
            if table is not None:
                row = table.add(row)
            _say(row, config, as_json)
            advanced()

        advanced()
        tasks = [(s, config, out, names[s], pages is not None) for s in todo]
        alone = jobs == 1 and executor is None
        here = [task for task in tasks if alone or task[0] == "-"]  # standard input is that of this process
        for task in here:
            ended(_matched(*task))
        if others := [task for task in tasks if task not in here]:
            run_tasks(_matched, others, workers=jobs, executor=executor, finished=ended)
        if out is not None and pages is not None:
            rows = map(typed, Table(out / "matches.csv", config.synth.parameters).rows.values())
            index = pages.index(config.synth.parameters, [(row, _page(row, out)) for row in rows])
            write_atomically(out / "index.html", index.encode("utf-8", "replace"))
    if told["done before"]:
        print(f"pnpkit: {told['done before']} of {len(sources)} were matched before: {out}", file=sys.stderr)
    if told["failed"]:
        raise typer.Exit(1 if sources == files[:1] else PARTIAL)


def _pages() -> Any:
    """What writes the pages; None, which is said, where a bare installation lacks what draws on them."""
    try:
        return import_module("pnpkit.figures.report")
    except ModuleNotFoundError as error:
        print(f"pnpkit: no pages are written, but the table and a match a sound: {error}", file=sys.stderr)
        return None


def _matched(source: str, config: "MatchConfig", out: Path | None, name: str, page: bool) -> dict[str, Any]:
    """Task: match one file, leave its report and its answer, give its row; what cannot be read is said there."""
    from pnpkit._files import write_atomically
    from pnpkit.experiment.match_table import failed, row
    from pnpkit.experiment.matches import match_as

    try:
        found, sound = match_as(source, config)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        return failed(source, config, error)
    if out is not None:
        found.save(out / f"{name}.npz")
    if out is not None and page:
        from pnpkit.figures.report import report

        drawn = report(name, sound.told, sound.x, found, config.synth.sample_rate)
        write_atomically(out / f"{name}.html", drawn.encode("utf-8", "replace"))
    return row(source, config, found, sound)


def _page(row: dict[str, Any], out: Path) -> Path | None:
    """Where the page of a row is, if there is one."""
    path = out / f"{row['name']}.html"
    return None if row["error"] or not path.is_file() else path


def _say(row: dict[str, Any], config: "MatchConfig", as_json: bool) -> None:
    """A line a sound."""
    if row["error"]:
        print(f"pnpkit: {row['error']}", file=sys.stderr)
    if as_json:
        print(json.dumps(row, allow_nan=False, ensure_ascii=False), flush=True)
    elif not row["error"]:
        parameters = config.synth.parameters.parameters
        values = ", ".join(_value(p, row) for p in parameters)
        if row["rival_distance"] is not None:
            other = ", ".join(f"{p.name} {row[f'{p.name}_rival']:.4g}" for p in parameters)
            values += f"; a rival at {row['rival_distance']:.3g}: {other}"
        numbers = f"{row['distance']:.3g} where {row['usual']:.3g} is usual, {100 * row['share']:.0f} % explained"
        print(f"{row['file']}: {row['verdict']}: {numbers}; {values}; {row['told']}", flush=True)


def _value(p: "Parameter", row: dict[str, Any]) -> str:
    """A parameter with its unit and its region, to the digits that this leaves it; ω in Hz too."""
    value, low, high = row[p.name], row[f"{p.name}_low"], row[f"{p.name}_high"]
    half = 0.0 if low is None else (high - low) / 2
    digits = max(4, 2 + math.ceil(math.log10(abs(value) / half))) if half and value else 4
    within = ""
    if half:  # one side may be at the end of the range
        within = f" ± {half:.2g}" if half < WIDE * abs(value) else f" ({low:.4g} to {high:.4g})"
    hertz = f" ({value / (2 * math.pi):.{digits}g} Hz)" if p.unit == "rad/s" else ""
    bound = " (at its bound)" if p.at_bound(value) else ""
    return f"{p.name} {value:.{digits}g}{within} {p.unit}".removesuffix(" 1") + hertz + bound
