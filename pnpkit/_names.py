"""Names that users give, such as a profile's or a loss's: one check, one message."""

import importlib
import sys
from collections.abc import Collection, Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

FOLDERS: list[str] = []  # where users' own files were looked for: processes elsewhere need them too


class Misuse(ValueError):
    """An argument that no input could make right: the command line exits with 2 for it."""


class UnknownName(Misuse):
    """A name that is none of the valid ones."""


def require_known(what: str, name: str, valid: Collection[str]) -> None:
    """Raise :class:`UnknownName`, listing the valid names, unless a name is one of them.

    >>> require_known("head", "relu", ["leaky_relu", "tanh"])
    Traceback (most recent call last):
    pnpkit._names.UnknownName: unknown head 'relu'; valid ones: leaky_relu, tanh
    """
    if name not in valid:
        raise UnknownName(f"unknown {what} {name!r}; valid ones: {', '.join(valid)}")


def make_importable(folders: Iterable[str]) -> None:
    """Let modules of these folders be imported; those that come before on Python's path hide others of their name."""
    for folder in folders:
        sys.path += [folder] if folder not in sys.path else []
        FOLDERS.extend([folder] if folder not in FOLDERS else [])


def load_object(what: str, name: str) -> Any:
    """The object that ``module:attribute`` names, or ``file.py:attribute``; modules may lie in the working folder.

    Raises:
        UnknownName: if it does not import or has no such attribute; says why.

    >>> load_object("constant", "math:tau")
    6.283185307179586
    >>> load_object("constant", "math:tan.gent")
    Traceback (most recent call last):
    pnpkit._names.UnknownName: constant 'math:tan.gent' does not import: ... no attribute 'gent'
    """
    module, _, attribute = name.rpartition(":")
    file = Path(module).resolve() if module.endswith(".py") else None
    make_importable([str(file.parent if file else Path.cwd())])
    try:
        found = importlib.import_module(file.stem if file else module)
        if file and Path(str(found.__file__)).resolve() != file:
            raise ImportError(f"{found.__file__} has the same name: rename yours")
        return attrgetter(attribute)(found)
    except Exception as error:  # whatever a user's file may raise
        where = f"; looked for in {Path.cwd()} and on Python's path" if isinstance(error, ModuleNotFoundError) else ""
        raise UnknownName(f"{what} {name!r} does not import: {type(error).__name__}: {error}{where}") from error
