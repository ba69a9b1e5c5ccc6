"""What a record vouches for: SHA-256 of its own content and of the files it speaks of, checked when they are read.

A record is JSON with one key more, ``sha256``: ``{"files": {name: digest}, "self": digest}``. Its own digest is of its
text with zeros in that digest's place; that of a store's attributes, which zarr writes, is of their content. The digest
of a file is computed once a process, and again if its date or size have changed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

from pnpkit._extras import say_once
from pnpkit.experiment.remedies import remedy

KEY = "sha256"
BLANK = "0" * 64  # in the place of a text's own digest while it is computed
WHOLE, FRESH = 2**20, 8  # bytes; what is smaller is read in one piece, and so many are kept until they are parsed
OPTIONAL = ".safetensors"  # weights are large and not shipped: they may be absent

_State = tuple[str, int, int, int]  # path, date, size, inode
_known: dict[_State, str] = {}
_fresh: dict[_State, bytes] = {}  # what was read to be checked, and is most likely read next
_true: dict[Path, bytes] = {}  # texts of records that were found whole: several readers ask for the same one


class Damaged(ValueError):
    """A file is not what its record says."""


def _state(name: str, file: str | int) -> _State:
    status = os.stat(file)
    return name, status.st_mtime_ns, status.st_size, status.st_ino


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, from memory if this process has read it as it is now."""
    with FileIO(name := str(path)) as file:  # open() does the same, and takes as long as to hash ten thousand bytes
        if (key := _state(name, file.fileno())) not in _known:
            if key[2] > WHOLE:
                sha = hashlib.file_digest(file, "sha256")
            else:
                sha = hashlib.sha256(content := file.read(key[2]))
                _fresh[key] = content
                if len(_fresh) > FRESH:
                    del _fresh[next(iter(_fresh))]
            _known[key] = sha.hexdigest()
    return _known[key]


def content_of(path: Path) -> bytes:
    """What a file holds; read once if it was checked just now, and is as it was then."""
    found = _fresh.pop(_state(name := str(path), name), None)
    if found is None:
        with FileIO(name) as file:
            return file.readall()
    return found


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
    if log := os.environ.get("PNPKIT_READ_LOG"):
        _note(path, log)
    if KEY not in record:
        return record, None
    digests = record[KEY]
    if text is not None and _true.get(path) == text:
        return {k: v for k, v in record.items() if k != KEY}, digests["files"]
    if not isinstance(digests, dict) or digests.keys() != {"files", "self"} or not isinstance(digests["files"], dict):
        raise Damaged(f'{path}: field {KEY} must be {{"files": …, "self": …}}. {remedy(path)}')
    own = str(digests["self"])
    if text is None:
        found = sha256_of_content({**record, KEY: {"files": digests["files"]}})
    else:
        head, _, tail = text.rpartition(own.encode("utf-8", "surrogatepass") or b"\0")
        sha = hashlib.sha256(head)
        sha.update(BLANK.encode() + tail)
        found = sha.hexdigest()
    if found != own:
        raise Damaged(
            f"{path} was changed after it was written: its SHA-256 is {found[:12]}…, not {own[:12]}…. {remedy(path)}"
        )
    if text is not None:
        _true[path] = text
    return {k: v for k, v in record.items() if k != KEY}, digests["files"]


@cache
def _note(path: Path, log: str) -> None:
    """Tell whoever executes a chapter which records it reads."""
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
