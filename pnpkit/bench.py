"""Side-by-side timings of Φ: ours, the direct algorithm, and the scattering that can be installed.

One process, one thread; repeats are interleaved, so that a machine's moods strike all alike; medians are reported, in
seconds an item and in *calibrations*, the time of a fixed mix of transforms and matrix products, so that machines can
be compared. The direct algorithm takes tens of seconds and is timed once.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pnpkit._system import give_back_memory
from pnpkit.jtfs import JTFS, log_compress
from pnpkit.jtfs.stages import SecondOrder
from pnpkit.metric import jacobian
from pnpkit.provenance import provenance
from pnpkit.synth import Arpeggio

BATCH = 4  # items of ours at once; an item a time of the others, which have no use for more
DIRECT = Path(__file__).parents[1] / "benchmarks" / "direct_jtfs.py"
DIRECT_LARGEST = {"forward": 2**15, "jacobian3": 2**13, "jacobian5": 2**13, "forward+backward": 2**13}  # half a minute
OPERATIONS = ("forward", "jacobian3", "jacobian5", "forward+backward")

Descriptor = Callable[[Tensor], Tensor]
Tasks = dict[tuple[str, str], tuple[Callable[[], object], int]]  # by operation and algorithm; items of one call


@dataclass(frozen=True)
class Row:
    """One measurement.

    Args:
        operation: forward, jacobian3, jacobian5 (three and five directions), or forward+backward.
        algorithm: pnpkit, direct, or kymatio order 2.
        n_samples: of the waveform.
        seconds: an item, median.
        calibrations: the same in units of :func:`calibrate`.
        peak_megabytes: resident memory added by the operation at its peak; None where the system does not say.
    """

    operation: str
    algorithm: str
    n_samples: int
    seconds: float
    calibrations: float
    peak_megabytes: float | None


def calibrate() -> float:
    """Seconds of two ``rfft`` of float32 (256, 32768) and twenty 512 × 512 float32 products."""
    x, a, b = torch.ones(256, 32768), torch.ones(512, 512), torch.ones(512, 512)
    start = time.perf_counter()
    for _ in range(2):
        torch.fft.rfft(x)
    for _ in range(20):
        a @ b
    return time.perf_counter() - start


def bench(
    sizes: Sequence[int],
    repeats: int = 5,
    operations: Sequence[str] = OPERATIONS,
    processes: int = 2,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Time everything that runs here.

    Args:
        sizes: lengths of the waveform, powers of two from 2^13 on (the authors' J and T need as many).
        repeats: of each measurement, after one that is not counted.
        operations: which of :data:`OPERATIONS`.
        processes: how many to run side by side at the end; fewer than two leaves that out.
        progress: called with (stage, done, in all).

    Returns:
        ``provenance``, ``calibration_seconds``, ``rows`` (see :class:`Row`), ``skipped`` (with reasons), and
        :func:`floor` and, for two processes or more, :func:`scaling`.

    Raises:
        ValueError: if a size is not a power of two from 2^13 on, or there are no repeats.
    """
    for n in sizes:
        if n < 2**13 or n & (n - 1):
            raise ValueError(f"sizes must be powers of two from 2^13 = 8192 on, not {n}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    if not set(operations) <= set(OPERATIONS):
        raise ValueError(f"operations must be among {', '.join(OPERATIONS)}, not {', '.join(operations)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        rows, skipped, calibrations = [], [], []
        for k, n in enumerate(sizes):
            tasks, missing = _tasks(n)
            tasks = {key: task for key, task in tasks.items() if key[0] in operations}
            skipped += [entry for entry in missing if entry["operation"] in ("all", *operations)]
            measured: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
            peaks: dict[tuple[str, str], float | None] = {}
            units = []
            for key, (task, items) in tasks.items():
                if key[1] != "direct":
                    task()  # compiles, plans transforms, and does not count
                began = time.perf_counter()
                peaks[key] = _peak_megabytes(task)
                if key[1] == "direct":
                    measured[key].append((time.perf_counter() - began) / items)
            for _ in range(repeats):
                units.append(calibrate())
                for key, (task, items) in tasks.items():
                    if key[1] != "direct":
                        began = time.perf_counter()
                        task()
                        measured[key].append((time.perf_counter() - began) / items)
            unit = statistics.median(units)
            calibrations.append(unit)
            for (operation, algorithm), values in measured.items():
                seconds = statistics.median(values)
                rows.append(Row(operation, algorithm, n, seconds, seconds / unit, peaks[operation, algorithm]))
            if progress is not None:
                progress("sizes", k + 1, len(sizes))
    finally:
        torch.set_num_threads(threads)
    config = {"sizes": list(sizes), "repeats": repeats, "batch": BATCH, "threads": 1}
    return {
        "provenance": provenance(config, time.perf_counter() - start),
        "calibration_seconds": statistics.median(calibrations),
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
        "scaling": scaling(processes) if processes > 1 else None,
        "floor": floor(JTFS.reference(2**15)),
    }


def scaling(processes: int, items: int = 24, rounds: int = 3) -> float:
    """Jacobians a second of so many processes of one thread each, over those of one; the best of the rounds of each.

    Args:
        processes: of the pool.
        items: Jacobians in three directions at N = 2^15 that each process computes in a round.
        rounds: of one process alone and all together, in turn.
    """
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(_jacobians, [BATCH] * processes))  # imports, filters and compilation do not count
        one, together = [], []
        for _ in range(rounds):
            one.append(pool.submit(_jacobians, items).result())
            together.append(sum(pool.map(_jacobians, [items] * processes)))
    return max(together) / max(one)


def _jacobians(items: int) -> float:
    """Items a second."""
    tasks, _ = _tasks(2**15)
    task, together = tasks["jacobian3", "pnpkit"]
    task()
    start = time.perf_counter()
    for _ in range(items // together):
        task()
    return items / (time.perf_counter() - start)


def _tasks(n: int) -> tuple[Tasks, list[dict[str, Any]]]:
    """What to time at one size; and what cannot be, with the reason."""
    tasks: Tasks = {}
    skipped: list[dict[str, Any]] = []
    synth = Arpeggio(n_samples=n)
    theta = torch.tensor([[740.0, 8.7, 1.7], [600, 5, 1], [900, 12, 3], [520, 15, 0.6]], dtype=torch.float64)
    x = synth(theta).float()
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(5, n, generator=generator)

    def line(a: Tensor) -> Tensor:
        """Five directions, as any synthesiser of five parameters has."""
        return x[0] + a.float() @ directions

    jtfs = JTFS.reference(n)

    def phi(signal: Tensor) -> Tensor:
        return log_compress(jtfs(signal))

    origins = torch.zeros(BATCH, 5)
    tasks["forward", "pnpkit"] = partial(_forward, phi, x), BATCH
    tasks["jacobian3", "pnpkit"] = partial(_all_at_once, synth, phi, theta), BATCH
    tasks["jacobian5", "pnpkit"] = partial(_all_at_once, line, phi, origins), BATCH
    tasks["forward+backward", "pnpkit"] = partial(_backward, phi, x), BATCH

    if DIRECT.exists():
        direct = _load_direct().reference(n)

        def phi_direct(signal: Tensor) -> Tensor:
            return log_compress(direct(signal.reshape(-1, n).float()))[0]

        every: dict[str, Callable[[], object]] = {
            "forward": partial(_forward, phi_direct, x[:1]),
            "jacobian3": partial(_one_by_one, lambda th: phi_direct(synth(th)), theta[0]),
            "jacobian5": partial(_one_by_one, lambda a: phi_direct(line(a)), origins[0]),
            "forward+backward": partial(_backward, phi_direct, x[:1]),
        }
        for operation, task in every.items():
            if n <= DIRECT_LARGEST[operation]:
                tasks[operation, "direct"] = task, 1
            else:
                reason = f"not beyond N = {DIRECT_LARGEST[operation]}: it takes minutes, and 12 GB"
                skipped.append({"operation": operation, "algorithm": "direct", "n_samples": n, "reason": reason})
    else:
        reason = "benchmarks/direct_jtfs.py is in the repository, not in the installed package"
        skipped.append({"operation": "all", "algorithm": "direct", "n_samples": n, "reason": reason})

    from kymatio.torch import Scattering1D

    peer = Scattering1D(J=13, shape=n, Q=12, T=2**13)
    tasks["forward", "kymatio order 2"] = partial(_forward, peer, x), BATCH
    tasks["forward+backward", "kymatio order 2"] = partial(_backward, peer, x), BATCH
    reason = "its modulus has no forward-mode derivative"
    skipped += [
        {"operation": f"jacobian{d}", "algorithm": "kymatio order 2", "n_samples": n, "reason": reason} for d in (3, 5)
    ]
    return tasks, skipped


def _forward(phi: Descriptor, x: Tensor) -> None:
    with torch.no_grad():
        phi(x)


def _backward(phi: Descriptor, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    phi(leaf).sum().backward()


def _all_at_once(synth: Descriptor, phi: Descriptor, theta: Tensor) -> Tensor:
    return jacobian(synth, phi, theta)


def _one_by_one(f: Descriptor, theta: Tensor) -> Tensor:
    """Jacobian by one forward-mode pass a direction: all at once would not fit in memory."""
    columns = [torch.func.jvp(f, (theta,), (e,))[1] for e in torch.eye(len(theta), dtype=theta.dtype)]
    return torch.stack(columns, -1)


def _load_direct() -> Any:
    spec = importlib.util.spec_from_file_location("direct_jtfs", DIRECT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DirectJTFS


def _peak_megabytes(task: Callable[[], object]) -> float | None:
    """Growth of the resident set while a task runs (Linux keeps its high-water mark, and lets one reset it)."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        give_back_memory()  # what earlier tasks freed and malloc kept would hide what this one takes
        reset.write_text("5")
        before = _kilobytes(status, "VmRSS")
        task()
        return (_kilobytes(status, "VmHWM") - before) / 1e3
    except OSError:
        task()
        return None


def _kilobytes(status: Path, field: str) -> float:
    return float(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1])


def floor(jtfs: JTFS, parts: int = 4) -> dict[str, float]:
    """What one Jacobian cannot go below: its products along the rows, at the rate of a large product here.

    Args:
        jtfs: the operator.
        parts: value and directions.

    Returns:
        ``gflop`` (thousand million operations), ``gflops`` (a second), ``seconds``.
    """
    entries = 0
    for stage in jtfs.second:
        assert isinstance(stage, SecondOrder)
        entries += stage.length * sum(b.numel() for b in stage.filters.buffers())
    gflop = 4 * parts * entries / 1e9  # multiply and add, real and imaginary part
    a, times = torch.ones(1024, 1024), []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    gflops = 2 * 1024**3 / statistics.median(times) / 1e9
    return {"gflop": gflop, "gflops": gflops, "seconds": gflop / gflops}
