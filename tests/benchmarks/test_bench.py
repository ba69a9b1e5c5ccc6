"""The benchmark measures what it says; how long anything takes is not asserted."""

import bench
import pytest

from pnpkit.experiment.artefacts import read_json
from pnpkit.experiment.integrity import Damaged
from pnpkit.jtfs import JTFS

SIZE, OPERATIONS = 2**13, ("forward",)


@pytest.fixture(scope="module")
def report():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("loop_overhead", "step_costs"):  # tens of seconds that nothing here reads
            patch.setattr(bench, name, dict)
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
    peak = {row["algorithm"]: row["peak_megabytes"] for row in report["rows"]}
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
    """Doubling the parts doubles the operations; one part of the authors' operator is some 0.7 GFLOP, by halves."""
    jtfs = JTFS.reference(2**15)
    one, four = bench.floor(jtfs, 1), bench.floor(jtfs, 4)
    assert four["gflop"] == pytest.approx(4 * one["gflop"])
    assert 0.5 < one["gflop"] < 1


def test_it_prints_what_it_measured(capsys, monkeypatch, tmp_path):
    """The measuring has tests of its own; here it is at hand."""
    report = {
        "rows": [{"operation": "forward", "algorithm": "pnpkit", "n_samples": 8192, "seconds": 0.25}],
        "calibration_seconds": 0.125,
        "scaling": 1.75,
        "training_loop": {"loop": 0.5, "bare": 0.4, "overhead": 0.25},
        "training_step": {"steps": {"p": 0.01, "sp": 0.12}, "network": 0.01, "stock": 0.015},
        "floor": {"gflop": 5.5, "gflops": 110.0, "seconds": 0.05},
    }
    monkeypatch.setattr(bench, "bench", lambda sizes, *_, **__: report | {"sizes": sizes})
    bench.main(largest=14, out=tmp_path / "b.json")
    out = capsys.readouterr().out
    assert "a training step, 0.50 s; +25.0 % more" in out
    assert "forward and backward of the network: 1.50 times as fast" in out
    assert "a step, milliseconds an item: P 10.0, SP 120.0" in out
    assert "two processes, 1.75 times one" in out
    kept = tmp_path / "b.json"
    assert read_json(kept)["sizes"] == [2**13, 2**14]
    kept.write_text(kept.read_text().replace("0.25", "0.52"))
    with pytest.raises(Damaged, match=r"b\.json was changed"):
        read_json(kept)
    with pytest.raises(ValueError, match="--largest 14 is below --smallest 15"):
        bench.main(smallest=15, largest=14)
    monkeypatch.setattr(bench, "bench", lambda *_, **__: pytest.fail("measured what cannot be kept"))
    with pytest.raises(OSError, match=r"b\.json"):
        bench.main(out=tmp_path / "b.json" / "c.json")
