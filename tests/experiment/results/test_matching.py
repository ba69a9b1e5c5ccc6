"""What was asked of matching holds in the rows that are shipped, as far as they go."""

from pathlib import Path

import pytest
from scipy import stats

from pnpkit.experiment.evaluation.study import read_study
from pnpkit.experiment.results.matching import SYMBOLS, noisy
from pnpkit.matching.answer import NOT

SHIPPED = Path(__file__).parents[3] / "data" / "matching"
NOISY = noisy(SHIPPED)


@pytest.mark.parametrize(
    ("noise", "quantile", "most"),
    [(20, 0.5, (0.3, 1.5, 1.5)), (20, 0.9, (1.0, 5.0, 5.0)), (60, 0.5, (0.05, 0.2, 0.2))],
)
def test_by_phi_alone_errors_in_noise_are_below_what_was_asked(noise, quantile, most):
    errors = NOISY[noise][[f"error_{name}" for name in SYMBOLS]]  # of those that did not converge, too
    assert (errors.quantile(quantile) <= list(most)).all()


@pytest.mark.parametrize("noise", [20, 40])
def test_finished_on_the_waveform_medians_are_within_three_times_the_bound(noise):
    rows = NOISY[noise]
    for name in SYMBOLS:
        assert (rows[f"error_{name}_waveform"] / rows[f"bound_{name}"]).median() <= 3


@pytest.mark.parametrize("way", ["held", "held_waveform"])
@pytest.mark.parametrize("noise", sorted(NOISY))
def test_regions_hold_the_truth_as_often_as_they_say(noise, way):
    held = NOISY[noise][way].dropna().astype(bool)
    share = stats.binomtest(int(held.sum()), len(held)).proportion_ci(0.95)
    assert share.low <= 0.98
    assert share.high >= 0.90


def test_clean_sounds_are_found_from_the_atlas_alone():
    rows = read_study(SHIPPED / "clean")
    assert rows.distance.mean() <= 0.05
    assert (rows.distance >= 1).sum() <= max(1, len(rows) / 1000)
    assert rows.jacobians.median() <= 8


def test_what_is_no_drum_is_refused_and_two_toms_of_three_are_near_one():
    rows = read_study(SHIPPED / "recordings").set_index("item")
    assert set(rows.verdict[["hihat-24bit.wav", "trimo-c3-stereo.wav"]]) == {NOT}
    assert (rows.verdict[rows.index.str.contains("tom")] != NOT).sum() >= 2
    for name, peak in (("tom-0105-stereo.wav", 65.3), ("noise-tom-0.wav", 71.3)):  # Hz, of the spectrum
        assert rows.after[name] == pytest.approx(peak, rel=0.05)
