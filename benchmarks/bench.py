"""Side-by-side timings: Φ beside the direct algorithm and the scattering that can be installed; steps of training.

One process, one thread; repeats are interleaved, so that a machine's moods strike all alike; medians are reported, in
seconds an item and in *calibrations*, the time of a fixed mix of transforms and matrix products, so that machines can
be compared. The direct algorithm takes tens of seconds and is timed once.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from contenders import BATCH, OPERATIONS, contenders
from step_cost import loop_overhead, step_costs

from pnpkit.experiment.artefacts import provenance, write_record
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.machine import give_back_memory, run_tasks, torch_threads
from pnpkit.experiment.machine import processes as worker_processes
from pnpkit.jtfs import JTFS, cost
from pnpkit.progress import bars


@dataclass(frozen=True)
class Timing:
    """One measurement.

    Args:
        operation: forward and forward+backward of Φ; jacobian3 and jacobian5 of Φ∘g, for arpeggio and drum.
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
        operations: which of :data:`contenders.OPERATIONS`.
        processes: how many to run side by side at the end; fewer than two leaves that out.
        progress: called with (stage, done, in all).

    Returns:
        ``provenance``, ``calibration_seconds``, ``rows`` (see :class:`Timing`), ``skipped`` (with reasons), and
        :func:`floor`, :func:`~step_cost.loop_overhead`, :func:`~step_cost.step_costs` and, for two
        processes or more, :func:`scaling`.

    Raises:
        ValueError: if a size is not a power of two from 2^13 on, there are no repeats, or an operation is unknown.
    """
    for n in sizes:
        if n < 2**13 or n & (n - 1):
            raise ValueError(f"sizes must be powers of two from 2^13 = 8192 on, not {n}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    if not set(operations) <= set(OPERATIONS):
        raise ValueError(f"operations must be among {', '.join(OPERATIONS)}, not {', '.join(operations)}")
    start = time.perf_counter()
    with torch_threads(1):
        rows, skipped, calibrations = [], [], []
        for k, n in enumerate(sizes):
            tasks, missing = contenders(n)
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
                rows.append(Timing(operation, algorithm, n, seconds, seconds / unit, peaks[operation, algorithm]))
            if progress is not None:
                progress("sizes", k + 1, len(sizes))
        lowest, loop, steps = floor(JTFS.reference(2**15)), loop_overhead(), step_costs()
    what = {"jacobian3": "arpeggio", "jacobian5": "drum"}
    config = {"sizes": list(sizes), "repeats": repeats, "batch": BATCH, "threads": 1, **what}
    return {
        "provenance": provenance(config, time.perf_counter() - start),
        "calibration_seconds": statistics.median(calibrations),
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
        "scaling": scaling(processes) if processes > 1 else None,
        "floor": lowest,
        "training_loop": loop,
        "training_step": steps,
    }


def scaling(processes: int, items: int = 24, rounds: int = 3) -> float:
    """Jacobians a second of so many processes of one thread each, over those of one; the best of the rounds of each.

    Args:
        processes: of the pool.
        items: Jacobians in three directions at N = 2^15 that each process computes in a round.
        rounds: of one process alone and all together, in turn.
    """
    with worker_processes(processes) as pool:

        def rate(workers: int, items: int) -> float:
            rates: list[float] = []
            run_tasks(_jacobians, [(items,)] * workers, executor=pool, finished=rates.append)
            return sum(rates)

        rate(processes, BATCH)  # imports, filters and compilation do not count
        rounds_of_both = [(rate(1, items), rate(processes, items)) for _ in range(rounds)]
    one, together = zip(*rounds_of_both, strict=True)
    return max(together) / max(one)


def _jacobians(items: int) -> float:
    """Items a second."""
    tasks, _ = contenders(2**15)
    task, together = tasks["jacobian3", "pnpkit"]
    task()
    start = time.perf_counter()
    for _ in range(items // together):
        task()
    return items / (time.perf_counter() - start)


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
    gflop = parts * cost.operations(jtfs)["products"] / 1e9
    a, times = torch.ones(1024, 1024), []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    gflops = 2 * 1024**3 / statistics.median(times) / 1e9
    return {"gflop": gflop, "gflops": gflops, "seconds": gflop / gflops}


def main(
    smallest: Annotated[int, typer.Option(min=13, help="log2 of the shortest waveform.")] = 13,
    largest: Annotated[int, typer.Option(min=13, max=20, help="log2 of the longest.")] = 17,
    repeats: Annotated[int, typer.Option(min=1, help="Of each measurement.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write.")] = None,
) -> None:
    """Time Φ, its Jacobian and its gradient beside other operators: seconds an item, and calibrations."""
    if largest < smallest:
        raise ValueError(f"--largest {largest} is below --smallest {smallest}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)  # before minutes are spent on what could not be kept
    with bars() as progress:
        report = bench([2**k for k in range(smallest, largest + 1)], repeats, progress=progress)
    if out is not None:
        write_record(out, report)
    print(pd.DataFrame(report["rows"]).to_string(index=False, float_format="{:.3g}".format))
    floor = report["floor"]
    print(f"calibration {report['calibration_seconds']:.3f} s; two processes, {report['scaling']:.2f} times one")
    loop, more = report["training_loop"], 100 * report["training_loop"]["overhead"]
    print(f"a training step, {loop['loop']:.2f} s; {more:+.1f} % more than forward, backward and update")
    costs = {name: 1e3 * seconds for name, seconds in report["training_step"]["steps"].items()}
    fewer = report["training_step"]["stock"] / report["training_step"]["network"]
    print(f"forward and backward of the network: {fewer:.2f} times as fast as with the layers it is made of")
    print("a step, milliseconds an item: " + ", ".join(f"{LOSS_LABELS[k]} {ms:.1f}" for k, ms in costs.items()))
    rate = f"{floor['gflops']:.0f} GFLOP/s"
    print(f"products of one Jacobian: {floor['gflop']:.1f} GFLOP, at least {floor['seconds']:.3f} s at {rate}")


if __name__ == "__main__":
    typer.run(main)
