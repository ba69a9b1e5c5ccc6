"""Predictions and how far they are, of which none may vanish."""

import numpy as np
import pandas as pd
import pytest
import torch

from pnpkit.experiment.artefacts import write_json
from pnpkit.experiment.dataset import arpeggio_grid, theta_of
from pnpkit.experiment.evaluation.items import (
    DISTANCES,
    bootstrap_interval,
    evaluate,
    reference_predictions,
    summarise,
)
from pnpkit.jtfs import log_compress
from pnpkit.synth import Arpeggio

SYNTH = Arpeggio(n_samples=4096)
NAMES = SYNTH.parameters.names
GRID = arpeggio_grid(6)
TEST = GRID[GRID.fold == "test"].sort_values("id", ignore_index=True)


def spectrum(x):
    """A toy scattering: fast, insensitive to the sign, enough to count and compare."""
    return torch.fft.rfft(x).abs()


def phi(x):
    return log_compress(spectrum(x))


def perfect(kinds=("last",)):
    columns = {f"{kind}_{name}": TEST[name] for kind in kinds for name in NAMES}
    return pd.DataFrame({"id": TEST.id} | columns)


def test_perfect_predictions_cost_nothing():
    items = evaluate(perfect(("last", "best")), GRID, SYNTH, phi)
    assert items.groupby("weights", sort=False).size().to_dict() == {"last": len(TEST), "best": len(TEST)}
    assert (items.status == "ok").all()
    assert (items[[*DISTANCES]].to_numpy() == 0).all()
    assert (items.filter(regex="^(error|percent|outside)_").to_numpy() == 0).all()


def test_errors_are_in_units_and_per_cent_of_the_truth():
    guess = perfect()
    guess["last_f_c"] *= 1.1
    guess["last_gamma"] += 10
    items = evaluate(guess, GRID, SYNTH, phi)
    np.testing.assert_allclose(items.percent_f_c, 10)
    np.testing.assert_allclose(items.error_f_c, 0.1 * TEST.f_c)
    np.testing.assert_allclose(items.error_gamma, 10)
    assert items.outside_gamma.all()
    assert (items.outside_f_c == (TEST.f_c * 1.1 > 1024)).all()
    assert not items.outside_f_m.any()


def test_what_rounding_alone_leads_out_of_range_is_in_range() -> None:
    bound = torch.tensor([[-1.0, 1.0, 1.0]], dtype=torch.float64)
    assert Arpeggio.parameters.in_range(Arpeggio.parameters.decode(bound, "logminmax") * (1 + 3e-16)).all()
    assert not Arpeggio.parameters.in_range(torch.tensor([[1024.1, torch.nan, 4.00001]])).any()


def test_items_do_not_depend_on_their_batch_nor_on_the_order_of_the_file():
    guess = perfect(("last", "best"))
    guess["best_f_m"] *= 1.2
    whole = evaluate(guess, GRID, SYNTH, phi, batch_size=100)
    calls = []
    parts = evaluate(
        guess.sample(frac=1, random_state=0), GRID, SYNTH, phi, batch_size=4, progress=lambda *c: calls.append(c)
    )
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-6)
    assert calls[-1] == (len(TEST), len(TEST))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize(
    ("variant", "column", "value", "status"),
    [
        ("code", "last_f_c", np.nan, "not finite"),
        ("code", "last_f_m", -np.inf, "not finite"),
        ("code", "last_gamma", 1e200, "not finite"),  # θ̃ is finite, its sound is not
        ("paper", "last_gamma", 1e-33, "not finite"),  # so loud that its Φ is not
        ("code", "last_gamma", 0.0, "silent"),
        ("paper", "last_gamma", 0.0, "not finite"),  # g refuses it
    ],
)
def test_what_cannot_be_heard_is_counted_and_left_out_of_the_mean_alone(variant, column, value, status):
    guess = perfect()
    guess["last_f_m"] *= 1.1
    synth = Arpeggio(variant, n_samples=4096)
    clean = evaluate(guess, GRID, synth, phi)
    guess.loc[2, column] = value
    items = evaluate(guess, GRID, synth, phi)
    assert items.status[2] == status
    assert items.loc[2, [*DISTANCES]].isna().all()
    pd.testing.assert_frame_equal(items.drop(index=2), clean.drop(index=2))
    summary = summarise(items)["last"]
    assert summary["items"] == len(TEST)
    assert summary["status"][status] == 1
    for name in DISTANCES:
        assert summary[name]["left_out"] == 1
        assert summary[name]["mean"] == pytest.approx(clean.drop(index=2)[name].mean())


def test_kinds_of_weights_do_not_mix_however_many():
    """The third answers as the first did; the second as neither."""
    factors = {"a": 1.0, "b": 1.1, "c": 1.0}
    columns = {f"{kind}_{n}": TEST[n] * f for kind, f in factors.items() for n in NAMES}
    table = pd.DataFrame({"id": TEST.id} | columns)
    items = evaluate(table, GRID, SYNTH, phi, weights=("a", "b", "c", "d"))
    means = items.groupby("weights").jtfs.mean()
    assert list(means.index) == ["a", "b", "c"]
    assert means["a"] == means["c"] == 0 < means["b"]
    with pytest.raises(ValueError, match="columns x_<name> or y_<name> are needed"):
        evaluate(table, GRID, SYNTH, phi, weights=("x", "y"))


def test_predictions_of_something_else_are_refused_by_the_name_of_their_file():
    guess, other = perfect(), GRID[GRID.fold == "train"].head(len(TEST))
    strangers = guess.assign(id=other.id.to_numpy())
    for wrong in (guess.iloc[1:], pd.concat([guess, guess.iloc[:1]]), strangers):
        with pytest.raises(ValueError, match=r"runs/p/0/predictions\.csv.*21 items"):
            evaluate(wrong, GRID, SYNTH, phi, source="runs/p/0/predictions.csv")
    with pytest.raises(ValueError, match=r"the predictions: columns last_<name>.*f_c, f_m, gamma"):
        evaluate(guess.drop(columns="last_f_m"), GRID, SYNTH, phi)


def test_reference_predictions_know_the_train_fold_only():
    constant, exact = reference_predictions(GRID, SYNTH.parameters).values()
    mean = theta_of(GRID[GRID.fold == "train"], SYNTH.parameters).mean(0)
    for predictions in (constant, exact):
        assert set(predictions.id) == set(TEST.id)
    np.testing.assert_allclose(constant[[f"last_{n}" for n in NAMES]], np.tile(mean, (len(TEST), 1)))
    np.testing.assert_array_equal(exact.sort_values("id").last_f_c, TEST.f_c)
    assert exact.drop(columns=["id", "last_f_c"]).equals(constant.drop(columns=["id", "last_f_c"]))


def test_summary_is_the_textbooks():
    values = np.random.default_rng(0).gamma(2.0, size=400)
    items = pd.DataFrame({"weights": "last", "status": "ok"} | dict.fromkeys(DISTANCES, values))
    found = summarise(items)["last"]["jtfs"]
    assert found["mean"] == pytest.approx(values.mean())
    assert found["standard_error"] == pytest.approx(values.std(ddof=1) / 20)
    normal = values.mean() + 1.96 * np.array([-1, 1]) * values.std(ddof=1) / 20
    np.testing.assert_allclose(found["interval"], normal, atol=0.2 * values.std() / 20)
    assert found["interval"] == bootstrap_interval(values)


def test_a_run_without_one_audible_item_has_no_mean_and_still_a_summary(tmp_path):
    items = evaluate(perfect().assign(last_f_c=np.nan), GRID, SYNTH, phi)
    summary = summarise(items)
    assert summary["last"]["jtfs"] == {
        "mean": None,
        "standard_error": None,
        "interval": None,
        "left_out": len(TEST),
    }
    assert summary["last"]["error_f_c"]["median"] is None
    write_json(tmp_path / "summary.json", summary)
