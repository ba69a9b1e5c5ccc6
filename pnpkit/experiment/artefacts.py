"""How artefacts are keyed, written and read, and what they remember of their making."""

import dataclasses
import hashlib
import io
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pnpkit._files import write_atomically
from pnpkit.experiment.files import read_bytes
from pnpkit.experiment.integrity import opened, sealed_text_with, sha256_of_file, text_of, verify_files
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import Seconds, check, short

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("pnpkit", "numpy", "scipy", "torch", "numba", "kymatio", "timm", "nnaudio", "zarr")  # that make the numbers


class ArtefactMismatch(ValueError):
    """An artefact on disk was made with another configuration than the one asked for."""


def added(default: Any) -> Any:
    """A field that a configuration got after artefacts had been made: at its default it is not part of the hash."""
    return dataclasses.field(default=default, metadata={"added": True})


def config_dict(config: Any) -> dict[str, Any]:
    """A configuration (frozen dataclass or dict) as plain JSON types; without fields :func:`added` later and unused."""
    return json.loads(json.dumps(config, default=_fields))


def _fields(value: Any) -> dict[str, Any]:
    """What :mod:`json` is to write for an object that it does not know: a dataclass, or another mapping than a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    fields = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {f.name: v for f, v in fields.items() if not (f.metadata.get("added") and v == f.default)}


def config_hash(config: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a configuration: the key of its artefacts.

    >>> config_hash({"a": 1, "b": 2.0}) == config_hash({"b": 2.0, "a": 1})
    True
    """
    text = json.dumps(config_dict(config), sort_keys=True, separators=(",", ":"))
    return digest(text.encode())


def digest(content: bytes) -> str:
    """Twelve hexadecimal digits of the SHA-256 of some bytes.

    >>> digest(b"")
    'e3b0c44298fc'
    """
    return hashlib.sha256(content).hexdigest()[:12]


def require_same_config(path: Path, found: dict[str, Any], wanted: Any) -> None:
    """Raise :class:`ArtefactMismatch`, naming both hashes and the fields that differ, unless they are equal."""
    wanted_dict = config_dict(wanted)
    if found == wanted_dict:
        return
    fields = sorted(k for k in found.keys() | wanted_dict.keys() if found.get(k) != wanted_dict.get(k))
    differ = "; ".join(f"{k}: {short(found.get(k))} there, {short(wanted_dict.get(k))} wanted" for k in fields)
    raise ArtefactMismatch(
        f"{path} was made with configuration {config_hash(found)}, not {config_hash(wanted_dict)} ({differ}). "
        "Move it away or choose another --out."
    )


def provenance(config: Any, seconds: float) -> dict[str, Any]:
    """Configuration, its hash, git commit, versions, CPU, torch's threads, date (UTC) and wall time of an artefact."""
    import torch

    return {
        "config": config_dict(config),
        "hash": config_hash(config),
        "commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
    }


PROVENANCE: dict[Any, Any] = {  # what it records; older versions no threads
    "config": dict, "hash": str, "commit": str, "versions": {...: str}, "cpu": str, "date": str, "seconds": Seconds,
    "threads?": Annotated[int, 1],
}  # fmt: skip


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, sorted and indented, so that differences between versions read well."""
    write_atomically(path, text_of(content).encode())


def write_record(path: Path, content: Mapping[str, Any], names: Iterable[str] = ()) -> None:
    """Write JSON with its own digest and those of the named files beside it; see :mod:`.integrity`."""
    files = {name: path.parent / name for name in sorted(names)}
    text = sealed_text_with(content, {name: sha256_of_file(file) for name, file in files.items() if file.is_file()})
    write_atomically(path, text.encode())


def write_csv(path: Path, table: "pd.DataFrame", **options: Any) -> None:
    """Write a table atomically, without its index; options as of :meth:`pandas.DataFrame.to_csv`."""
    write_atomically(path, table.to_csv(index=False, **options).encode())  # pandas takes a ~ of a path for a home


def read_json(path: Path, verb: str = "") -> Any:
    """Read JSON; of a record with digests, the content, after checking that it is what was written.

    Args:
        path: the file.
        verb: of the command line that would have written it, for the message should it be absent.

    Raises:
        FileNotFoundError: if there is no such file; says how to make it.
        ValueError: if it is truncated or was changed; names it.
    """
    return read_with_digests(path, verb)[0]


def read_record(path: Path, schema: Any = dict, verb: str = "", only: Sequence[str] | None = None) -> dict[str, Any]:
    """Read a record, after checking it and the files that it speaks of.

    Args:
        path: the file.
        schema: what its content must fit, as of :func:`pnpkit.experiment.schema.check`.
        verb: as of :func:`read_json`.
        only: names of the files to check; all by default.

    Raises:
        FileNotFoundError: if there is no such file; says how to make it.
        ValueError: if it, or a file it speaks of, is not what was written, or it does not fit; names the file.
    """
    content, files = read_with_digests(path, verb)
    check(content, schema, path)
    if only is None or only:
        verify_files(path, files, only)
    return content


def read_with_digests(path: Path, verb: str = "") -> tuple[Any, dict[str, str] | None]:
    """As :func:`read_json`, with the digests of the files that a record speaks of; None if it has none."""
    text = read_bytes(path, verb)
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): was it truncated? {remedy(path)}") from error
    return opened(content, path, text) if isinstance(content, dict) else (content, None)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read_csv(path: Path, numbers: Iterable[str] = (), **options: Any) -> "pd.DataFrame":
    """Read a table.

    Args:
        path: the file.
        numbers: columns that must be there and hold numbers.
        options: of :func:`pandas.read_csv`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; names the file and the column.
    """
    import pandas as pd

    content = read_bytes(path)
    try:
        table = pd.read_csv(io.BytesIO(content), **options)
    except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
        raise ValueError(f"{path} is no table ({error}). {remedy(path)}") from error
    for name in numbers:
        if name not in table:
            raise ValueError(f"{path}: column {name} is missing. {remedy(path)}")
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_complex_dtype(table[name]):
            raise ValueError(f"{path}: column {name} must hold numbers. {remedy(path)}")
    return table


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _git_commit() -> str:
    """Of the repository that tracks this file; an installed copy may lie in somebody else's, which does not."""

    def git(*command: str) -> str:
        line = ["git", "-C", str(Path(__file__).parent), *command]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=10", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
