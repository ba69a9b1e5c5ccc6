"""A study: items measured one after the other, what is done kept after each, and a sealed record of how many there are.

Items come in an order of which every beginning is spread evenly over all of them, so that a study that was stopped is
a smaller study, and one that goes on the same study with more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import PROVENANCE, read_csv, read_record
from pnpkit.experiment.counting import Progress, slices
from pnpkit.experiment.machine import run_tasks
from pnpkit.experiment.schema import Natural

RECORD, ROWS = "study.json", "rows.csv"


# What the record holds: the configuration, how many of how many items, and how each session made its part
STUDY = {"config": dict, "made": [PROVENANCE], "items": Natural, "of": Annotated[int, 1]}


@dataclass(frozen=True)
class Study:
    """What is measured of what.

    Args:
        name: of its folder.
        config: all that changes a number.
        items: numbers or names, from which ``measure`` knows what to do.
        measure: item → rows, a picklable function; each gets the item, ``cpu`` (s, shared by its rows), ``error``.
    """

    name: str
    config: dict[str, Any]
    items: Sequence[Any]
    measure: Callable[[Any], list[dict[str, Any]]]


def unfinished(here: Path, study: Study) -> Path:
    """The rows so far, in a file of the configuration's own: no record speaks of them yet."""
    return here / f"rows-{artefacts.config_hash(study.config)}.partial.csv"


def spread(items: Sequence[Any]) -> list[Any]:
    """The items in an order of which every beginning is spread evenly over them (van der Corput's).

    >>> spread("abcdefgh")
    ['a', 'e', 'c', 'g', 'b', 'f', 'd', 'h']
    """
    bits = max(1, (len(items) - 1).bit_length())
    return [items[i] for i in sorted(range(len(items)), key=lambda i: f"{i:0{bits}b}"[::-1])]


def pursue(
    study: Study,
    folder: Path,
    count: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    progress: Progress = None,
) -> pd.DataFrame:
    """Measure the first so many items that are not measured yet, and keep the rows in ``folder/name``.

    Args:
        study: which.
        folder: of studies.
        count: of items, all by default.
        minutes: after which no item is begun; none by default. With several workers, no task is handed out.
        workers: processes; with one, this process.
        progress: called with the study's name, how many items are done, and how many will be.

    Raises:
        ArtefactMismatch: if the folder holds a study of other configuration; names both hashes.
    """
    here, began = folder / study.name, time.monotonic()
    so_far = unfinished(here, study)
    rows, made = _kept(here, study)
    wanted = spread(study.items)[:count]
    done = set() if rows.empty else set(rows.item)
    todo = [item for item in wanted if item not in done]
    first = artefacts.provenance(study.config, 0.0)

    def finished(new: list[dict[str, Any]]) -> None:
        nonlocal rows
        rows = pd.concat([rows, pd.DataFrame(new)], ignore_index=True)
        _write(so_far, rows)
        if progress is not None:
            progress(study.name, rows.item.nunique(), len(done) + len(todo))

    try:
        # Each alone for one process; many together for several, which take seconds to start
        for some in slices(len(todo), 1 if workers == 1 else 64 * workers):
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                break
            if workers == 1:
                finished(_measured(study.measure, *todo[some]))
            else:
                run_tasks(_measured, [(study.measure, i) for i in todo[some]], workers=workers, finished=finished)
    finally:
        if so_far.is_file():
            rows = rows.sort_values("item", kind="stable", ignore_index=True)
            _write(here / ROWS, rows)
            made = [*made, first | {"seconds": round(time.monotonic() - began, 1)}]
            record = {"config": first["config"], "made": made, "items": rows.item.nunique(), "of": len(study.items)}
            artefacts.write_record(here / RECORD, record, [ROWS])
            so_far.unlink()
    return rows


def read_study(folder: Path) -> pd.DataFrame:
    """The rows of a study, after checking them against its record.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a file is not what was written; names it.
    """
    study_record(folder)
    return read_csv(folder / ROWS)


def study_record(folder: Path) -> dict[str, Any]:
    """The record of a study, as ``STUDY`` has it; the errors are those of :func:`read_study`."""
    return read_record(folder / RECORD, STUDY)


def _kept(here: Path, study: Study) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Rows and provenances that there are; of a process that was killed, rows alone."""
    made: list[dict[str, Any]] = []
    rows = pd.DataFrame()
    if (here / RECORD).is_file():
        record = study_record(here)
        artefacts.require_same_config(here, record["config"], study.config)
        rows, made = read_csv(here / ROWS), record["made"]
    if (so_far := unfinished(here, study)).is_file():
        rows = read_csv(so_far)
    return rows, made


def _measured(measure: Callable[[Any], list[dict[str, Any]]], item: Any) -> list[dict[str, Any]]:
    """Task: the rows of an item; one that cannot be measured is a row that says why, and counts."""
    began = time.process_time()
    try:
        rows = measure(item)
    except ValueError as error:
        rows = [{"error": " ".join(str(error).split())}]
    cpu = time.process_time() - began  # of a thread that others do not slow
    return [{"item": item, "error": None, "cpu": cpu / len(rows), **row} for row in rows]


def _write(path: Path, rows: pd.DataFrame) -> None:
    artefacts.write_csv(path, rows, float_format="%.6g")
