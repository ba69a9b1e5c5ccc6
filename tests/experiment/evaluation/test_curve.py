"""Distance against time: zero for exact answers, and the seconds of the history."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from pnpkit.experiment.artefacts import ArtefactMismatch, write_json
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.evaluation.curve import distance_curve, in_range_from, shares_outside
from pnpkit.experiment.problem import Problem
from pnpkit.synth import Arpeggio

PROBLEM = Problem(GridConfig(n_steps=6), Arpeggio(n_samples=8192))
NAMES = ["f_c", "f_m", "gamma"]


@pytest.fixture
def run(tmp_path):
    """A run whose probe has three items: far off, then near, then exact but for one that is not finite."""
    folder = tmp_path / "run"
    folder.mkdir()
    table = PROBLEM.table
    exact = table[table.fold == "test"].head(3)[["id", *NAMES]]
    parts = [exact.assign(epoch=epoch, f_c=exact.f_c * factor) for epoch, factor in ((0, 1.5), (1, 1.01), (2, 1.0))]
    parts[2].loc[parts[2].index[0], "gamma"] = float("nan")
    pd.concat(parts).to_csv(folder / "probe.csv", index=False)
    pd.DataFrame({"epoch": [1, 2], "seconds": [3.0, 4.0]}).to_csv(folder / "history.csv", index=False)
    write_json(folder / "config.json", {"loss": "p"})
    return folder


def curve(run, calls):
    def phi(x):
        calls.append(len(x))
        return torch.fft.rfft(x.double()).abs()[..., :4096:8]

    problem = replace(PROBLEM)
    vars(problem)["phi"] = phi  # where the property keeps what it has made
    return distance_curve(run, run.parent / "out", problem)


def test_distances_and_seconds_of_each_epoch(run):
    calls = []
    found = curve(run, calls)
    assert found.epoch.tolist() == [0, 1, 2]
    assert found.seconds.tolist() == [0.0, 3.0, 7.0]
    assert found.left_out.tolist() == [0, 0, 1]
    assert found.jtfs[0] > found.jtfs[1] > 0
    assert found.jtfs[2] == pytest.approx(0, abs=1e-9)  # of the two that are left
    again = []
    pd.testing.assert_frame_equal(curve(run, again), found)
    assert sum(calls) <= 3 + 3 * 3, "a target is heard once, not once an epoch"
    assert not again, "what is on disk is read"
    probe = pd.read_csv(run / "probe.csv")
    probe.assign(f_c=probe.f_c + 1).to_csv(run / "probe.csv", index=False)
    with pytest.raises(ArtefactMismatch, match="probe: '"):
        curve(run, [])


def test_a_run_that_goes_on_takes_its_curve_along(run):
    history = pd.read_csv(run / "history.csv")  # whose last epoch is in the probe already, as after a kill between both
    (run / "history.csv").unlink()
    with pytest.raises(FileNotFoundError, match="no run of which an epoch has ended: `pnpkit train` makes it"):
        curve(run, [])
    history.head(1).to_csv(run / "history.csv", index=False)
    before = curve(run, [])
    history.to_csv(run / "history.csv", index=False)
    after = curve(run, [])
    assert (len(before), len(after)) == (2, 3)
    pd.testing.assert_frame_equal(after.head(2), before)


def test_a_shorter_curve_of_another_run_is_refused(run):
    history = pd.read_csv(run / "history.csv")
    history.head(1).to_csv(run / "history.csv", index=False)
    curve(run, [])
    history.to_csv(run / "history.csv", index=False)
    write_json(run / "config.json", {"loss": "pnp"})
    with pytest.raises(ArtefactMismatch, match=r"run: {'loss': 'p'} there, {'loss': 'pnp'} wanted"):
        curve(run, [])


@pytest.mark.parametrize(
    ("shares", "epoch"),
    [([1.0, 0.4, 0.6, 0.5, 0.2], 4), ([0.5, 0.2], 1), ([0.0, 0.1, 0.6], None), ([1.0, 1.0, 0.5], 3)],
)
def test_from_which_epoch_on_most_are_in_range(shares, epoch):
    """Not the first time, but the one after which it stays so, to the last epoch."""
    assert in_range_from(pd.Series(shares, range(1, len(shares) + 1))) == epoch


def test_shares_of_a_probe_out_of_range():
    rows = [(0, 100.0, 8.0, 1.0), (0, 700.0, 8.0, -1.0), (1, 700.0, 8.0, 1.0), (1, 700.0, 8.0, 9.0)]
    shares = shares_outside(pd.DataFrame(rows, columns=["epoch", *NAMES]), Arpeggio().parameters)
    assert shares.gamma.to_dict() == {0: 0.5, 1: 0.5}
    assert shares.f_c.to_dict() == {0: 0.5, 1: 0.0}
    assert not shares.f_m.any()
