"""Ratios to the P-loss: of the same recipe and seed, over the same items, which makes the interval narrow."""

import numpy as np
import pandas as pd
import pytest

from pnpkit.experiment.artefacts import config_dict, provenance, write_json
from pnpkit.experiment.evaluation.items import bootstrap_interval, summarise
from pnpkit.experiment.workspace import Workspace
from pnpkit.figures.results import distance_ratios

WEIGHTS = {"last": 1, "best": 3}  # times the distances
P = np.array([40.0, 10.0, 30.0, 20.0])


def put(root, profile, loss, seed, jtfs, evaluated=True):
    workspace = Workspace.open(profile, root)
    write_json(workspace.run_folder(loss, seed) / "provenance.json", {})
    if evaluated:
        folder = workspace.evaluation_folder(loss, seed)
        folder.mkdir(parents=True)
        distances = {"status": "ok", "mss": 1.0, "ddsp": 1.0}
        columns = {w: {"id": range(4), "weights": w, "jtfs": jtfs * f} | distances for w, f in WEIGHTS.items()}
        items = pd.concat(map(pd.DataFrame, columns.values()))
        items.sample(frac=1, random_state=0).to_csv(folder / "items.csv", index=False)
        run = {"run": config_dict(workspace.run_config(loss, seed))}
        made = {"evaluation": provenance(run, 1.0), "run": provenance(run["run"], 1.0)}
        summary = {"config": run, "summary": summarise(items), "made": made}
        write_json(folder / "summary.json", summary)


def found(root, *profiles, **options):
    return distance_ratios([Workspace.open(name, root) for name in profiles], **options)


def test_a_run_is_measured_by_the_p_of_its_recipe_or_of_the_recipe_it_shares(tmp_path):
    put(tmp_path, "laptop", "p", 0, P)
    put(tmp_path, "raw", "p", 0, 2 * P)
    put(tmp_path, "raw", "pnp", 0, 3 * P)
    put(tmp_path, "lambda1", "pnp-mean", 0, 3 * P)
    table = found(tmp_path, "raw", "lambda1").set_index("profile")
    assert table.ratio.to_dict() == {"raw": 1.5, "lambda1": 3.0}
    assert table.loc["lambda1", ["loss", "seed", "lam", "mean", "p"]].tolist() == ["pnp-mean", 0, 10.0, 75.0, 25.0]
    np.testing.assert_allclose(table[["low", "high"]].to_numpy(), table[["ratio", "ratio"]].to_numpy())


def test_weights_are_compared_with_their_like(tmp_path):
    put(tmp_path, "laptop", "p", 1, P)
    put(tmp_path, "laptop", "pnp", 1, P + 10)
    last, best = (found(tmp_path, "laptop", weights=w).iloc[0] for w in ("last", "best"))
    assert (last["mean"], best["mean"]) == (35.0, 105.0)
    assert last.low < last.ratio == best.ratio == 1.4 < last.high


def test_what_is_not_evaluated_or_not_finite_is_left_out_and_counted(tmp_path):
    put(tmp_path, "laptop", "p", 0, P)
    put(tmp_path, "laptop", "pnp", 0, np.where(P == 10, np.nan, P))
    put(tmp_path, "laptop", "pnp-mean", 0, P, evaluated=False)
    put(tmp_path, "laptop", "pnp", 1, P)
    put(tmp_path, "raw", "p", 0, P)
    put(tmp_path, "raw", "pnp", 0, np.nan * P)
    (row,) = found(tmp_path, "laptop", "raw").itertuples()
    assert (row.loss, row.seed, row.left_out, row.p, row.ratio) == ("pnp", 0, 1, 30.0, 1.0)
    assert found(tmp_path, "log").empty


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_interval_covers_what_it_should(scale):
    """Of means known to be 3 and 2, in about 95 % of draws."""
    generator = np.random.default_rng(0)
    hits = 0
    for draw in range(200):
        b = generator.gamma(4.0, 0.5, 150)
        a = scale * (b + generator.gamma(4.0, 0.25, 150))
        low, high = bootstrap_interval(a, resamples=400, seed=draw, over=b)
        hits += low < scale * 1.5 < high
    assert 180 <= hits <= 199
