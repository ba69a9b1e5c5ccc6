"""From evaluations to ``results.json``: rows over seeds, comparisons, verdicts."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pnpkit.experiment.artefacts import provenance
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.folder import Evaluation
from pnpkit.experiment.evaluation.items import DISTANCES, WEIGHTS, bootstrap_interval
from pnpkit.experiment.results import claims as verdict
from pnpkit.experiment.results.intervals import welch_interval


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
    by_loss = {loss: _row_runs(loss, evaluations, seeds) for loss in LOSS_LABELS}
    _require_one_data_set([*evaluations, *references.values()])
    constant = references["train mean"]
    printed = verdict.PAPER if constant.run["grid"]["synth"] == verdict.PAPER_SYNTH else {}
    names = [c.removeprefix("error_") for c in map(str, constant.items) if c.startswith("error_")]
    mean_errors = {name: constant.summary["last"][f"error_{name}"]["median"] for name in names}
    rows, comparisons, claims = {}, {}, {}
    for weights in [w for w in WEIGHTS if any(w in e.summary for e in evaluations)] or ["last"]:
        # Runs of before the average was kept lack it; a row of it has all seeds or is none
        of = {k: runs if all(weights in e.summary for e in runs) else [] for k, runs in by_loss.items()}
        rows[weights] = {loss: _row(runs, weights) if runs else None for loss, runs in of.items()}
        comparisons[weights] = {
            f"{a} - {b}": _compare(of[a], of[b], weights)
            for a, b in (("pnp-mean", "pnp"), *((loss, "p") for loss in LOSS_LABELS if loss != "p"))
            if of[a] and of[b]
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


def _row_runs(loss: str, evaluations: Sequence[Evaluation], seeds: Sequence[int] | None) -> list[Evaluation]:
    runs = sorted((e for e in evaluations if e.run["loss"] == loss), key=lambda e: e.run["seed"])
    names = ", ".join(str(e.folder) for e in runs)
    found = [e.run["seed"] for e in runs]
    if len({repr(_without_seed(e.run)) for e in runs}) > 1:
        keys = {k for e in runs for k in e.run} - {"seed"}
        differ = sorted(k for k in keys if any(e.run.get(k) != runs[0].run.get(k) for e in runs))
        raise ValueError(f"row {loss!r} mixes configurations ({', '.join(differ)} differ): {names}")
    if len(set(found)) < len(found):
        raise ValueError(f"row {loss!r} has a seed twice, seeds {found}: {names}")
    if runs and seeds is not None and set(found) != set(seeds):
        raise ValueError(f"row {loss!r} has seeds {found}, not {list(seeds)}: {names}")
    return runs


def _require_one_data_set(evaluations: Sequence[Evaluation]) -> None:
    for e in evaluations:
        if e.run["grid"] != evaluations[0].run["grid"] or not np.array_equal(
            e.items.id.unique(), evaluations[0].items.id.unique()
        ):
            raise ValueError(f"different data sets cannot share a table: {evaluations[0].folder} and {e.folder}")


def _row(runs: list[Evaluation], weights: str) -> dict[str, Any]:
    parts = [e.summary[weights] for e in runs]
    row: dict[str, Any] = {
        "seeds": [e.run["seed"] for e in runs],
        "config": _without_seed(runs[0].run),
        "items": sum(p["items"] for p in parts),
        "left_out": sum(p["items"] - p["status"]["ok"] for p in parts),
        "outside": sum(int(e.of(weights).filter(like="outside_").any(axis=1).sum()) for e in runs),
        "hours": _over_seeds([e.made["run"]["seconds"] / 3600 for e in runs]),
    }
    row |= {d: _over_seeds([p[d]["mean"] for p in parts]) for d in DISTANCES}
    return row | {k: _over_seeds([p[k]["median"] for p in parts]) for k in parts[0] if _is_error(k)}


def _over_seeds(values: list[float | None]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds; a seed without a finite value leaves the row without one."""
    known = [v for v in values if v is not None]
    mean = statistics.fmean(known) if len(known) == len(values) else None
    sd = statistics.stdev(known) if mean is not None and len(known) > 1 else None
    return {"values": values, "mean": mean, "sd": sd}


def _compare(a: list[Evaluation], b: list[Evaluation], weights: str) -> dict[str, Any]:
    """95 % intervals of the mean of ``a`` minus that of ``b``: over paired items, and over seeds."""
    result = {}
    for d in DISTANCES:
        first, second = (np.mean([e.of(weights)[d] for e in runs], axis=0) for runs in (a, b))
        difference = first - second
        kept = difference[np.isfinite(difference)]
        means = [[e.summary[weights][d]["mean"] for e in runs] for runs in (a, b)]
        known = all(m is not None for side in means for m in side)
        result[d] = {
            "difference": float(kept.mean()) if len(kept) else None,
            "left_out": int(len(difference) - len(kept)),
            "items": bootstrap_interval(kept),
            "seeds": welch_interval(*means) if known else None,
        }
    return result


def _without_seed(run: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in run.items() if k != "seed"}


def _is_error(key: str) -> bool:
    return key.startswith(("error_", "percent_"))
