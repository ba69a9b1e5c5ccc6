"""What a bare installation lacks, said by name."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, who: str) -> Iterator[None]:
    """Around imports of optional packages: a missing one is named, with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise ModuleNotFoundError(f"{who} needs {missing}: pip install 'pnpkit[{name}]'", name=missing) from error
