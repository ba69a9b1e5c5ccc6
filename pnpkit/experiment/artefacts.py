"""Where artefacts live, how they are keyed, and what they remember of their making."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("pnpkit", "numpy", "scipy", "torch", "numba", "kymatio", "timm", "nnaudio", "zarr")  # that make the numbers


class ArtefactMismatch(ValueError):
    """An artefact on disk was made with another configuration than the one asked for."""


def shipped() -> Path:
    """What the book ships: ``$PNPKIT_SHIPPED``, else the nearest ``data/`` with the paper's runs, from here upwards.

    Where there is none, ``data/`` of the working folder.
    """
    if "PNPKIT_SHIPPED" in os.environ:
        return Path(os.environ["PNPKIT_SHIPPED"])
    folders = (folder / "data" for folder in (Path.cwd(), *Path.cwd().parents))
    return next((folder for folder in folders if (folder / "paper" / "runs").is_dir()), Path("data"))


SHIPPED = shipped()


def data_root() -> Path:
    """Folder of artefacts: ``$PNPKIT_DATA``, else :func:`shipped`."""
    return Path(os.environ["PNPKIT_DATA"]) if "PNPKIT_DATA" in os.environ else shipped()


def added(default: Any) -> Any:
    """A field that a configuration got after artefacts had been made: at its default it is not part of the hash."""
    return dataclasses.field(default=default, metadata={"added": True})


def config_dict(config: Any) -> dict[str, Any]:
    """A configuration (frozen dataclass or dict) as plain JSON types; without fields :func:`added` later and unused."""
    return json.loads(json.dumps(_plain(config)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {f.name: _plain(v) for f, v in fields.items() if not (f.metadata.get("added") and v == f.default)}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


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
    differ = "; ".join(f"{k}: {found.get(k)!r} there, {wanted_dict.get(k)!r} wanted" for k in fields)
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


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then move it there in one step.

    A killed process leaves either the old file or the new one, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, sorted and indented, so that differences between versions read well."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def read_json(path: Path, verb: str = "") -> Any:
    """Read JSON.

    Args:
        path: the file.
        verb: of the command line that would have written it, for the message should it be absent.

    Raises:
        FileNotFoundError: if there is no such file; says how to make it.
        ValueError: if it is truncated; names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = f": `pnpkit {verb}` makes it" if verb else ""
        raise FileNotFoundError(f"{path} is not there{remedy}") from error
    except json.JSONDecodeError as error:
        message = f"{path} is not valid JSON ({error}): was it truncated? Delete it to compute it again."
        raise ValueError(message) from error


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
