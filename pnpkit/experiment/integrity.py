"""What a record vouches for: SHA-256 of its own content and of the files it speaks of, checked when they are read.

    python -m pnpkit.experiment.integrity seal data/laptop data/paper   # give records of before digests theirs
    python -m pnpkit.experiment.integrity check data                    # read everything, name what is damaged

A record is JSON with one key more, ``sha256``: ``{"files": {name: digest}, "self": digest}``. Its own digest is of its
text with zeros in that digest's place; that of a store's attributes, which zarr writes, is of their content. The digest
of a file is computed once a process, and again if its date or size have changed.
"""

import argparse
import hashlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

KEY = "sha256"
BLANK = "0" * 64  # in the place of a text's own digest while it is computed
OPTIONAL = ".safetensors"  # weights are large, computed again in minutes, and not shipped: they may be absent

_known: dict[tuple[str, int, int, int], str] = {}


class Damaged(ValueError):
    """A file is not what its record says."""


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, from memory if this process has read it as it is now."""
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
    if key not in _known:
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def sha256_of_content(content: Any) -> str:
    """SHA-256 of JSON's content, whatever its layout.

    >>> sha256_of_content({"a": 1, "b": 2}) == sha256_of_content({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(content: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """A record with these digests of files, and its own content's."""
    record: dict[str, Any] = {k: v for k, v in content.items() if k != KEY} | {KEY: {"files": dict(files)}}
    record = json.loads(json.dumps(record, allow_nan=False))  # tuples as what they are read as
    record[KEY]["self"] = sha256_of_content(record)
    return record


def sealed_text(content: Mapping[str, Any], folder: Path, names: Iterable[str] = ()) -> str:
    """The text of a record, with the digests of those of the named files of a folder that are there, and its own."""
    files = {name: sha256_of_file(folder / name) for name in sorted(names) if (folder / name).is_file()}
    return sealed_text_with(content, files)


def sealed_text_with(content: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The text of a record with these digests of files, and its own."""
    text = text_of({**content, KEY: {"files": dict(files), "self": BLANK}})
    head, _, tail = text.rpartition(BLANK)
    return head + hashlib.sha256(text.encode()).hexdigest() + tail


def text_of(content: Any) -> str:
    """JSON, sorted and indented, so that differences between versions read well."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def opened(
    record: dict[str, Any], path: Path, text: bytes | None = None
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """A record without its digests, and those of the files; None of a record of before there were any.

    Args:
        record: as read.
        path: of it.
        text: of the whole file; None if the record is but a part of it, and its digest of the content.

    Raises:
        Damaged: if the record is not what its digest says; names the file and what makes it again.
    """
    _note(path)
    if KEY not in record:
        return record, None
    digests = record[KEY]
    if not isinstance(digests, dict) or digests.keys() != {"files", "self"} or not isinstance(digests["files"], dict):
        raise Damaged(f'{path}: field {KEY} must be {{"files": …, "self": …}}. {remedy(path)}')
    own = str(digests["self"])
    if text is None:
        found = sha256_of_content({**record, KEY: {"files": digests["files"]}})
    else:
        head, _, tail = text.rpartition(own.encode("utf-8", "surrogatepass") or b"\0")
        found = hashlib.sha256(head + BLANK.encode() + tail).hexdigest()
    if found != own:
        raise Damaged(
            f"{path} was changed after it was written: its SHA-256 is {found[:12]}…, not {own[:12]}…. {remedy(path)}"
        )
    return {k: v for k, v in record.items() if k != KEY}, digests["files"]


@cache
def _note(path: Path) -> None:
    """Tell whoever executes a chapter which records it reads."""
    if log := os.environ.get("PNPKIT_READ_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{path.absolute()}\n")


def verify_files(path: Path, files: Mapping[str, str] | None, only: Iterable[str] | None = None) -> None:
    """Check files against the record that speaks of them.

    Args:
        path: of the record, beside which they lie.
        files: digests by name; None of an old record, which is said once and believed.
        only: the names to check; all by default.

    Raises:
        Damaged: if one is absent or another; names it, both digests, and what makes it again.
    """
    if files is None:
        say_once(f"{path} holds no digests (it is older than they are): its files are read unchecked")
        return
    for name in files if only is None else [n for n in only if n in files]:
        file = path.parent / name
        try:
            found = sha256_of_file(file)
        except FileNotFoundError:
            if file.suffix == OPTIONAL:
                continue
            raise Damaged(f"{file} is gone, and {path} speaks of it. {remedy(file)}") from None
        if found != files[name]:
            raise Damaged(
                f"{file} is not the file that {path.name} speaks of: its SHA-256 is {found[:12]}…, not "
                f"{files[name][:12]}…. {remedy(file)}"
            )


@cache
def say_once(message: str) -> None:
    """One line to the user, once a process."""
    logging.getLogger("pnpkit").warning("pnpkit: %s", message)


def makes(path: Path, verb: str = "") -> str:
    """How a message says which command makes an artefact that is absent; "" if nobody knows."""
    found = remedy(path).partition("`")[2].partition("`")[0] or (f"pnpkit {verb}" if verb else "")
    return f": `{found}` makes it" if found else ""


def remedy(path: Path) -> str:
    """What to do about a damaged artefact: what to move away, and which command makes it again in that very place."""
    parts = path.absolute().parts
    if path.parent.parent.name == "checkpoint":
        again = remedy(path.parents[2] / "provenance.json").partition("`")[2].partition("`")[0]
        by = f": `{again}`" if again else ": the run"
        return f"Delete {path.parent}{by} then goes on from the checkpoint before it, or from the start"
    for depth in range(len(parts) - 1, 1, -1):
        stage, profile, root = parts[depth], parts[depth - 1], Path(*parts[: depth - 1])
        if stage in ("runs", "evaluation") and len(parts) > depth + 2:
            folder = Path(*parts[: depth + 3]) if len(parts) > depth + 3 else path.parent
            name = f"--loss {parts[depth + 1]} --seed {parts[depth + 2]}"
            if stage == "runs":
                return f"Move {folder} away: `{command(f'train --profile {profile} {name}', root)}` makes it again"
            if len(parts) == depth + 3:  # a reference's folder has no seed below it
                return f"Move {path.parent} away: `{command(f'table --profile {profile}', root)}` makes it again"
            curve = " --curve" if path.name == "curve.json" else ""
            away = path if curve else folder
            verb = command(f"evaluate --profile {profile} {name}{curve}", root)
            return f"Move {away} away: `{verb}` makes it again"
        if stage == "metrics.zarr":
            store = Path(*parts[: depth + 1])
            return f"Move {store} away: `{command(f'metrics --profile {profile}', root)}` makes it again"
        if stage == "results.json":
            return f"Delete it: `{command(f'table --profile {profile}', root)}` makes it again"
        if stage.startswith("features-"):
            return f"Delete it: `{command(f'run --profile {profile}', root)}` makes it again"
    return "Move it away and make it again"


def command(verb: str, root: Path) -> str:
    """A command line that works on this folder of artefacts, with ``--out`` where it is not the default one."""
    from pnpkit.experiment.artefacts import data_root

    elsewhere = root.absolute() != data_root().absolute()
    return f"pnpkit {verb}" + (f" --out {shlex.quote(str(root))}" if elsewhere else "")


# Migration ------------------------------------------------------------------------------------------------------------


def seal_all(folder: Path, again: bool = False) -> list[Path]:
    """Give every record below a folder that has none its digests: what is there now is from then on what is meant.

    Runs come first, then evaluations, then results. No number changes.

    Args:
        folder: of artefacts.
        again: whether to give new ones to those that have some.

    Returns:
        The records that were written.
    """
    from pnpkit.experiment.artefacts import write_record
    from pnpkit.experiment.precompute.metric_store import seal_store

    written = []
    for name, files, _ in _records():
        for path in sorted(folder.rglob(name)):
            content = json.loads(path.read_text(encoding="utf-8"))
            if KEY in content and not again:
                continue
            write_record(path, {k: v for k, v in content.items() if k != KEY}, files(path, content))
            written.append(path)
    stores = [folder] if folder.suffix == ".zarr" else sorted(folder.rglob("metrics.zarr"))
    return written + [store for store in stores if seal_store(store, again)]


def check_all(folder: Path) -> list[str]:
    """What is wrong with the records below a folder, and with the files they speak of."""
    from pnpkit.experiment.artefacts import read_record
    from pnpkit.experiment.precompute.metric_store import verify_store

    def error_of(check: Any, path: Path) -> list[str]:
        try:
            check(path)
        except (ValueError, OSError) as error:
            return [str(error)]
        return []

    found = [
        error
        for name, _, schema in _records()
        for path in sorted(folder.rglob(name))
        for error in error_of(partial(read_record, schema=schema), path)
    ]
    return found + [e for store in sorted(folder.rglob("metrics.zarr")) for e in error_of(verify_store, store)]


def _records() -> list[tuple[str, Any, Any]]:
    """Name, the files it speaks of, and schema of each kind of record."""
    from pnpkit.experiment.evaluation.curve import Curve
    from pnpkit.experiment.evaluation.folder import FILES as ITEMS
    from pnpkit.experiment.evaluation.folder import Summary
    from pnpkit.experiment.results.keep import Results, items_of
    from pnpkit.experiment.training.run_folder import FILES as RUN
    from pnpkit.experiment.training.run_folder import RunProvenance

    return [
        ("provenance.json", lambda path, _: [name for name in RUN if name != path.name], RunProvenance),
        ("summary.json", lambda path, _: ITEMS.values(), Summary),
        ("curve.json", lambda path, _: (), Curve),
        ("results.json", lambda path, content: items_of(path.parent, content), Results),
    ]


def main(argv: list[str] | None = None) -> int:
    """Seal or check folders of artefacts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("verb", choices=("seal", "check"))
    parser.add_argument("--again", action="store_true", help="seal also what is sealed: what is there is what is meant")
    parser.add_argument("folders", nargs="+", type=Path)
    args = parser.parse_args(argv)
    absent = [str(folder) for folder in args.folders if not folder.is_dir()]
    if absent:
        print(f"no such folder: {', '.join(absent)}", file=sys.stderr)
        return 2
    if args.verb == "seal":
        print(f"{sum(len(seal_all(folder, args.again)) for folder in args.folders)} records sealed")
        return 0
    wrong = [line for folder in args.folders for line in check_all(folder)]
    print("\n".join(wrong) or "every record and every file it speaks of is as it was written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
