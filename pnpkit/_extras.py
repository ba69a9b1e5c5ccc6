"""What the user is told: once what goes on all the same, and by name what a bare installation lacks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def extra(name: str, who: str) -> Iterator[None]:
    """Around imports of optional packages: a missing one is named, with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise ModuleNotFoundError(f"{who} needs {missing}: pip install 'pnpkit[{name}]'", name=missing) from error


@cache
def say_once(message: str) -> None:
    """One line to the user, once a process."""
    logging.getLogger("pnpkit").warning("pnpkit: %s", message)
