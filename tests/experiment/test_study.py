"""A study stopped and resumed is one that was not; its record speaks of what is there; the bound is the textbook's."""

import json
import math
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from pnpkit.experiment.artefacts import ArtefactMismatch, config_dict
from pnpkit.experiment.evaluation.matching import AFTER, cramer_rao
from pnpkit.experiment.evaluation.studies import studies
from pnpkit.experiment.evaluation.study import (
    RECORD,
    ROWS,
    Study,
    pursue,
    read_study,
    spread,
    study_record,
    unfinished,
)
from pnpkit.experiment.results.matching import after_steps, continued, descents
from pnpkit.experiment.seals import check_all

SHIPPED = Path(__file__).parents[2] / "data" / "matching"


def square(item):
    if item == 3:
        raise ValueError("three is\nno number")
    return [{"root": item, "power": item**p} for p in (1, 2)]


def study(items=20, measure=square, **config):
    return Study("squares", config, tuple(range(items)), measure)


def values(rows):
    return rows.drop(columns="cpu")


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_every_beginning_is_spread_evenly(n):
    order = spread(range(n))
    assert sorted(order) == list(range(n))
    for k in range(2, n + 1):
        gaps = pd.Series([0, *sorted(order[:k]), n - 1]).diff().dropna()
        assert gaps.max() <= 4 * math.ceil(n / k)


def test_stopped_and_resumed_it_is_the_same(tmp_path):
    whole = pursue(study(), tmp_path / "whole")
    pursue(study(), tmp_path / "parts", count=5)
    assert read_study(tmp_path / "parts" / "squares").item.nunique() == 5
    pursue(study(), tmp_path / "parts", minutes=0)
    done = []
    pursue(study(), tmp_path / "parts", progress=lambda _, k, n: done.append((k, n)))
    assert done[0] == (6, 20)
    assert values(read_study(tmp_path / "parts" / "squares")).equals(values(read_study(tmp_path / "whole" / "squares")))
    assert whole.error.notna().sum() == 1  # that of three, which counts
    assert len(json.loads((tmp_path / "parts" / "squares" / RECORD).read_text())["made"]) == 2


def test_what_a_failure_or_a_kill_left_is_kept(tmp_path):
    def failing(item):
        if item == 1:
            raise RuntimeError("power cut")
        return square(item)

    with pytest.raises(RuntimeError, match="power cut"):
        pursue(study(measure=failing), tmp_path)
    kept = read_study(tmp_path / "squares")
    assert 1 < kept.item.nunique() < 20
    (tmp_path / "squares" / ROWS).rename(unfinished(tmp_path / "squares", study()))  # as if killed in the first session
    (tmp_path / "squares" / RECORD).unlink()
    asked = []
    pursue(study(measure=lambda i: asked.append(i) or square(i)), tmp_path)
    assert sorted([*asked, *kept.item.unique()]) == list(range(20))


def test_what_a_kill_left_of_another_configuration_is_not_taken(tmp_path):
    pursue(study(lam=1), tmp_path, count=3)
    here = tmp_path / "squares"
    (here / ROWS).rename(unfinished(here, study(lam=1)))
    (here / RECORD).unlink()
    asked = []
    pursue(study(measure=lambda i: asked.append(i) or square(i), lam=2), tmp_path)
    assert sorted(asked) == list(range(20))


def test_another_configuration_and_other_rows_are_refused(tmp_path):
    pursue(study(lam=1), tmp_path, count=3)
    with pytest.raises(ArtefactMismatch, match="lam: 1 there, 2 wanted"):
        pursue(study(lam=2), tmp_path)
    assert check_all(tmp_path) == []
    with (tmp_path / "squares" / ROWS).open("a") as file:
        file.write("9,,0,9,9\n")
    with pytest.raises(ValueError, match=ROWS):
        read_study(tmp_path / "squares")
    assert len(check_all(tmp_path)) == 1


def test_the_bound_is_that_of_a_sinusoid_in_the_textbook():
    """Frequency of amplitude A in white noise: var ω ≥ 12 · 2σ²/A² / (N (N² − 1)), amplitude and phase unknown."""
    n, deviation, amplitude = 4096, 0.1, 0.7
    t = torch.arange(n, dtype=torch.float64)
    theta = torch.tensor([0.3, amplitude], dtype=torch.float64)
    bound = cramer_rao(lambda p: p[..., 1:] * torch.sin(p[..., :1] * t), theta, deviation)
    expected = math.sqrt(24 * deviation**2 / amplitude**2 / (n * (n**2 - 1)))
    assert bound[0].item() == pytest.approx(expected, rel=0.01)
    assert bound[1].item() == pytest.approx(deviation * math.sqrt(2 / n), rel=0.01)


@pytest.mark.parametrize("name", sorted(p.parent.name for p in SHIPPED.glob(f"*/{RECORD}")))
def test_what_is_shipped_is_whole_of_known_code_and_scored_sounds_only(name):
    rows, record = read_study(SHIPPED / name), study_record(SHIPPED / name)
    known = studies(SHIPPED.parents[1] / "tests" / "recordings")[name]
    assert set(rows.item) <= set(known.items)
    assert record["config"] == config_dict(known.config)  # of the atlas that is shipped, too
    assert rows.item.nunique() == record["items"]
    assert not [m["commit"] for m in record["made"] if "dirty" in m["commit"] or m["commit"] == "unknown"]


def test_table_1_goes_on_with_the_sounds_that_every_start_has(tmp_path):
    def falling(start, item):
        rows = {f"{d}_{k}": start / 2**k + item for d in ("jtfs", "mss") for k in AFTER}
        return [rows | {"jacobians": 3, "seconds": 1.0}]

    for name, start, items in (("p", 256.0, (0, 1, 2, 3)), ("nearest", 0.5, (0, 1, 9))):
        pursue(Study(f"from-{name}", {}, items, partial(falling, start)), tmp_path)
    table = continued(descents(tmp_path))
    assert table.index.name == "start, 2 sounds"
    assert table.loc["P", ["JTFS, 0", "JTFS, 8"]].tolist() == ["256.5", "1.50"]
    by_mss = after_steps(descents(tmp_path), "mss")
    assert list(by_mss) == [f"MSS, {k}" for k in AFTER]
    assert by_mss.loc["P", ["MSS, 0", "MSS, 1", "MSS, 8"]].tolist() == ["256.50", "128.50", "1.50"]
    assert table["below 1"].to_dict() == {"nearest of the atlas": "50 %", "P": "0 %"}
