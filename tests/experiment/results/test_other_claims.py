"""Claims 5 to 7: each verdict follows from the numbers by the rule that its docstring states."""

from pathlib import Path

import numpy as np
import pytest

from pnpkit.experiment.evaluation.directions import PAIRS, WHEN, kept_cosines
from pnpkit.experiment.results.other_claims import cost_claims, kept_claims, stability_claim
from pnpkit.experiment.results.tables import claim_table
from pnpkit.experiment.workspace import Workspace

SHIPPED = Path(__file__).parents[3] / "data"


def benchmark(pnp=1.0, mean=1.0, phi=200.0):
    row = {"operation": "forward", "n_samples": 4096}
    steps = {"p": 0.01, "pnp": 0.01 * pnp, "pnp-mean": 0.01 * mean}
    return {
        "training_step": {"steps": steps, "network": 0.01, "phi": 0.01 * phi},
        "rows": [
            row | {"algorithm": "pnpkit", "seconds": 0.5},
            row | {"algorithm": "direct", "seconds": 15.0},
            row | {"algorithm": "pnpkit", "n_samples": 8192, "seconds": 1.0},
        ],
    }


@pytest.mark.parametrize(
    ("pnp", "mean", "verdict"),
    [(1.09, 0.92, "agrees"), (1.09, 1.2, "partly"), (0.8, 1.2, "disagrees")],
)
def test_the_same_cost_means_within_ten_per_cent(pnp, mean, verdict):
    claim = cost_claims(benchmark(pnp, mean))[0]
    assert (claim.number, claim.verdict) == (5, verdict)
    assert f"a step of PNP {pnp:.2f}" in claim.ours


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(99.0, "not decided"), (101.0, "agrees"), (399.0, "agrees"), (401.0, "not decided")]
)
def test_two_hundred_times_means_within_a_factor_of_two(ratio, verdict):
    claim = cost_claims(benchmark(phi=ratio))[1]
    assert (claim.number, claim.verdict) == (6, verdict)
    assert claim.ours.startswith(f"{ratio:.1f} times")
    assert "Φ of 4096 samples takes 30 times as long as here" in claim.reason  # not 8192: no direct row


COSINES = np.random.default_rng(0).uniform(0.4, 0.6, 40)


@pytest.mark.parametrize(
    ("mss", "text", "verdict"),
    [
        (COSINES - 0.6, COSINES - 0.6, "agrees"),
        (COSINES - 0.2, COSINES - 0.2, "partly"),  # a worse direction that still leads home
        (COSINES - 0.6, COSINES[::-1], "partly"),
        (COSINES - 0.2, COSINES + 0.1, "partly"),
        (COSINES[::-1], COSINES[::-1], "not decided"),
        (COSINES[::-1], COSINES + 0.1, "disagrees"),
    ],
)
def test_stable_means_a_gradient_that_points_home_better(mss, text, verdict):
    claim = stability_claim({when: {"MSS": mss, "JTFS": COSINES, "MSS, text": text} for when in WHEN})
    assert (claim.number, claim.verdict) == (7, verdict)
    assert "mean over 40 guesses" in claim.ours
    assert claim.reason.count("cosine JTFS −") == claim.reason.count("home JTFS −") == 4


def test_a_benchmark_without_the_direct_algorithm_says_so():
    report = benchmark()
    report["rows"] = [row for row in report["rows"] if row["algorithm"] != "direct"]
    assert "no other to compare" in cost_claims(report)[1].reason


@pytest.mark.parametrize("cosines", [{"JTFS": COSINES}, {"MSS": COSINES}, {"JTFS": COSINES, "MSS": np.nan * COSINES}])
def test_nothing_to_compare_is_an_error(cosines):
    with pytest.raises(ValueError, match="finite cosines of 'JTFS' and of another distance"):
        stability_claim({"together": cosines})


def test_one_guess_decides_nothing():
    one = np.array([0.5])
    assert stability_claim({"together": {"JTFS": one, "MSS": one - 0.4}}).verdict == "not decided"


def test_sounds_that_begin_together_and_those_that_do_not_count_alike():
    better, equal = {"JTFS": COSINES, "MSS": COSINES - 0.5}, {"JTFS": COSINES, "MSS": COSINES}
    assert stability_claim({"together": better, "300 ms late": better}).verdict == "agrees"
    for together, late in ((equal, better), (better, equal)):
        claim = stability_claim({"together": together, "300 ms late": late})
        assert claim.verdict == "partly"
        assert "300 ms late: JTFS" in claim.ours


def test_the_shipped_files_hold_all_seven_claims_and_every_pair_of_the_last():
    results = Workspace.open("paper", SHIPPED).results()
    assert claim_table(results, more=kept_claims(SHIPPED)).index.tolist() == [1, 2, 3, 4, 5, 6, 7]
    for when in WHEN:
        cosines = kept_cosines(SHIPPED / "matching", when)
        assert all(len(c) == PAIRS and (np.abs(c) <= 1).all() for c in cosines.values())
