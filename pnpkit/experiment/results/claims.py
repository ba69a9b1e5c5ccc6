"""What the paper claims, and whether our results say so: each verdict follows from the numbers by a stated rule.

Losses are compared by their distances over the test fold. A is *below* B on a distance if two 95 % intervals of the
difference A − B lie below zero: that over items (bootstrap, items paired, each the mean of its seeds) and that over
seeds (Welch). With fewer than two seeds on either side our runs say nothing of the latter. Runs of the paper's own
protocol then borrow the ± that it prints, as a standard deviation known beforehand; others leave the comparison *open*.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pnpkit._extras import extra
from pnpkit.experiment.artefacts import config_dict
from pnpkit.experiment.config import GridConfig, TrainingConfig

with extra("experiment", "a verdict"):
    from scipy import stats

Verdict = Literal["agrees", "partly", "disagrees", "not decided"]

PAPER_SYNTH = "arpeggio"  # what the paper has numbers for
# GRETSI 2023, Table 1, test fold: mean and ± of each distance, hours of training.
PAPER: dict[str, dict[str, Any]] = {
    "p": {"mss": (1.22, 0.01), "jtfs": (45.81, 0.3), "hours": "1.5"},
    "sp": {"mss": None, "jtfs": None, "hours": "≈ 280"},
    "pnp": {"mss": (0.74, 0.2), "jtfs": (18.75, 6.9), "hours": "1.5"},
    "pnp-mean": {"mss": (0.60, 0.1), "jtfs": (15.15, 7.7), "hours": "1.5"},
}
NAMES = {"p": "P", "pnp": "PNP", "pnp-mean": "regularised PNP", "jtfs": "JTFS", "mss": "MSS"}
LEARNT = 0.5  # a parameter is learnt if its median error is under this share of the train-mean predictor's


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, our numbers for it, and what follows.

    Args:
        number: 1 to 4 here, 5 to 7 in :mod:`pnpkit.experiment.results.other_claims`.
        claim: in a sentence.
        verdict: agrees, partly, disagrees or not decided.
        ours: the numbers of our runs.
        paper: the numbers printed.
        reason: why the numbers give the verdict.
    """

    number: int
    claim: str
    verdict: Verdict
    ours: str
    paper: str
    reason: str


def welch_interval(a: list[float], b: list[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of ``a`` minus that of ``b``, each a few seeds; None if either has fewer than two.

    Source: Welch, 1947.

    >>> low, high = welch_interval([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    >>> round(low, 2), round(high, 2)
    (-12.27, -7.73)
    """
    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(v, ddof=1)) / len(v) for v in (a, b)]
    difference, variance = float(np.mean(a) - np.mean(b)), sum(parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return difference - half, difference + half


def paper_ratio(loss: str, distance: str) -> tuple[float, float]:
    """The paper's ratio to its P row, with the ± that its two rows give.

    >>> [round(v, 2) for v in paper_ratio("pnp", "jtfs")]
    [0.41, 0.15]
    """
    return ratio(PAPER[loss][distance], PAPER["p"][distance])


def ratio(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """a/b of two independent means with standard deviations, to first order."""
    value = a[0] / b[0]
    return value, value * math.hypot(a[1] / a[0], b[1] / b[0])


def claims(rows: Mapping[str, Any], comparisons: Mapping[str, Any], mean_errors: Mapping[str, float]) -> list[Claim]:
    """The claims of section 4 of the paper that distances and errors can decide.

    Args:
        rows: by loss, the row of :func:`pnpkit.experiment.results.rows.build_results` for one kind of weights, or None.
        comparisons: by ``"pnp - p"`` and ``"pnp-mean - pnp"``, by distance, ``items`` and ``seeds``: intervals or None.
        mean_errors: by parameter, the median test error of the train-mean predictor, f_c first.

    Source: GRETSI 2023, section 4 and Table 1.
    """
    return [
        _below(1, "pnp", "p", rows, comparisons),
        _below(2, "pnp-mean", "pnp", rows, comparisons),
        _imbalance(rows, mean_errors),
        _ratios(rows),
    ]


def _below(number: int, a: str, b: str, rows: Mapping[str, Any], comparisons: Mapping[str, Any]) -> Claim:
    """Agrees if below on both distances; partly if on one; disagrees if on none and above on one; else not decided."""
    text = f"{NAMES[a]} beats {NAMES[b]} on both distances"
    paper = "; ".join(f"{NAMES[d]} {PAPER[a][d][0]:.2f} against {PAPER[b][d][0]:.2f}" for d in ("jtfs", "mss"))
    if rows.get(a) is None or rows.get(b) is None:
        return Claim(number, text, "not decided", "—", paper, f"there is no run of {_missing(rows, a, b)}")
    at_paper = all(_is_paper_protocol(rows[loss]["config"]) for loss in (a, b))
    found = {}
    for d in ("jtfs", "mss"):
        printed = math.hypot(PAPER[a][d][1], PAPER[b][d][1])
        found[d] = _side(comparisons[f"{a} - {b}"][d], printed if at_paper else None)
    ours = "; ".join(f"{NAMES[d]} {_mean(rows[a], d)} against {_mean(rows[b], d)}" for d in found)
    reason = "; ".join(f"{NAMES[d]}: {side[1]}" for d, side in found.items())
    sides = [side[0] for side in found.values()]
    verdict: Verdict = "not decided"
    if sides == ["below", "below"]:
        verdict = "agrees"
    elif "below" in sides:
        verdict = "partly"
    elif "above" in sides:
        verdict = "disagrees"
    return Claim(number, text, verdict, ours, paper, reason)


def _is_paper_protocol(config: Mapping[str, Any]) -> bool:
    paper = config_dict(TrainingConfig(GridConfig(), config["loss"]))
    return {"seed": paper["seed"], **config} == paper


def _side(comparison: Mapping[str, Any], printed: float | None) -> tuple[str, str]:
    """Below, above or open, and why; ``printed`` is the standard deviation to borrow where seeds are too few."""
    items, seeds, source = comparison["items"], comparison["seeds"], "over seeds"
    if seeds is None and printed is not None and comparison["difference"] is not None:
        half = float(stats.norm.ppf(0.975)) * printed
        seeds = comparison["difference"] - half, comparison["difference"] + half
        source = "with the paper's ± for seeds"
    words = [
        f"{name} " + (f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "unknown")
        for name, interval in (("over items", items), (source, seeds))
    ]
    reason = "difference " + " and ".join(words)
    if items is None or seeds is None:
        return "open", f"{reason} (two seeds are needed)"
    if max(items[1], seeds[1]) < 0:
        return "below", reason
    if min(items[0], seeds[0]) > 0:
        return "above", reason
    return "open", reason


def _imbalance(rows: Mapping[str, Any], mean_errors: Mapping[str, float]) -> Claim:
    """P learns f_c and neither f_m nor γ: agrees; f_c and one of them: partly; all: disagrees; not f_c: not decided.

    Learnt means a median test error (mean over seeds) under half that of the train-mean predictor. The claim rests on
    the ranges of raw units, so runs in other coordinates do not decide it.
    """
    text = "the P-loss learns f_c at the expense of f_m and γ"
    row = rows.get("p")
    if row is None:
        return Claim(3, text, "not decided", "—", "said, no number", "there is no run of P")
    shares = {}
    for name, reference in mean_errors.items():
        value = row[f"error_{name}"]["mean"]
        shares[name] = math.inf if value is None else value / reference
    ours = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    reason = f"median errors as shares of the train-mean predictor's; under {100 * LEARNT:.0f} % is learnt"
    first, *others = [share < LEARNT for share in shares.values()]
    coordinates = row["config"]["coordinates"]
    verdict: Verdict
    if coordinates != "raw":
        verdict, reason = "not decided", f"the claim is about raw units, these runs use {coordinates!r}; {reason}"
    elif not first:
        verdict, reason = "not decided", f"f_c itself is not learnt; {reason}"
    else:
        verdict = "disagrees" if all(others) else "partly" if any(others) else "agrees"
    return Claim(3, text, verdict, ours, "said, no number", reason)


def _ratios(rows: Mapping[str, Any]) -> Claim:
    """Agrees if all four ratios are within two standard deviations, ours and the paper's combined; partly if some.

    A ± of ours that is unknown can only widen that, so that rows of one seed may agree, and else decide nothing.
    """
    pairs = [(loss, d) for d in ("jtfs", "mss") for loss in ("pnp", "pnp-mean")]
    text = "the ratios of PNP and regularised PNP to P"
    printed = {pair: paper_ratio(*pair) for pair in pairs}
    paper = "; ".join(f"{NAMES[loss]} {NAMES[d]} {value:.2f} ± {sd:.2f}" for (loss, d), (value, sd) in printed.items())
    if any(rows.get(loss) is None for loss in ("p", "pnp", "pnp-mean")):
        reason = f"there is no run of {_missing(rows, 'p', 'pnp', 'pnp-mean')}"
        return Claim(4, text, "not decided", "—", paper, reason)
    cells = {(loss, d): rows[loss][d] for d in ("jtfs", "mss") for loss in ("p", "pnp", "pnp-mean")}
    if any(cell["mean"] is None for cell in cells.values()):
        return Claim(4, text, "not decided", "—", paper, "a row has no finite distance")
    found = {
        (loss, d): ratio(*((cells[key]["mean"], cells[key]["sd"] or 0.0) for key in ((loss, d), ("p", d))))
        for loss, d in pairs
    }
    ours = "; ".join(f"{NAMES[loss]} {NAMES[d]} {value:.2f}" for (loss, d), (value, _) in found.items())
    near = [abs(found[k][0] - printed[k][0]) <= 2 * math.hypot(found[k][1], printed[k][1]) for k in pairs]
    if any(cell["sd"] is None for cell in cells.values()):
        if all(near):
            return Claim(4, text, "agrees", ours, paper, "all within two standard deviations of the paper's alone")
        return Claim(4, text, "not decided", ours, paper, "a row has one seed only: our own spread is unknown")
    verdict: Verdict = "agrees" if all(near) else "partly" if any(near) else "disagrees"
    reason = f"{sum(near)} of {len(near)} within two standard deviations, ours and the paper's combined"
    return Claim(4, text, verdict, ours, paper, reason)


def _mean(row: Mapping[str, Any], distance: str) -> str:
    value = row[distance]["mean"]
    return "—" if value is None else f"{value:.2f}"


def _missing(rows: Mapping[str, Any], *losses: str) -> str:
    return ", ".join(NAMES[loss] for loss in losses if rows.get(loss) is None)
