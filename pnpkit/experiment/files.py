"""Files read whole, with errors that say what to do, and folders that cannot be written to."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pnpkit._extras import say_once
from pnpkit.experiment.integrity import content_of
from pnpkit.experiment.remedies import makes, remedy

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


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


@contextmanager
def unless_read_only(said: str) -> Iterator[None]:
    """Leave a folder that cannot be written to as it is, and say so."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        say_once(said)
