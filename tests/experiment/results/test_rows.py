"""From runs to Table 1: what may share a row, what the verdicts follow from, and how it is printed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pnpkit._names import UnknownName
from pnpkit.experiment.artefacts import ArtefactMismatch, config_dict, provenance, write_json, write_record
from pnpkit.experiment.config import GridConfig, TrainingConfig
from pnpkit.experiment.evaluation.folder import (
    Evaluation,
    evaluate_reference,
    evaluate_run,
    read_evaluation,
    verify_evaluation,
)
from pnpkit.experiment.evaluation.items import DISTANCES, reference_predictions, summarise
from pnpkit.experiment.integrity import Damaged
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.results.claims import PAPER, Claim, claims, paper_ratio
from pnpkit.experiment.results.frame import DASH
from pnpkit.experiment.results.intervals import borrowed_quantiles, welch_interval
from pnpkit.experiment.results.rows import build_results
from pnpkit.experiment.results.tables import claim_table, error_table, ours_and_paper, render, split_table, table
from pnpkit.experiment.seals import seal_all
from pnpkit.synth import Arpeggio

GRID = GridConfig(n_steps=6)
PROBLEM = Problem(GRID, Arpeggio(n_samples=4096))
N = 200
MEAN_ERRORS = {"f_c": 140.0, "f_m": 3.0, "gamma": 0.8}


def evaluation(loss, seed, jtfs, mss=None, errors=(1.0, 3.0, 0.8), **changes):
    """An evaluation whose distances have the given means; items are hard or easy for every loss alike."""
    difficulty = np.random.default_rng(0).uniform(0.8, 1.2, N)
    difficulty /= difficulty.mean()
    mss = jtfs / 40 if mss is None else mss
    means = {"jtfs": jtfs, "mss": mss, "ddsp": 3 * mss}
    items = pd.DataFrame({"id": np.arange(N), "weights": "last", "status": "ok"})
    for name in DISTANCES:
        items[name] = means[name] * difficulty
    for name, error in zip(("f_c", "f_m", "gamma"), errors, strict=True):
        items[f"error_{name}"] = error
        items[f"percent_{name}"] = error
        items[f"outside_{name}"] = False
    run = config_dict(replace(TrainingConfig(GRID, loss, seed), **changes))
    made = {"run": {"seconds": 3600.0 * (1 + seed)}}
    return Evaluation(Path(f"evaluation/{loss}/{seed}"), run, items, summarise(items, 200), made)


def reference(grid=GRID):
    mean = evaluation("p", 0, 69.2, errors=tuple(MEAN_ERRORS.values()))
    return {"train mean": replace(mean, run={"reference": "train mean", "grid": config_dict(grid)})}


def row_of(loss, *jtfs, **options):
    return [evaluation(loss, seed, value, **options) for seed, value in enumerate(jtfs)]


def verdicts(*rows):
    results = build_results([e for row in rows for e in row], reference())
    return [claim["verdict"] for claim in results["claims"]["last"]], results


def test_the_papers_ratios():
    found = [round(paper_ratio(loss, d)[0], 2) for d in ("jtfs", "mss") for loss in ("pnp", "pnp-mean")]
    assert found == [0.41, 0.33, 0.61, 0.49]


def test_welch_interval_shrinks_with_seeds_and_needs_two():
    few, many = ([10.0, 11.0, 12.0] * k for k in (1, 10))
    narrow, wide = (np.ptp(welch_interval(a, [0.0, 1.0, 2.0] * (len(a) // 3))) for a in (many, few))
    assert narrow < wide / 2
    assert welch_interval([1.0], [2.0, 3.0]) is None
    assert welch_interval([1.0, 1.0], [3.0, 3.0]) == (-2, -2)


def test_results_like_the_papers_agree_where_the_paper_itself_is_sure():
    p = row_of("p", 45.6, 45.8, 46.0, mss=1.22, errors=(2.0, 3.0, 0.8))
    pnp = row_of("pnp", 18.0, 18.75, 19.5, mss=0.74)
    regularised = row_of("pnp-mean", 15.0, 15.15, 15.3, mss=0.60)
    found, results = verdicts(p, pnp, regularised)
    # Equal ratios are what no run of ours can show while the printed ± is wider than the margin
    assert found == ["agrees"] * 3 + ["not decided"]
    assert "ours over the paper's: PNP JTFS 1.00 [0." in results["claims"]["last"][3]["reason"]


def test_a_wide_spread_over_seeds_decides_nothing():
    p, pnp = row_of("p", 45.5, 46.1), row_of("pnp", 12.0, 25.5)
    regularised = row_of("pnp-mean", 8.0, 22.0)  # the paper's own spread
    found, results = verdicts(p, pnp, regularised)
    assert found[1] == "not decided"
    assert "over seeds" in results["claims"]["last"][1]["reason"]


def test_one_seed_decides_no_comparison():
    found, results = verdicts(row_of("p", 45.8), row_of("pnp", 18.7), row_of("pnp-mean", 40.0))
    assert [found[0], found[1], found[3]] == ["not decided"] * 3
    first = results["claims"]["last"][0]
    assert "two seeds are needed" in first["reason"]
    assert first["ours"] == "JTFS 18.70 against 45.80; MSS 0.47 against 1.15"


def test_one_seed_of_the_papers_protocol_borrows_its_spread():
    losses = ("p", "pnp", "pnp-mean")
    rows = {loss: {"config": config_dict(TrainingConfig(GridConfig(), loss)), "seeds": [0]} for loss in losses}
    for row, jtfs in zip(rows.values(), (43.8, 15.1, 16.5), strict=True):
        row |= {d: {"mean": jtfs * scale, "sd": None} for d, scale in (("jtfs", 1), ("mss", 1 / 30))}
        row |= {f"error_{name}": {"mean": error} for name, error in MEAN_ERRORS.items()}
    # With the t of three seeds 4.30 · √(6.9² + 0.3²) = 29.7
    sure = {"difference": -30.7, "items": (-31.0, -30.0), "seeds": None}
    small = {"difference": -0.9, "items": (-1.0, -0.8), "seeds": None}
    compared = {"pnp - p": {"jtfs": sure, "mss": small}, "pnp-mean - pnp": {"jtfs": small, "mss": small}}
    first, second, third, fourth = claims(rows, compared, MEAN_ERRORS)
    assert (first.verdict, second.verdict, fourth.verdict) == ("agrees", "not decided", "not decided")
    assert "known deviation over seeds [-44.24, -17.16]" in first.reason  # 1.96 · √(6.9² + 0.3²) = 13.54
    assert "that of 3 seeds [-60.42, -0.98]" in first.reason
    assert third.reason.endswith("1 seed")
    sure["difference"] = -28.7  # seen by a known deviation, not by that of three seeds
    assert claims(rows, compared, MEAN_ERRORS)[0].verdict == "partly"
    rows["p"]["config"]["batch_size"] = 64
    assert claims(rows, compared, MEAN_ERRORS)[0].verdict == "not decided"


def test_the_readings_of_the_printed_spread():
    known, of_three = borrowed_quantiles().values()
    assert known * 6.9 < 28.7 < of_three * 6.9


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [(1.0, "agrees"), (1.3, "disagrees"), (0.7, "disagrees"), (0.0, "disagrees"), (1.25, "not decided")],
)
def test_equal_ratios_are_shown_by_two_one_sided_tests(monkeypatch, scale, verdict):
    """With a printed ± of one per cent; a perfect predictor is far from any ratio that was printed."""
    sure = {
        loss: {d: (row[d][0], 0.01 * row[d][0]) for d in ("jtfs", "mss")} for loss, row in PAPER.items() if row["mss"]
    }
    monkeypatch.setattr("pnpkit.experiment.results.claims.PAPER", sure)
    near = {loss: {d: sure[loss][d][0] * (1 if loss == "p" else scale) for d in ("jtfs", "mss")} for loss in sure}
    seeds = [
        [evaluation(loss, k, v["jtfs"] + j, v["mss"]) for k, j in enumerate((0, 1e-3))] for loss, v in near.items()
    ]
    assert verdicts(*seeds)[0][3] == verdict


def test_a_perfect_predictor_is_not_the_papers():
    perfect = [row_of(loss, 0.0, 0.0001, mss=1e-6) for loss in ("pnp", "pnp-mean")]
    assert verdicts(row_of("p", 45.8, 45.9, mss=1.2), *perfect)[0][3] == "disagrees"


def test_one_seed_of_another_protocol_says_nothing_of_ratios():
    rows = [row_of(loss, 45.8, mss=1.2, epochs=20) for loss in ("p", "pnp", "pnp-mean")]
    found, results = verdicts(*rows)
    assert found[3] == "not decided"
    assert "our own spread is unknown" in results["claims"]["last"][3]["reason"]


@pytest.mark.parametrize(
    ("jtfs", "mss", "verdict"),
    [(20, 0.5, "agrees"), (20, 2.0, "partly"), (60, 0.5, "partly"), (60, 2.0, "disagrees"), (45, 1.2, "not decided")],
)
def test_two_distances_make_one_verdict(jtfs, mss, verdict):
    p = row_of("p", 44.0, 45.0, 46.0, mss=1.2)
    pnp = row_of("pnp", jtfs - 1.0, jtfs + 0.0, jtfs + 1.0, mss=mss)
    assert verdicts(p, pnp)[0][0] == verdict


@pytest.mark.parametrize(
    ("errors", "coordinates", "verdict"),
    [
        ((10.0, 3.0, 0.8), "raw", "agrees"),
        ((10.0, 1.0, 0.8), "raw", "partly"),
        ((10.0, 1.0, 0.1), "raw", "disagrees"),
        ((130.0, 3.0, 0.8), "raw", "not decided"),
        ((10.0, 3.0, 0.8), "logminmax", "not decided"),
    ],
)
def test_what_the_p_loss_learns(errors, coordinates, verdict):
    found, results = verdicts(row_of("p", 45.0, 46.0, errors=errors, coordinates=coordinates))
    assert found[2] == verdict
    assert results["claims"]["last"][2]["ours"].startswith(f"f_c {100 * errors[0] / 140:.0f} %")


def test_one_ratio_that_differs_is_enough_to_disagree():
    p, pnp = row_of("p", 45.7, 45.9, mss=1.22), row_of("pnp", 18.7, 18.8, mss=0.74)
    assert verdicts(p, pnp, row_of("pnp-mean", 90.0, 91.0, mss=2.4))[0][3] == "disagrees"
    assert verdicts(p, pnp, row_of("pnp-mean", 24.0, 25.0, mss=0.8))[0][3] == "not decided"


def test_no_run_decides_nothing_and_says_which_is_missing():
    assert {c.verdict for c in claims({}, {}, MEAN_ERRORS)} == {"not decided"}
    found, results = verdicts(row_of("p", 45.7, 45.9))
    assert results["claims"]["last"][0]["reason"] == "there is no run of PNP"
    assert found[0] == "not decided"


def test_rows_are_means_and_sample_deviations_over_seeds():
    results = build_results(row_of("p", 44.0, 45.0, 49.0), reference())
    row = results["rows"]["last"]["p"]
    assert row["jtfs"]["mean"] == pytest.approx(46.0)
    assert row["jtfs"]["sd"] == pytest.approx(np.std([44, 45, 49], ddof=1))
    assert row["hours"]["mean"] == pytest.approx(2.0)
    assert row["items"] == 3 * N
    assert "seed" not in row["config"]


def test_paired_items_are_surer_than_items_alone():
    results = build_results(row_of("p", 45.0, 46.0) + row_of("pnp", 44.0, 45.0), reference())
    low, high = results["comparisons"]["last"]["pnp - p"]["jtfs"]["items"]
    alone = results["rows"]["last"]["p"]["jtfs"]["mean"] * 0.115 / np.sqrt(N)  # standard error of one row
    assert high < 0
    assert high - low < alone


def test_table_has_a_dash_for_no_run_and_for_the_spread_of_one_seed():
    page = table(build_results(row_of("p", 45.8, 46.0) + row_of("pnp", 18.0), reference()))
    assert page.loc["SP", ["JTFS", "MSS", "JTFS ÷ P", "hours", "JTFS, paper"]].tolist() == [DASH] * 5
    assert page.loc["SP", "hours, paper"] == PAPER["sp"]["hours"]
    assert page.loc["PNP", "JTFS"] == f"18.00 ± {DASH}"
    assert page.loc["P", "JTFS"] == "45.90 ± 0.14"
    assert page.loc[["P", "SP", "train mean"], "epochs"].tolist() == ["70", DASH, DASH]
    assert page.loc["PNP", ["JTFS ÷ P", "JTFS ÷ P, paper"]].tolist() == ["0.39", "0.41"]
    assert page.loc["train mean", ["JTFS", "hours"]].tolist() == ["69.20", DASH]
    assert "weighted P" not in page.index  # neither ours nor the paper's


def test_a_synthesiser_without_printed_numbers_has_no_column_and_no_claim_of_the_paper():
    grid = GridConfig("drum", "all", 5)
    rows = row_of("p", 45.8, 46.0, grid=grid) + row_of("pnp-adaptive", 18.0, grid=grid)
    results = build_results(rows, reference(grid))
    page = table(results)
    assert list(page.index) == ["P", "PNP + λI, adaptive", "train mean"]  # not SP, which the paper prints
    assert not [column for column in page if "paper" in column]
    assert claim_table(results).empty
    assert ours_and_paper(results, "jtfs")[0]["paper"].isna().all()
    low, high = results["comparisons"]["last"]["pnp-adaptive - p"]["jtfs"]["items"]
    assert low < high < 0


def test_claims_that_no_row_decides_come_after_those_that_one_does():
    _, results = verdicts(row_of("p", 45.7, 45.9))
    more = Claim(5, "training costs the same", "agrees", "1.02 times", "1.5 h each", "because")
    shown = claim_table(results, more=[more])
    assert shown.index.tolist() == [1, 2, 3, 4, 5]
    assert shown.loc[5].tolist() == ["training costs the same", "1.02 times", "1.5 h each", "agrees", "because"]


def test_numbers_for_the_figure_are_those_of_the_table():
    means, deviations = ours_and_paper(
        build_results(row_of("p", 45.8, 46.0) + row_of("pnp", 18.0), reference()), "jtfs"
    )
    assert means.loc["P"].tolist() == pytest.approx([45.9, 45.81])
    assert deviations.loc["P"].tolist() == pytest.approx([0.02**0.5, 0.3])
    assert means.isna().sum().to_dict() == {"ours": 1, "paper": 0}  # PNP + λM̄ has no run
    assert deviations.loc["PNP"].isna().tolist() == [True, False]  # one seed


def test_a_mean_is_split_by_what_is_out_of_range():
    run = evaluation("pnp", 0, 10.0)
    run.items.loc[:49, ["jtfs", "outside_gamma"]] = [100.0, True]
    page = split_table({"PNP": run, "the same": replace(run, validation={"last": {"jtfs": {"mean": 9.5}}})}, "gamma")
    assert page["validation fold, mean"].tolist() == [DASH, "9.50"]
    mean, median, rms, lost, theirs, others = page.loc["PNP"].iloc[:6].astype(float)
    assert (lost, theirs) == (50, 100.0)
    assert mean == pytest.approx((lost * theirs + (N - lost) * others) / N, abs=0.01)
    assert others == pytest.approx(run.items.jtfs[50:].mean(), abs=0.01)
    assert median < mean < rms
    whole = split_table({"P": evaluation("p", 0, 45.0)}, "gamma").loc["P"]
    assert (whole["their mean"], whole["mean"]) == (DASH, whole["mean of the others"])


def test_weights_that_no_run_has_are_refused_by_name():
    run = evaluation("p", 0, 45.0)
    results = build_results([run], reference())
    for make in (table, error_table, claim_table, lambda *of: ours_and_paper(of[0], "jtfs", of[1])):
        with pytest.raises(UnknownName, match=r"unknown weights 'average'; valid ones: last$"):
            make(results, "average")
    for read in (run.of, lambda kind: split_table({"P": run}, "gamma", kind)):
        with pytest.raises(UnknownName, match=r"weights of evaluation/p/0 'average'; valid ones: last$"):
            read("average")


def test_failures_are_in_the_table():
    run = evaluation("p", 0, 45.0)
    run.items.loc[:2, ["jtfs", "mss", "ddsp"]] = np.nan
    run.items.loc[:2, "status"] = "not finite"
    run.items.loc[:9, "outside_gamma"] = True
    run.items.loc[:4, "outside_f_c"] = True
    page = error_table(build_results([replace(run, summary=summarise(run.items, 50))], reference()))
    assert page.loc["P", ["left out", "out of range", "of"]].tolist() == ["3", "10", str(N)]


def test_a_seed_without_a_finite_distance_leaves_its_row_without_a_mean():
    run = evaluation("p", 0, 45.0)
    run.items[[*DISTANCES]] = np.nan
    results = build_results([replace(run, summary=summarise(run.items, 50)), evaluation("p", 1, 45.0)], reference())
    assert table(results).loc["P", "JTFS"] == DASH
    assert results["claims"]["last"][3]["verdict"] == "not decided"


def test_results_survive_json(tmp_path):
    results = build_results(row_of("p", 45.8, 46.0) + row_of("pnp", 18.0), reference(), config=GRID)
    write_json(tmp_path / "results.json", results)
    stored = json.loads((tmp_path / "results.json").read_text())
    for make in (table, error_table, claim_table):
        pd.testing.assert_frame_equal(make(stored), make(results))
    assert stored["provenance"]["config"] == config_dict(GRID)
    assert set(stored["runs"]) == {"p/0", "p/1", "pnp/0"}


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([evaluation("p", 0, 45.0), evaluation("p", 1, 45.0, epochs=3)], r"mixes.*epochs.*p/0, evaluation/p/1"),
        ([evaluation("p", 0, 45.0), evaluation("p", 0, 46.0)], r"seed twice, seeds \[0, 0\]: evaluation/p/0"),
        ([evaluation("p", 0, 45.0)], r"'p' has seeds \[0\], not \[0, 1\]: evaluation/p/0"),
    ],
)
def test_runs_that_cannot_share_a_row_are_refused_by_name(runs, message):
    with pytest.raises(ValueError, match=message):
        build_results(runs, reference(), seeds=(0, 1))


def test_other_data_sets_cannot_share_a_table():
    other = evaluation("pnp", 0, 18.0, grid=GridConfig(n_steps=7))
    with pytest.raises(ValueError, match="evaluation/p/0 and evaluation/pnp/0"):
        build_results([evaluation("p", 0, 45.0), other], reference())


def test_renderings_hold_every_cell():
    page = table(build_results(row_of("pnp-mean", 15.0, 15.4), reference()))
    for form in ("html", "markdown", "latex"):
        text = render(page, form)
        assert all(cell in text for cell in ("15.15", "0.33", "69.20"))
    assert "λM̄" not in render(page, "latex")
    assert not {*"σ²γ"} & {*render(page.rename({"P": "P over σ², γ"}), "latex")}
    lines = render(page, "markdown").splitlines()
    assert len(lines) == len(page) + 2
    assert {line.count("|") for line in lines} == {page.shape[1] + 2}


def test_a_table_of_the_page_has_its_caption_and_heads_of_columns_and_rows():
    columns = {"JTFS": ["1.00 ± —", "-2.00 [-3.0, 12.5]"], "told": ["2 seeds", "—"]}
    page = pd.DataFrame(columns, index=pd.Index(["P", "PNP"], name="loss"))
    text = render(page, "html", "Distances <each>")
    assert text.count("<caption>Distances &lt;each&gt;</caption>") == 1
    heads = [("", "loss"), (' class="number"', "JTFS"), ("", "told")]
    assert re.findall(r'<th scope="col"(.*?)>(.*?)</th>', text) == heads
    assert re.findall(r'<th scope="row">(.*?)</th>', text) == ["P", "PNP"]
    numbers = ["1.00", "-2.00 [-3.0, 12.5]"]
    assert re.findall(r"<td(.*?)>(.*?)</td>", text)[::2] == [(' class="number"', n) for n in numbers]
    assert re.findall(r"<td(.*?)>(.*?)</td>", text)[1::2] == [("", "2 seeds"), ("", "—")]
    assert "<caption>" not in render(page, "html")


@pytest.mark.usefixtures("unchecked")
def test_unknown_rendering_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown form 'pdf'; valid ones: html, markdown, latex"):
        render(pd.DataFrame(), "pdf")


def _never(x):
    raise AssertionError


def spectrum(x):
    return torch.fft.rfft(x).abs()


def heard_by(descriptor=spectrum, grid=GRID):
    """The problem with another descriptor in the place of Φ."""
    problem = replace(PROBLEM, grid=grid)
    vars(problem)["phi"] = descriptor  # where the property keeps what it has made
    return problem


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "runs" / "p" / "0"
    write_json(folder / "config.json", config_dict(TrainingConfig(GRID, "p")))
    write_json(folder / "provenance.json", {"seconds": 60.0})
    predictions = reference_predictions(PROBLEM.table, PROBLEM.space)["train mean"]
    predictions.to_csv(folder / "predictions.csv", index=False)
    made = provenance(TrainingConfig(GRID, "p"), 60.0)
    write_record(folder / "provenance.json", made, ["config.json", "predictions.csv"])
    return folder


def test_an_evaluation_is_reused_and_never_mistaken_for_another(run_folder, tmp_path):
    out = tmp_path / "evaluation" / "p" / "0"
    made = evaluate_run(run_folder, out, heard_by())
    again = evaluate_run(run_folder, out, heard_by(_never))  # reads, so Φ is not called
    pd.testing.assert_frame_equal(made.items, again.items)
    assert made.summary == again.summary == read_evaluation(out).summary
    predictions = pd.read_csv(run_folder / "predictions.csv")
    direct = evaluate_reference("train mean", predictions, tmp_path / "mean", heard_by())
    pd.testing.assert_frame_equal(made.items, direct.items)
    file = run_folder / "predictions.csv"
    file.write_text(file.read_text().replace("7", "8"))
    with pytest.raises(Damaged, match=r"predictions\.csv is not the file that provenance\.json speaks of"):
        evaluate_run(run_folder, out, heard_by())
    seal_all(run_folder, again=True)
    with pytest.raises(ArtefactMismatch, match="predictions"):
        evaluate_run(run_folder, out, heard_by())


def test_a_stored_distance_is_checked_against_a_new_one(run_folder, tmp_path):
    out = tmp_path / "out"
    evaluate_run(run_folder, out, heard_by())
    heard = []

    def counting(x):
        heard.append(len(x))
        return spectrum(x)

    assert verify_evaluation(run_folder, out, heard_by(counting), n=5) < 1e-6
    assert sum(heard) == 10, "five targets, five reconstructions"
    items = pd.read_csv(out / "items.csv")
    items.loc[items.id == items.id[3], "mss"] *= 1.01
    items.to_csv(out / "items.csv", index=False)
    with pytest.raises(Damaged, match=r"items\.csv is not the file that summary\.json speaks of"):
        verify_evaluation(run_folder, out, heard_by(), n=1000)
    seal_all(out, again=True)
    with pytest.raises(ValueError, match=rf"ids \[{items.id[3]}\] are not those of a new computation to 1e-03"):
        verify_evaluation(run_folder, out, heard_by(), n=1000)
    items.assign(status="silent").to_csv(out / "items.csv", index=False)
    seal_all(out, again=True)
    with pytest.raises(ValueError, match="are not those of a new computation"):
        verify_evaluation(run_folder, out, heard_by(), n=2)


def test_a_run_of_another_data_set_is_refused_by_its_file(run_folder, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is of the data set .*'n_steps': 6"):
        evaluate_run(run_folder, tmp_path / "out", heard_by(grid=GridConfig(n_steps=30)))
    assert not (tmp_path / "out").exists()


def test_a_killed_evaluation_leaves_nothing_that_looks_complete(run_folder, tmp_path):
    calls = []

    def dies(x):
        calls.append(x)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return spectrum(x)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run_folder, out, heard_by(dies))
    assert not (out / "summary.json").exists()
    assert len(evaluate_run(run_folder, out, heard_by()).items) == (PROBLEM.table.fold == "test").sum()
