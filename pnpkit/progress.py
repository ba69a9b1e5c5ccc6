"""Progress of long work on a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def bars() -> Iterator[Any]:
    """A progress bar a stage on a terminal; None, hence silence, elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    aside = sys.stdout.isatty()  # lines and bars take turns on a terminal; what goes to a file or a pipe goes there
    with Progress(*columns, TextColumn("{task.fields[pace]}"), console=console, redirect_stdout=aside) as display:
        tasks: dict[str, tuple[TaskID, int, float]] = {}  # with where and when each began

        def update(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if stage not in tasks:
                tasks[stage] = display.add_task(stage, total=total, pace=""), done, now
            task, first, began = tasks[stage]
            display.update(task, completed=done, total=total, pace=pace(done - first, total - done, now - began))

        yield update


def pace(done: int, left: int, seconds: float) -> str:
    """Rate and remaining time, from what was done since the start: rich's own figures take bursts for speed.

    >>> pace(300, 26_700, 20.0)
    '15.0/s, 0:29:40 left'
    """
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    speed = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
    return f"{speed}, {timedelta(seconds=round(left / rate))} left"
