"""Long work in parts: which items each takes, how far it has come, and who is told."""

from collections.abc import Callable
from functools import partial

Count = Callable[[int, int], None] | None  # who is told how many items are done, and how many there are in all
Progress = Callable[[str, int, int], None] | None  # the same, with the name of the stage


def staged(stage: str, progress: Progress) -> Count:
    """Who is told of one stage."""
    return None if progress is None else partial(progress, stage)


def slices(total: int, size: int) -> list[slice]:
    """Consecutive items, so many at a time.

    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def counted(progress: Count, total: int, done: int = 0) -> Callable[[int], None]:
    """Tells how many of a total are done: at once, and whenever it is called with how many more there are."""

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    count(0)
    return count
