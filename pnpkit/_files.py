"""Files and folders written whole or not at all."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unwritable(OSError):
    """A file that cannot be written; names it and the reason."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary neighbour of ``path``, then move it there in one step, and see it onto the disk.

    A killed process leaves either the old file or the new one, never half of one; nor does a power cut. What processes
    that are dead left half-written in the folder is swept away.

    Raises:
        OSError: if it cannot be written; names it.
    """
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial{path.suffix}")
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        try:
            partial.write_bytes(content)
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A new folder that is filled under another name, and then moved to its own: there whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    with written(folder):
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed here
        partial.mkdir(parents=True)
        try:
            yield partial
            os.replace(partial, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Name what cannot be written: the errors of open files carry no path."""
    try:
        yield
    except Unwritable:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        new = Unwritable(f"{path} cannot be written ({reason}): what it holds is kept; mend that and run again")
        new.errno = error.errno
        raise new from error


def sync(path: Path) -> None:
    """See a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if path.is_file():  # some file systems cannot do it for a folder
            raise
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the half-written files of processes of this machine that are no more."""
    for partial in folder.glob(".*.partial*"):
        name, _, pid = partial.name[: partial.name.rindex(".partial")].rpartition(".")
        ours = name.endswith(f".{platform.node()}") or name.count(".") <= 2  # older names have no machine in them
        if partial.is_file() and pid.isdigit() and ours and _dead(int(pid)):
            partial.unlink(missing_ok=True)


def _dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
