"""From evaluations to ``results.json``: rows over seeds, comparisons, verdicts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pnpkit.experiment.artefacts import provenance
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.folder import Evaluation
from pnpkit.experiment.evaluation.items import DISTANCES, WEIGHTS, bootstrap_interval
from pnpkit.experiment.results import claims as verdict
from pnpkit.experiment.results.frame import COUNTS, networks, over_seeds
from pnpkit.experiment.results.intervals import welch_interval

PAIRS = [("pnp-mean", "pnp"), *((loss, "p") for loss in LOSS_LABELS if loss != "p")]  # that are compared


def build_results(
    evaluations: Sequence[Evaluation],
    references: Mapping[str, Evaluation],
    seeds: Sequence[int] | None = None,
    config: Any = None,
) -> dict[str, Any]:
    """Everything Table 1 says, ready for :func:`pnpkit.experiment.artefacts.write_json`.

    Args:
        evaluations: of all runs, in any order.
        references: by name; ``"train mean"`` is needed.
        seeds: that every row with a run must have; any if None.
        config: what to record as the configuration (a profile).

    Returns:
        ``parameters`` (names); ``rows`` by kind of weights and loss (None without a run), ``comparisons`` and
        ``claims`` by kind of weights; ``references``, ``paper``, ``runs`` (provenance of each), ``provenance``. The
        paper has numbers and claims for the arpeggio only; for another synthesiser both are empty.

    Raises:
        ValueError: if the rows mix data sets, a row mixes configurations, repeats a seed or lacks one; names the
            folders.
    """
    began = time.perf_counter()
    losses = dict.fromkeys(e.run["loss"] for e in evaluations)
    configs = {loss: _config_of_row(loss, evaluations, seeds) for loss in losses}
    _require_one_data_set([*evaluations, *references.values()])
    constant, frame = references["train mean"], networks(evaluations)
    printed = verdict.PAPER if constant.run["grid"]["synth"] == verdict.PAPER_SYNTH else {}
    names = [c.removeprefix("error_") for c in map(str, constant.items) if c.startswith("error_")]
    mean_errors = {name: constant.summary["last"][f"error_{name}"]["median"] for name in names}
    rows: dict[str, dict[Any, Any]] = {}
    comparisons, claims = {}, {}
    for weights in WEIGHTS:
        part = frame[frame.index.get_level_values("weights") == weights].droplevel("weights")
        # Runs of before the average was kept lack it; a row of it has all seeds or is none
        part = part.drop(index=[e.run["loss"] for e in evaluations if weights not in e.summary], errors="ignore")
        if part.empty and weights != "last":
            continue
        rows[weights] = dict.fromkeys(LOSS_LABELS) | {
            loss: _row(runs.droplevel("loss"), configs[loss]) for loss, runs in part.groupby("loss")
        }
        heard = {
            (e.run["loss"], e.run["seed"]): e.of(weights)[list(DISTANCES)] for e in evaluations if weights in e.summary
        }
        comparisons[weights] = {
            f"{a} - {b}": {d: _compare(part[d], heard, a, b, d) for d in DISTANCES}
            for a, b in PAIRS
            if rows[weights][a] and rows[weights][b]
        }
        decided = verdict.claims(rows[weights], comparisons[weights], mean_errors) if printed else []
        claims[weights] = [asdict(claim) for claim in decided]
    return {
        "parameters": names,
        "rows": rows,
        "references": {name: e.summary["last"] for name, e in references.items()},
        "comparisons": comparisons,
        "claims": claims,
        "paper": {"source": "GRETSI 2023, Table 1, test fold" if printed else "", "rows": printed},
        "runs": {f"{e.run['loss']}/{e.run['seed']}": e.made for e in evaluations},
        "provenance": provenance({} if config is None else config, time.perf_counter() - began),
    }


def _config_of_row(loss: str, evaluations: Sequence[Evaluation], seeds: Sequence[int] | None) -> dict[str, Any]:
    """What the runs of a loss have in common, which is all but the seed."""
    runs = sorted((e for e in evaluations if e.run["loss"] == loss), key=lambda e: e.run["seed"])
    names, found = ", ".join(str(e.folder) for e in runs), [e.run["seed"] for e in runs]
    keys = sorted({k for e in runs for k in e.run} - {"seed"})
    if differ := [k for k in keys if any(e.run.get(k) != runs[0].run.get(k) for e in runs)]:
        raise ValueError(f"row {loss!r} mixes configurations ({', '.join(differ)} differ): {names}")
    if len(set(found)) < len(found):
        raise ValueError(f"row {loss!r} has a seed twice, seeds {found}: {names}")
    if seeds is not None and set(found) != set(seeds):
        raise ValueError(f"row {loss!r} has seeds {found}, not {list(seeds)}: {names}")
    return {k: runs[0].run[k] for k in keys}


def _require_one_data_set(evaluations: Sequence[Evaluation]) -> None:
    first = evaluations[0]
    for e in evaluations:
        if e.run["grid"] != first.run["grid"] or not np.array_equal(e.items.id.unique(), first.items.id.unique()):
            raise ValueError(f"different data sets cannot share a table: {first.folder} and {e.folder}")


def _row(runs: pd.DataFrame, config: dict[str, Any]) -> dict[str, Any]:
    counts = {name: int(runs[name].sum()) for name in COUNTS}
    measures = {str(name): over_seeds(values) for name, values in runs.drop(columns=COUNTS).items()}
    return {"seeds": runs.index.tolist(), "config": config, **counts, **measures}


def _compare(means: pd.Series, heard: Mapping[tuple[str, int], pd.DataFrame], a: str, b: str, d: str) -> dict[str, Any]:
    """95 % intervals of the mean of ``a`` minus that of ``b``: over paired items, and over seeds."""
    first, second = (np.mean([heard[loss, seed][d] for seed in means[loss].index], axis=0) for loss in (a, b))
    difference = first - second
    kept = difference[np.isfinite(difference)]
    return {
        "difference": float(kept.mean()) if len(kept) else None,
        "left_out": int(len(difference) - len(kept)),
        "items": bootstrap_interval(kept),
        "seeds": welch_interval(means[a].tolist(), means[b].tolist()) if means[[a, b]].notna().all() else None,
    }
