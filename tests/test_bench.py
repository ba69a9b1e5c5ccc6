"""The benchmark measures what it says; how long anything takes is not asserted."""

from types import SimpleNamespace

import pytest

from pnpkit import bench
from pnpkit.jtfs import JTFS

SIZE, OPERATIONS = 2**13, ("forward", "forward+backward")


@pytest.fixture(scope="module")
def report():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "loop_overhead", dict)  # tens of seconds that nothing here reads
        return bench.bench([SIZE], repeats=1, operations=OPERATIONS, processes=1)


def test_every_operation_has_a_row_or_a_reason(report):
    seen = {(row["operation"], row["algorithm"]) for row in report["rows"]}
    excused = {(row["operation"], row["algorithm"]) for row in report["skipped"]}
    assert seen | excused == {(o, a) for o in OPERATIONS for a in ("pnpkit", "direct", "kymatio order 2")}
    assert not seen & excused
    assert all(row["reason"] for row in report["skipped"])


def test_calibrations_are_seconds_in_another_unit(report):
    unit = report["calibration_seconds"]
    for row in report["rows"]:
        assert row["seconds"] > 0
        assert row["calibrations"] == pytest.approx(row["seconds"] / unit)
        assert row["n_samples"] == SIZE


def test_the_direct_algorithm_needs_more_memory(report):
    """Not a matter of speed: full-rate planes are that large."""
    peak = {row["algorithm"]: row["peak_megabytes"] for row in report["rows"] if row["operation"] == "forward"}
    if None in peak.values():
        pytest.skip("this system does not tell a process its peak memory")
    assert peak["direct"] > 2 * peak["pnpkit"] / bench.BATCH


def test_sizes_and_repeats_are_checked_before_any_work():
    with pytest.raises(ValueError, match=r"powers of two from 2\^13 = 8192 on, not 4096"):
        bench.bench([2**12])
    with pytest.raises(ValueError, match="repeats must be at least 1, not 0"):
        bench.bench([SIZE], repeats=0)
    with pytest.raises(ValueError, match="not sideways"):
        bench.bench([SIZE], operations=["sideways"])


def test_the_floor_counts_every_product():
    """Doubling the parts doubles the operations; one part of the authors' operator is some 1.4 GFLOP."""
    jtfs = JTFS.reference(2**15)
    one, four = bench.floor(jtfs, 1), bench.floor(jtfs, 4)
    assert four["gflop"] == pytest.approx(4 * one["gflop"])
    assert 1 < one["gflop"] < 2


def test_steps_of_the_loop_and_bare_ones_take_turns_and_the_first_two_do_not_count(monkeypatch):
    now = [0.0]
    for loop, bare in ((9, 9), (9, 9), (3, 2), (4, 2), (5, 4)):
        now += [now[-1] + loop, now[-1] + loop + bare]
    ticks = iter(now)
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert bench.loop_overhead(steps=3, batch=2) == {"loop": 4, "bare": 2, "overhead": 0.5}
