"""What the paper claims, and whether our results say so: each verdict follows from the numbers by a stated rule.

Losses are compared by their distances over the test fold. A is *below* B on a distance if two 95 % intervals of the
difference A − B lie below zero: that over items (bootstrap, items paired, each the mean of its seeds) and that over
seeds (Welch). With fewer than two seeds on either side our runs say nothing of the latter. Runs of the paper's own
protocol then borrow the ± that it prints, and must stand under two readings of it, as a deviation known beforehand and
as one that was taken from three seeds; others leave the comparison *open*. Two ratios are *equal* if the 90 % interval
of ours over the paper's lies within a factor of 1.25: two one-sided tests at 5 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pnpkit.experiment.artefacts import config_dict
from pnpkit.experiment.config import PAPER_PROTOCOL
from pnpkit.experiment.results.frame import number, statistic
from pnpkit.experiment.results.intervals import borrowed_quantiles, over_printed, ratio

Verdict = Literal["agrees", "partly", "disagrees", "not decided"]

PAPER_SYNTH = "arpeggio"  # what the paper has numbers for
# GRETSI 2023, Table 1, test fold: mean and ± of each distance, hours of training.
PAPER: dict[str, dict[str, Any]] = {
    "p": {"mss": (1.22, 0.01), "jtfs": (45.81, 0.3), "hours": "1.5"},
    "sp": {"mss": None, "jtfs": None, "hours": "≈ 280"},
    "pnp": {"mss": (0.74, 0.2), "jtfs": (18.75, 6.9), "hours": "1.5"},
    "pnp-mean": {"mss": (0.60, 0.1), "jtfs": (15.15, 7.7), "hours": "1.5"},
}
BOTH = ("jtfs", "mss")
NAMES = {"p": "P", "pnp": "PNP", "pnp-mean": "regularised PNP", "jtfs": "JTFS", "mss": "MSS"}
EQUAL = 1.25  # ratios within this factor count as equal: what is usual for medicines, not what suits our numbers
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


def graded(held: Sequence[object], otherwise: Verdict = "disagrees") -> Verdict:
    """Agrees if all parts of a claim hold, partly if some do."""
    return "agrees" if all(held) else "partly" if any(held) else otherwise


def paper_ratio(loss: str, distance: str) -> tuple[float, float]:
    """The paper's ratio to its P row, with the ± that its two rows give.

    >>> [round(v, 2) for v in paper_ratio("pnp", "jtfs")]
    [0.41, 0.15]
    """
    return ratio(PAPER[loss][distance], PAPER["p"][distance])


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


def _below(n: int, a: str, b: str, rows: Mapping[str, Any], comparisons: Mapping[str, Any]) -> Claim:
    """Agrees if below on both distances; partly if on one; disagrees if on none and above on one; else not decided."""
    text = f"{NAMES[a]} beats {NAMES[b]} on both distances"
    paper = "; ".join(f"{NAMES[d]} {PAPER[a][d][0]:.2f} against {PAPER[b][d][0]:.2f}" for d in BOTH)
    if missing := _missing(rows, a, b):
        return Claim(n, text, "not decided", "—", paper, missing)
    mean, at_paper = statistic(rows, "mean"), all(_is_paper_protocol(rows[loss]["config"]) for loss in (a, b))
    found = {}
    for d in BOTH:
        printed = math.hypot(PAPER[a][d][1], PAPER[b][d][1])
        found[d] = _side(comparisons[f"{a} - {b}"][d], printed if at_paper else None)
    ours = "; ".join(f"{NAMES[d]} {number(mean[d][a])} against {number(mean[d][b])}" for d in BOTH)
    reason = "; ".join(f"{NAMES[d]}: {why}" for d, (_, why) in found.items())
    sides = [side for side, _ in found.values()]
    verdict = graded([side == "below" for side in sides], "disagrees" if "above" in sides else "not decided")
    return Claim(n, text, verdict, ours, paper, reason)


def _is_paper_protocol(config: Mapping[str, Any]) -> bool:
    paper = config_dict(PAPER_PROTOCOL)
    return {**config, "loss": paper["loss"], "seed": paper["seed"]} == paper


def _side(comparison: Mapping[str, Any], printed: float | None) -> tuple[str, str]:
    """Below, above or open, and why; ``printed`` is the standard deviation to borrow where seeds are too few."""
    intervals, difference = {f"over {what}": comparison[what] for what in ("items", "seeds")}, comparison["difference"]
    if comparison["seeds"] is None and printed is not None and difference is not None:
        del intervals["over seeds"]
        for name, quantile in borrowed_quantiles().items():
            half = quantile * printed
            intervals[f"with the paper's ± as {name}"] = (difference - half, difference + half)
    reason = "difference " + ", ".join(
        f"{name} " + (f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "unknown")
        for name, interval in intervals.items()
    )
    if None in intervals.values():
        return "open", f"{reason} (two seeds are needed)"
    lows, highs = zip(*intervals.values(), strict=True)
    return "below" if max(highs) < 0 else "above" if min(lows) > 0 else "open", reason


def _imbalance(rows: Mapping[str, Any], mean_errors: Mapping[str, float]) -> Claim:
    """P learns f_c and neither f_m nor γ: agrees; f_c and one of them: partly; all: disagrees; not f_c: not decided.

    Learnt means a median test error (mean over seeds) under half that of the train-mean predictor. The claim rests on
    the ranges of raw units, so runs in other coordinates do not decide it.
    """
    text, said = "the P-loss learns f_c at the expense of f_m and γ", "said, no number"
    if missing := _missing(rows, "p"):
        return Claim(3, text, "not decided", "—", said, missing)
    row, errors = rows["p"], statistic(rows, "mean").loc["p"].fillna(math.inf)
    shares = {name: errors[f"error_{name}"] / reference for name, reference in mean_errors.items()}
    ours = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    reason = f"median errors as shares of the train-mean predictor's, under {100 * LEARNT:.0f} % is learnt; "
    reason += f"{len(row['seeds'])} seed" + "s" * (len(row["seeds"]) > 1)
    first, *others = [share < LEARNT for share in shares.values()]
    coordinates = row["config"]["coordinates"]
    verdict: Verdict = "not decided"
    if coordinates != "raw":
        reason = f"the claim is about raw units, these runs use {coordinates!r}; {reason}"
    elif not first:
        reason = f"f_c itself is not learnt; {reason}"
    else:
        verdict = graded([not learnt for learnt in others])
    return Claim(3, text, verdict, ours, said, reason)


def _ratios(rows: Mapping[str, Any]) -> Claim:
    """Agrees if all four ratios are equal to the paper's, partly if some are and some differ, disagrees if some differ.

    A ratio differs if its interval lies wholly beyond the factor. The paper's ± stands for how else its row could have
    come out, once; ours is the standard error over seeds or, for a single run of its protocol, the same ± again.
    """
    pairs = [(loss, d) for d in BOTH for loss in ("pnp", "pnp-mean")]
    names = {pair: f"{NAMES[pair[0]]} {NAMES[pair[1]]}" for pair in pairs}
    text, printed = "the ratios of PNP and regularised PNP to P", {pair: paper_ratio(*pair) for pair in pairs}
    paper = "; ".join(f"{names[pair]} {value:.2f} ± {sd:.2f}" for pair, (value, sd) in printed.items())
    undecided = partial(Claim, 4, text, "not decided", paper=paper)
    if missing := _missing(rows, "p", "pnp", "pnp-mean"):
        return undecided("—", reason=missing)
    mean = statistic(rows, "mean").loc[["p", "pnp", "pnp-mean"], list(BOTH)]
    if mean.isna().any(axis=None):
        return undecided("—", reason="a row has no finite distance")
    found = {(loss, d): mean[d][loss] / mean[d]["p"] for loss, d in pairs}
    ours = "; ".join(f"{names[pair]} {value:.2f}" for pair, value in found.items())
    spreads = {(k, d): _relative_spread(rows[k], k, d) for k in mean.index for d in BOTH}
    if any(map(math.isnan, spreads.values())):
        return undecided(ours, reason="a row has one seed only: our own spread is unknown")
    intervals = {
        (loss, d): over_printed(found[loss, d], printed[loss, d], math.hypot(spreads["p", d], spreads[loss, d]))
        for loss, d in pairs
    }
    equal = [low >= 1 / EQUAL and high <= EQUAL for _, low, high in intervals.values()]
    differ = [high < 1 / EQUAL or low > EQUAL for _, low, high in intervals.values()]
    shown = "; ".join(f"{names[pair]} {v:.2f} [{low:.2f}, {high:.2f}]" for pair, (v, low, high) in intervals.items())
    reason = f"equal means within a factor of {EQUAL}, 90 % intervals; ours over the paper's: {shown}"
    return Claim(4, text, graded(equal) if all(equal) or any(differ) else "not decided", ours, paper, reason)


def _relative_spread(row: Mapping[str, Any], loss: str, distance: str) -> float:
    """Standard error of a row over its seeds, relative to its mean; for a single run of the paper's, the printed ±."""
    cell, (mean, sd) = row[distance], PAPER[loss][distance]
    if cell["sd"] is not None:
        return float(cell["sd"] / cell["mean"] / math.sqrt(len(cell["values"]))) if cell["mean"] else 0.0
    return float(sd / mean) if _is_paper_protocol(row["config"]) else math.nan


def _missing(rows: Mapping[str, Any], *losses: str) -> str:
    """Why a claim about these losses is not decided; "" if all have a run."""
    missing = ", ".join(NAMES[loss] for loss in losses if rows.get(loss) is None)
    return f"there is no run of {missing}" if missing else ""
