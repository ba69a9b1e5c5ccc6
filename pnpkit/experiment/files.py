"""Files read whole, with errors that say what to do, and written whole or not at all."""

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pnpkit.experiment.integrity import content_of, say_once
from pnpkit.experiment.remedies import makes, remedy

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Unwritable(OSError):
    """A file that cannot be written; names it and the reason."""


def read_bytes(path: Path, verb: str = "") -> bytes:
    """The content of a file.

    Args:
        path: the file.
        verb: of the command line that would have written it, for the message should it be absent.

    Raises:
        FileNotFoundError: if there is no such file; says how to make it.
        PermissionError: if it cannot be read; names it.
        ValueError: if it is a folder.
    """
    try:
        return content_of(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is not there{makes(path, verb)}") from error
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be read ({error.strerror}): mend its permissions") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder. {remedy(path)}") from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then move it there in one step, and see it onto the disk.

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
            write(partial)
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


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


@contextmanager
def unless_read_only(said: str) -> Iterator[None]:
    """Leave a folder that cannot be written to as it is, and say so."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        say_once(said)


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
