"""Table 1 and its companions as pandas tables made from ``results.json``, and as text for page, README and paper."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd

from pnpkit._names import require_known
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.folder import Evaluation
from pnpkit.experiment.evaluation.items import DISTANCES
from pnpkit.experiment.results import claims as verdict
from pnpkit.synth import ParameterSpace

DASH = "—"
LATEX = {
    "M̄": r"$\bar{M}$",
    "λ": r"$\lambda$",
    "γ": r"$\gamma$",
    "±": r"$\pm$",
    "÷": "/",
    "≈": r"$\approx$",
    DASH: "---",
}


def table(results: Mapping[str, Any], weights: str = "last") -> pd.DataFrame:
    """Table 1: a row a loss, mean ± sample standard deviation over seeds, the paper's numbers beside if it has any.

    A dash where there is no run, no number of the paper, or no ± because there is one seed.
    """
    printed, rows = results["paper"]["rows"], {}
    for loss, label in LOSS_LABELS.items():
        row, paper = results["rows"][weights].get(loss), printed.get(loss, {})
        if row is None and not paper:
            continue
        p = results["rows"][weights]["p"]
        line = {"epochs": DASH if row is None else str(row["config"]["epochs"])}
        for d, name in (("mss", "MSS"), ("jtfs", "JTFS")):
            line |= {name: _cell(row, d), f"{name}, paper": _plus_minus(*(paper.get(d) or (None, None)))}
        for d, name in (("mss", "MSS ÷ P"), ("jtfs", "JTFS ÷ P")):
            has_ratio = bool(paper.get(d))
            line[name] = _number(row[d]["mean"] / p[d]["mean"]) if _both(row, p, d) else DASH
            line[f"{name}, paper"] = _number(verdict.paper_ratio(loss, d)[0]) if has_ratio else DASH
        line["MSS, text"] = _cell(row, "ddsp")
        line["hours"] = DASH if row is None else f"{row['hours']['mean']:.2g}"
        line["hours, paper"] = paper.get("hours", DASH)
        rows[label] = line
    for name, reference in sorted(results["references"].items()):
        means = {"MSS": "mss", "JTFS": "jtfs", "MSS, text": "ddsp"}
        rows[name] = {column: _number(reference[d]["mean"]) for column, d in means.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna(DASH).rename_axis("loss")
    return frame if printed else frame.drop(columns=[c for c in frame if str(c).endswith(", paper")])


def error_table(results: Mapping[str, Any], weights: str = "last") -> pd.DataFrame:
    """Beside Table 1: seeds, median parameter errors, and what was left out of the means or predicted out of range."""
    columns: dict[str, str] = {}
    for name in results["parameters"]:
        columns |= {f"error_{name}": f"median error of {name}", f"percent_{name}": f"median error of {name} (%)"}
    rows = {}
    for loss, label in LOSS_LABELS.items():
        row = results["rows"][weights].get(loss)
        if row is not None:
            errors = {title: _cell(row, key) for key, title in columns.items()}
            counts = {"left out": str(row["left_out"]), "out of range": str(row["outside"]), "of": str(row["items"])}
            rows[label] = {"seeds": str(len(row["seeds"])), **errors, **counts}
    for name, reference in sorted(results["references"].items()):
        rows[name] = {title: _number(reference[key]["median"]) for key, title in columns.items()}
    return pd.DataFrame.from_dict(rows, orient="index").fillna(DASH).rename_axis("loss")


def split_table(runs: Mapping[str, Evaluation], parameter: str, weights: str = "last") -> pd.DataFrame:
    """What a mean JTFS distance is made of: a row a run, with and without answers whose parameter is out of range.

    Median and root mean square, which is what the losses minimise, say how much of a mean is in its tail. The
    validation fold, the core of the grid, has a dash where a run did not predict it.
    """
    rows = {}
    for label, run in runs.items():
        items = run.of(weights)
        items = items[items.status == "ok"]
        outside = items[f"outside_{parameter}"]
        validation = (run.validation or {}).get(weights)
        rows[label] = {
            "mean": _number(items.jtfs.mean()),
            "median": _number(items.jtfs.median()),
            "root mean square": _number(float(np.sqrt((items.jtfs**2).mean()))),
            f"{parameter} out of range": str(int(outside.sum())),
            "their mean": _number(items.jtfs[outside].mean()) if outside.any() else DASH,
            "mean of the others": _number(items.jtfs[~outside].mean()) if not outside.all() else DASH,
            "validation fold, mean": _number(validation["jtfs"]["mean"]) if validation else DASH,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("JTFS distance")


def summary_table(summary: Mapping[str, Any], space: ParameterSpace) -> pd.DataFrame:
    """One evaluated run: a row a quantity and kind of weights, from :func:`summarise`.

    Distances are means over the items with a 95 % interval; errors are medians, in units; counts are of items.
    """
    rows = {}
    for kind, part in summary.items():
        for name in DISTANCES:
            low, high = part[name]["interval"] or (None, None)
            rows[kind, f"{name}, mean"] = (part[name]["mean"], low, high)
        for p in space.parameters:
            rows[kind, f"error of {p.name} ({p.unit}), median"] = (part[f"error_{p.name}"]["median"], None, None)
            rows[kind, f"{p.name} out of range"] = (part["outside"][p.name], None, None)
        for status, count in part["status"].items():
            rows[kind, f"items {status}"] = (count, None, None)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    frame.index = pd.MultiIndex.from_tuples(rows, names=["weights", "quantity"])
    return frame.map(lambda x: DASH if x is None or x != x else f"{x:.4g}")


def ours_and_paper(
    results: Mapping[str, Any], distance: str, weights: str = "last"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and standard deviations of a distance, for :func:`pnpkit.figures.results.plot_bars`; NaN for a dash."""
    pairs = {}
    for loss, label in LOSS_LABELS.items():
        row, paper = results["rows"][weights].get(loss), results["paper"]["rows"].get(loss, {}).get(distance)
        if row is not None or paper:
            ours = (None, None) if row is None else (row[distance]["mean"], row[distance]["sd"])
            pairs[label] = {"ours": ours, "paper": paper or (None, None)}
    frames = ({label: {k: pair[i] for k, pair in line.items()} for label, line in pairs.items()} for i in (0, 1))
    means, deviations = (pd.DataFrame.from_dict(frame, orient="index").astype(float) for frame in frames)
    return means, deviations


def claim_table(results: Mapping[str, Any], weights: str = "last", more: Sequence[verdict.Claim] = ()) -> pd.DataFrame:
    """A row a claim: ours, the paper's, the verdict and why; no row where the paper claims nothing.

    Args:
        results: as read from ``results.json``.
        weights: ``"last"`` or ``"best"``.
        more: claims that no row of the table decides; see :mod:`pnpkit.experiment.results.other_claims`.
    """
    columns = ["number", "claim", "ours", "paper", "verdict", "reason"]
    claims = [*results["claims"][weights], *map(asdict, more)]
    return pd.DataFrame(claims, columns=columns).set_index("number")


def check_form(form: str) -> None:
    """Raise ``ValueError`` for a form that :func:`render` does not know."""
    require_known("form", form, ("html", "markdown", "latex"))


def render(frame: pd.DataFrame, form: Literal["html", "markdown", "latex"]) -> str:
    """A table as text for the page, the README or a paper.

    Raises:
        ValueError: if the form is unknown.

    >>> print(render(pd.DataFrame({"JTFS": ["1.00"]}, index=pd.Index(["P"], name="loss")), "markdown"))
    | loss | JTFS |
    |---|---|
    | P | 1.00 |
    """
    check_form(form)
    flat = frame.reset_index()
    if form == "html":
        return flat.to_html(index=False, border=0, classes="table", justify="left").replace(" ± ", "&nbsp;±&nbsp;")
    if form == "markdown":
        lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *flat.astype(str).to_numpy().tolist()]
        text = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
        return "\n".join([text[0], text[1].replace(" ", ""), *text[2:]])
    tex = flat.to_latex(index=False, escape=True)
    for sign, macro in LATEX.items():
        tex = tex.replace(sign, macro)
    return tex


def _both(row: Mapping[str, Any] | None, p: Mapping[str, Any] | None, distance: str) -> bool:
    return row is not None and p is not None and None not in (row[distance]["mean"], p[distance]["mean"])


def _cell(row: Mapping[str, Any] | None, key: str) -> str:
    return DASH if row is None else _plus_minus(row[key]["mean"], row[key]["sd"])


def _plus_minus(mean: float | None, sd: float | None) -> str:
    return DASH if mean is None else f"{mean:.2f} ± {_number(sd)}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"
