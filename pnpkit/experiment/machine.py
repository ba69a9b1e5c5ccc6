"""What a long computation asks of the operating system: a folder to itself, processes, threads, memory that stays."""

import ctypes
import errno
import fcntl
import logging
import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pnpkit._extras import extra, say_once
from pnpkit._names import FOLDERS, make_importable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # names of glibc's malloc.h
# Setting one of them ends their adaptation to what a program does; these are the largest that it arrives at
MMAP_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = 65536, 32 * 2**20, 64 * 2**20

UNLOCKED = "PNPKIT_UNLOCKED"  # environment: 1 to go on where folders cannot be locked


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder, created if need be; the system lets go of it however this process ends, and no file is left.

    Args:
        folder: what to hold.
        wait: whether to wait for a process that holds it, and say so.

    Raises:
        OSError: if the folder cannot be made or opened; names it.
        RuntimeError: if another process holds it and ``wait`` is false; names both, as far as the system tells. On a
            network file system, processes of other machines are not seen.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): mend that, or choose another --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            busy = f"{folder} is in use by another process{_holder(descriptor)}: wait for it or stop it"
            if not wait:
                raise RuntimeError(busy) from error
            say_once(f"waiting: {busy}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            if os.environ.get(UNLOCKED) != "1":
                raise OSError(
                    f"{folder} is on a file system without locks ({error.strerror}): choose another --out, or, if no "
                    f"other process works there, set {UNLOCKED}=1"
                ) from error
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """`` (pid N)`` of the process that holds the lock on an open file, from the list that Linux keeps of all locks."""
    inode = os.fstat(descriptor).st_ino
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        locks = []
    pids = [f[4] for f in locks if f[1] == "FLOCK" and f[5].endswith(f":{inode}") and f[4] != "0"]  # 0: out of sight
    return f" (pid {pids[0]})" if pids else ""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let malloc keep what is freed, instead of handing it back to the kernel and asking again a moment later.

    A training step at batch 256 frees and claims 5 GB of activations; page faults on them were half of its time (23 ms
    a sample, 11.5 with this). No result changes. Afterwards glibc's thresholds stay where a program that allocates
    much would have brought them. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # everything from the heap …
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # … which never shrinks
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        give_back_memory()


def give_back_memory() -> None:
    """Hand memory that was freed back to the kernel, where the C library is glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def check_device(device: str) -> None:
    """Raise ``ValueError`` unless this is the CPU or a GPU of this machine whose torch has float64."""
    import torch

    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; examples of valid ones: cpu, cuda, cuda:1") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, not {device!r}: metrics are float64")
    if found.type == "cuda" and (found.index or 0) >= (gpus := torch.cuda.device_count()):
        has = f"{gpus} usable GPUs" if gpus else "no usable GPU: use 'cpu'"
        raise ValueError(f"device {device!r} was asked for, and this machine has {has}")


@contextmanager
def torch_threads(n: int = 1) -> Iterator[None]:
    """Let torch use so many threads. Their number changes float32 sums, hence the bits of what is made with them."""
    import torch  # here, so that a process starts its watch before the seconds that this takes

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


TICK = 2.0  # seconds between two looks at tasks under way
PATIENCE = "10s"  # for a Dask scheduler to answer


def run_tasks(
    task: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int = 2,
    executor: Executor | None = None,
    finished: Callable[[Any], None] | None = None,
    waiting: Callable[[], None] | None = None,
) -> None:
    """Call ``task(*a)`` for every ``a`` of ``arguments``, each on one torch thread; submitted in order, ended in any.

    Whatever stops it (a task that fails, Ctrl-C) cancels the tasks not begun and is raised at once. Those under way
    are ended with their processes; on an executor of the caller's they run on, unheard. The processes read the calling
    script again, so in one the call belongs under ``if __name__ == "__main__":``.

    Args:
        task: a function of a module, so that it can be sent to another process.
        arguments: of the tasks.
        workers: processes, where no executor is given; see :func:`processes`.
        executor: where to run them instead. It is left open: it is the caller's.
        finished: called here with each result, as it comes.
        waiting: called here every few seconds, and last when all is done: for tasks that tell how far they are.

    Raises:
        RuntimeError: if the executor drops tasks, as Dask does when its scheduler ends.
    """
    with processes(min(workers, len(arguments) or 1), executor) as pool:
        futures = []
        try:
            futures += [pool.submit(on_one_thread, tuple(FOLDERS), task, *a) for a in arguments]
            pending = set(futures)
            while pending:
                done, pending = wait(pending, None if waiting is None else TICK, FIRST_COMPLETED)
                for future in sorted(done, key=lambda f: f.cancelled() or f.exception() is not None):  # results first
                    result = future.result()
                    if finished is not None:
                        finished(result)
                if waiting is not None:
                    waiting()
        except CancelledError as error:
            raise RuntimeError("the executor dropped its tasks: did its scheduler stop? Run again to go on") from error
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def processes(n: int, instead: Executor | None = None) -> Iterator[Executor]:
    """A pool of n processes that live no longer than the ``with`` block, or this process should it be killed.

    Each watches a pipe of which only we hold the other end. An exception that leaves the block closes it, and so does
    the system when we are killed; :class:`~concurrent.futures.ProcessPoolExecutor` alone would wait for the tasks
    under way in the first case, and leave the processes behind in the second. An executor given ``instead`` stays open.
    """
    if instead is not None:
        yield instead
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch and zarr, not their threads
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ours, ProcessPoolExecutor(n, context, initializer=_end_with_pipe, initargs=(theirs,)) as pool:
        try:
            yield pool
        except BaseException:
            ours.close()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def dask_executor(scheduler: str | None) -> Iterator[Executor | None]:
    """The workers of a Dask scheduler, as an executor, or None where none is named.

    Args:
        scheduler: its address, ``tcp://host:port``.

    Raises:
        ImportError: if Dask is not installed.
        RuntimeError: if no scheduler answers there.
    """
    if scheduler is None:
        yield None
        return
    with extra("cluster", "--scheduler"):
        from distributed import Client
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what fails is said once, by us
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise RuntimeError(
            f"no Dask scheduler answers at {scheduler}: is it running, and is the address right?"
        ) from error
    with client:
        yield client.get_executor()


def _end_with_pipe(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; ours to handle, not the workers'

    def watch() -> None:
        pipe.poll(None)  # nothing is ever sent: this returns when the other end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_one_thread(folders: tuple[str, ...], task: Callable[..., Any], *arguments: Any) -> Any:
    make_importable(folders)
    with torch_threads(1):  # more would also be slower on a busy machine
        return task(*arguments)
