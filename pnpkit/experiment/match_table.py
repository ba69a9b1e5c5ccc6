"""The table of matches: a row a sound, there as soon as it is matched, whatever becomes of the next."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pnpkit._files import write_atomically, written
from pnpkit.experiment.artefacts import config_hash, digest
from pnpkit.experiment.integrity import sha256_of_file
from pnpkit.experiment.matches import STDIN, MatchConfig
from pnpkit.matching import Match
from pnpkit.matching.match import TAKEN
from pnpkit.matching.recording import Fitted
from pnpkit.synth import ParameterSpace

SCHEMA = 3  # of a row: another number for other columns, or the same with another meaning
LONG = 120  # bytes of a file's name: what is longer leaves no room for what is added to it
# Of a row, before the parameters, each of which has four more
COLUMNS = {
    "schema": "version of these columns",
    "file": "as it was given, or as found in the folder given",
    "path": "to it from the folder of the table, if there is one: a row a path",
    "name": "of its page and its match beside the table, without .html and .npz",
    "digest": "of its bytes: a row whose file has another one is made again",
    "options": "hash of all options that change a result",
    "error": "one line if it could not be matched; the rest is empty then",
    "verdict": "made by it, near it, or not made by it; with `, not converged` behind it, no answer yet",
    "converged": "whether the descent ended by its own criterion",
    "distance": "in units of Φ, between the sound and its resynthesis",
    "usual": "what an in-model sound in that noise would leave",
    "share": "of the norm of Φ explained",
    "rival_distance": "of another answer nearly as near, if a descent found one before the sound was explained",
    "level": "dB above the synthesiser's own",
    "delay": "s behind where the synthesiser's sounds begin",
    "noise": "standard deviation, full scale at 1",
    "finish": "phi or waveform: what was fitted last",
    "onset": "s into the file at which what was matched begins",
    "left": "later onsets that were not matched",
    "told": "what was done to fit the file to the synthesiser",
    "jacobians": "taken, over all starts",
    "seconds": "it took",
}
OF_A_PARAMETER = {"": "its value", "_low": "lower end of its 95 % region, if there is one", "_high": "upper end of it"}
OF_A_PARAMETER |= {"_rival": "its value in the rival answer, if there is one"}
TEXTS = {"file", "path", "name", "digest", "options", "error", "verdict", "finish", "told"}


def columns_of(space: ParameterSpace) -> list[str]:
    """Of a row, in their order; ``ValueError`` if a parameter is called like one of them."""
    own = [f"{name}{end}" for name in space.names for end in OF_A_PARAMETER]
    if twice := sorted({name for name in own if name in {*COLUMNS, *TAKEN} or own.count(name) > 1}):
        raise ValueError(
            f"a parameter may not be called like a column of the matches or of their history, {', '.join(twice)}: "
            f"those of `pnpkit match --columns` and {', '.join(sorted(TAKEN))} are taken"
        )
    return [*COLUMNS, *own]


def row(source: str, config: MatchConfig, found: Match, sound: Fitted) -> dict[str, Any]:
    """An answer as a row."""
    numbers = {name: getattr(found, name) for name in ("converged", "distance", "usual", "share", "level", "delay")}
    numbers |= {name: getattr(found, name) for name in ("noise", "finish", "jacobians", "seconds")}
    numbers |= {"onset": sound.onset, "left": sound.left, "told": sound.told}
    numbers["verdict"] = found.verdict + ("" if found.converged else ", not converged")
    values = [found.theta, *((None, None) if found.region is None else found.region.interval()), found.rival]
    for end, of_all in zip(OF_A_PARAMETER, values, strict=True):
        if of_all is not None:
            numbers |= {f"{name}{end}": v for name, v in zip(found.space.names, of_all.tolist(), strict=True)}
    if found.rival is not None:
        numbers["rival_distance"] = found.rival_distance
    return _blank(source, config) | numbers


def failed(source: str, config: MatchConfig, error: BaseException) -> dict[str, Any]:
    """A row of what could not be matched; its error names it."""
    said = " ".join(str(error).split()) or "there is not enough memory"
    name = STDIN if source == "-" else source
    return _blank(source, config) | {"error": said if name in said else f"{name}: {said}"}


def _blank(source: str, config: MatchConfig) -> dict[str, Any]:
    return dict.fromkeys(columns_of(config.synth.parameters)) | identity(source, config)


def typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row read from a file as it was before it was written."""
    return {k: None if v == "" else v if k in TEXTS else json.loads(v.lower()) for k, v in row.items()}


def identity(source: str, config: MatchConfig) -> dict[str, Any]:
    """What a row is of."""
    own = None
    if source != "-" and Path(source).is_file():
        with suppress(OSError):  # what cannot be read is said by who reads it
            own = sha256_of_file(Path(source))[:12]
    return {"schema": SCHEMA, "file": source, "digest": own, "options": config_hash(config)}


class Table:
    """A CSV file of rows, appended to as they come; one that was cut off in the middle of a row is mended.

    A row is of a path, whatever the file was called by, and keeps the name of its page.

    Args:
        path: of the file.
        space: of the parameters.

    Raises:
        ValueError: if the file has other columns.
    """

    def __init__(self, path: Path, space: ParameterSpace) -> None:
        self.path, self.columns = path, columns_of(space)
        self.rows: dict[str, dict[str, str]] = {}
        if path.is_file():
            whole = path.read_text("utf-8", "surrogateescape").rpartition("\n")[0]
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            if reader.fieldnames != self.columns:
                raise ValueError(
                    f"{path} has other columns than a match with this synthesiser and pnpkit: choose another --out"
                )
            # A row of more or fewer fields, or whose page would be in another folder, is damaged: it is matched again
            whole_rows = [r for r in reader if None not in (*r, *r.values())]
            self.rows = {r["path"]: r for r in whole_rows if os.path.basename(r["name"]) == r["name"] != ""}
        self.names = {path: r["name"] for path, r in self.rows.items()}

    def key(self, source: str) -> str:
        """The path of a file, from the table."""
        return "-" if source == "-" else os.path.relpath(os.path.realpath(source), os.path.realpath(self.path.parent))

    def name(self, source: str) -> str:
        """Of a file's page: that of the file, with a digest of its path where another has it, or it is long."""
        if (key := self.key(source)) not in self.names:
            name = STDIN if source == "-" else Path(source).name
            taken = {"index", *(other.casefold() for other in self.names.values())}  # index.html is a page already
            plain = name.casefold() not in taken and len(os.fsencode(name)) <= LONG
            self.names[key] = name if plain else f"{name[:30]}-{digest(os.fsencode(key))}"
        return self.names[key]

    def done(self, source: str, config: MatchConfig, page: bool = False) -> bool:
        """Whether there is a row of this very file, by the same options, that is no error, and what goes with it."""
        old, now = self.rows.get(self.key(source)), identity(source, config)
        if old is None or old["error"] or any(old[k] != str(v) for k, v in now.items() if k != "file"):
            return False
        return all((self.path.parent / f"{old['name']}{end}").is_file() for end in (".npz", ".html")[: 1 + page])

    def begin(self, again: Iterable[str]) -> None:
        """Write the rows that stay."""
        for source in again:
            self.rows.pop(self.key(source), None)
        write_atomically(self.path, self._text(self.rows.values(), header=True).encode("utf-8", "surrogateescape"))

    def add(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """One row more, at once on its way to the disk; with what the table says of it."""
        new = {**new, "path": self.key(new["file"]), "name": self.name(new["file"])}
        with written(self.path), self.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(self._text([new]))
        return new

    def _text(self, rows: Iterable[Mapping[str, Any]], header: bool = False) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()
