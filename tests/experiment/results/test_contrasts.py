"""Metrics or units: endpoint and verdicts are those of the plan, on curves whose answer is known."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from pnpkit.experiment.artefacts import config_dict, provenance, write_json, write_record
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.profiles import get_profile
from pnpkit.experiment.results import contrasts as c
from pnpkit.experiment.workspace import Workspace
from pnpkit.synth import Arpeggio

LOSSES = ("p", "sigma-p", "weighted-p", "mean-metric", "pnp-permuted", "pnp-mean")


def curve(level, left_out=0, epochs=70):
    """Falls to a level, which it keeps over the last ten epochs, up and down by one in turn."""
    jtfs = [250.0] * (epochs - 9) + [level + (-1) ** k for k in range(10)]
    return pd.DataFrame({"epoch": range(epochs + 1), "left_out": left_out, "jtfs": jtfs})


def nobody(epoch):
    raise AssertionError(f"epoch {epoch} left nobody out")


def seeds(*values):
    return dict(enumerate(values))


def test_the_endpoint_is_the_mean_of_the_last_ten_epochs():
    assert c.endpoint(curve(15.0), 64, nobody) == pytest.approx(15.0)


def test_a_sound_without_a_distance_counts_as_its_own_norm():
    whole = c.endpoint(curve(15.0), 64, nobody)
    charged = c.endpoint(curve(15.0, left_out=1), 64, lambda epoch: [270.0])
    assert charged == pytest.approx((63 * whole + 270.0) / 64)
    none = curve(15.0, left_out=2).assign(jtfs=None)
    assert c.endpoint(none, 2, lambda epoch: [250.0, 270.0]) == pytest.approx(260.0)


def test_a_run_that_did_not_reach_the_end_has_no_endpoint():
    with pytest.raises(ValueError, match=r"epochs 61 to 70, and \[67, 68, 69, 70\] are missing"):
        c.endpoint(curve(15.0, epochs=66), 64, nobody)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((-28.0, -29.0, -30.0), "helps"),
        ((28.0, 29.0, 30.0), "harms"),
        ((-1.0, 0.5, 1.0), "nothing"),
        ((-9.0, 2.0, 5.0), "not decided"),
        ((-1.0, -3.9, -2.4), "not decided"),  # inside the margin itself, but its interval is not
        ((-1.0, -1.1, -1.2), "helps"),  # by less than the margin: the plan asks for zero first
    ],
)
def test_a_verdict_follows_from_the_interval(differences, verdict):
    found = c.contrast({k: 50.0 + d for k, d in enumerate(differences)}, seeds(50.0, 50.0, 50.0))
    assert found.verdict == verdict
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((low, high))
    assert found.words.startswith(verdict)


def test_seeds_are_paired():
    """What both losses owe to the seed does not widen the interval."""
    luck = np.array([0.0, 30.0, -20.0])
    found = c.contrast(seeds(*(15 + luck)), seeds(*(43 + luck)))
    assert found.interval == pytest.approx((-28, -28))


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ((), "not run yet"),
        ((9.0,), "not decided: seed 0 alone says -41.0"),
        ((9.0, 8.0), "not decided: seeds 0, 1 say -41.0, -42.0"),
    ],
)
def test_missing_runs_decide_nothing_and_what_there_is_is_said(later, words):
    found = c.contrast(seeds(*later), seeds(50.0, 50.0, 50.0))
    assert (found.verdict, found.words) == ("not decided", words)
    assert len(found.differences) == len(later)


def test_an_endpoint_that_is_not_finite_decides_nothing():
    assert c.contrast(seeds(9.0, np.nan, 9.0), seeds(50.0, 50.0, 50.0)).verdict == "not decided"


def test_the_page_names_what_each_contrast_subtracts():
    level = {
        "p": 44.0,
        "sigma-p": 30.0,
        "weighted-p": 25.0,
        "mean-metric": 20.0,
        "pnp-permuted": 18.0,
        "pnp-mean": 17.0,
    }
    found = {loss: seeds(*(level[loss] + 0.1 * k for k in range(3))) for loss in LOSSES}
    decided = c.contrasts(found)
    page = c.contrast_table(decided)
    assert list(page.index) == [*c.PRIMARY, *c.SECONDARY]
    assert page.loc["units", ["difference", "seed 0"]].tolist() == ["P over σ² − P", "-14.0"]
    total = sum(np.mean(list(decided[k].differences.values())) for k in ("units", "average perception"))
    assert total == pytest.approx(level["weighted-p"] - level["p"])
    assert c.answer(found).startswith("*units*: **helps: -14.0")


def test_the_answer_is_open_until_a_contrast_is_decided():
    assert c.answer({"p": seeds(44.0)}).startswith("**not decided**: no run of *P over σ²* or *weighted P* or")
    assert c.answer({loss: seeds(9.0) for loss in LOSSES}) == "**not decided**: it takes 3 seeds of each"
    some = c.answer({"p": seeds(44.0, 44.0, 44.0), "sigma-p": seeds(30.0, 31.0, 32.0)})
    assert "*units*: **helps" in some
    assert "*single sounds*: **not run yet**" in some


def phi_of(waveform):
    return torch.fft.rfft(waveform).abs()


class Small(Workspace):
    """Two epochs' worth of a profile on a small grid, with another descriptor in the place of Φ."""

    @property
    def problem(self):
        problem = replace(Problem(GridConfig(n_steps=6), Arpeggio(n_samples=4096)))
        vars(problem)["phi"] = phi_of  # where the property keeps what it has made
        return problem

    def curve(self, loss, seed, progress=None):
        return curve({"p": 44.0, "sigma-p": 30.0}[loss] + seed, left_out=int(loss == "sigma-p"))


def test_endpoints_come_from_the_folders_of_the_finished_runs(tmp_path):
    profile = replace(get_profile("paper-controls"), shares="")
    there = Small(profile, tmp_path, profile.name)
    part = there.problem.table.query("fold == 'test'").iloc[:3].drop(columns="fold")
    for loss, seed in itertools.product(("p", "sigma-p"), (0, 1)):
        folder = there.run_folder(loss, seed)
        folder.mkdir(parents=True)
        answers = pd.concat([part.assign(epoch=epoch) for epoch in c.EPOCHS])
        if loss == "sigma-p":
            answers.iloc[::3, answers.columns.get_loc("f_c")] = np.nan  # the first sound of each epoch
        answers[["epoch", "id", "f_c", "f_m", "gamma"]].to_csv(folder / "probe.csv", index=False)
        if (loss, seed) != ("p", 1):
            run = there.run_config(loss, seed)
            write_json(folder / "config.json", config_dict(run))
            write_record(folder / "provenance.json", provenance(run, 1.0), ["config.json", "probe.csv"])
    found = c.endpoints(there)
    assert {loss: list(runs) for loss, runs in found.items() if runs} == {"p": [0], "sigma-p": [0, 1]}
    assert found["p"][0] == pytest.approx(44.0)
    theta = torch.tensor(part[["f_c", "f_m", "gamma"]].to_numpy()[:1])
    norm = float(there.problem.listen(theta).double().norm())
    assert found["sigma-p"][1] == pytest.approx((2 * 31.0 + norm) / 3)
    assert c.contrasts(found)["units"].words.startswith("not decided: seed 0 alone says ")
