"""What a long computation asks of the operating system: a folder to itself, and memory that stays."""

import ctypes
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # names of glibc's malloc.h
# Setting one of them ends their adaptation to what a program does; these are the largest that it arrives at
MMAP_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = 65536, 32 * 2**20, 64 * 2**20


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder, created if need be; the system lets go of it however this process ends, and no file is left.

    Args:
        folder: what to hold.
        wait: whether to wait for a process that holds it.

    Raises:
        OSError: if the folder cannot be made or opened; names it.
        RuntimeError: if another process holds it and ``wait`` is false; names the folder, and the process if the system
            tells. On a network file system, processes of other machines are not seen.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): mend that, or choose another --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            holder = _holder(descriptor)
            raise RuntimeError(f"{folder} is in use by another process{holder}: wait for it or stop it") from error
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
    pids = [fields[4] for fields in locks if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}")]
    pids = [pid for pid in pids if pid != "0"]  # of a process that this container cannot see
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
        libc.malloc_trim(0)


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


def give_back_memory() -> None:
    """Hand memory that was freed back to the kernel, where the C library is glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
