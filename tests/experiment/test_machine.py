"""Tasks in processes: all of them run, and none outlives what started it, however that ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from pnpkit.experiment import machine as parallel
from pnpkit.experiment.machine import run_tasks

WORKERS, TASKS = 2, 5


def square(i: int) -> int:
    return i * i


def threads() -> int:
    import torch

    return torch.get_num_threads()


def begin(folder: Path, i: int, fails: bool) -> None:
    """Say so in a file; then fail as soon as another task has begun, or hang."""
    (folder / str(i)).touch()
    while not fails or len(list(folder.iterdir())) < WORKERS:
        time.sleep(0.01)
    raise ValueError(f"task {i} broke")


def hang(folder: str) -> None:
    """Run in a process of its own: two tasks under way, three not begun."""
    run_tasks(begin, [(Path(folder), i, False) for i in range(TASKS)], workers=WORKERS)


def test_every_result_is_handed_over():
    results = []
    run_tasks(square, [(i,) for i in range(20)], workers=WORKERS, finished=results.append)
    assert sorted(results) == [i * i for i in range(20)]
    run_tasks(square, [], workers=WORKERS, finished=results.append)
    assert len(results) == 20


def test_a_worker_has_one_torch_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # of the worker: torch reads it when it is imported
    seen = []
    run_tasks(threads, [()], workers=1, finished=seen.append)
    assert seen == [1]


def test_a_failure_ends_what_is_under_way_and_cancels_the_rest(tmp_path):
    with pytest.raises(ValueError, match="task 0 broke"):  # and not after the hour that the others would take
        run_tasks(begin, [(tmp_path, i, i == 0) for i in range(TASKS)], workers=WORKERS)
    assert len(list(tmp_path.iterdir())) < TASKS


def test_tasks_under_way_are_looked_at(monkeypatch):
    monkeypatch.setattr(parallel, "TICK", 0.01)
    ticks, looked_at = [], threading.Event()

    def look() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 3:
            looked_at.set()

    with ThreadPoolExecutor(1) as executor:
        run_tasks(looked_at.wait, [(60.0,)], executor=executor, waiting=look)
    assert len(ticks) > 3, "while the task ran, and when it had ended"


def test_an_executor_of_the_caller_stays_open(tmp_path):
    results = []
    with ThreadPoolExecutor(1) as executor:
        for _ in range(2):
            run_tasks(square, [(i,) for i in range(5)], executor=executor, finished=results.append)
        (tmp_path / "other").touch()
        with pytest.raises(ValueError, match="task 0 broke"):
            run_tasks(begin, [(tmp_path, 0, True)], executor=executor)
        assert executor.submit(square, 9).result() == 81
    assert sorted(results) == sorted(2 * [0, 1, 4, 9, 16])


def test_an_executor_that_drops_its_tasks_is_said_to():
    class Stopped(Executor):
        """Cancels what it is given, as Dask does when its scheduler ends."""

        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(RuntimeError, match="the executor dropped its tasks"):
        run_tasks(square, [(i,) for i in range(3)], executor=Stopped())


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGKILL, False)])
def test_no_process_is_left_when_we_are_stopped(number, group, tmp_path):
    """Whether the signal goes to all processes, as Ctrl-C in a terminal does, or to the first one only."""
    # What a shell starts in the background ignores SIGINT, and hands that down: not what is asked here
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; from tests.experiment.test_machine import hang; hang(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path])))
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 120
            while len(list(tmp_path.iterdir())) < WORKERS and time.monotonic() < deadline:
                time.sleep(0.01)
            (os.killpg if group else os.kill)(process.pid, number)
            _, said = process.communicate(timeout=60)  # ends when the last process that holds the pipe has ended
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert len(list(tmp_path.iterdir())) == WORKERS, "a task that had not begun was started"
    if number == signal.SIGINT:
        assert said.count("Traceback") == 1, "only the process that was asked says so"
        assert said.rstrip().endswith("KeyboardInterrupt")
