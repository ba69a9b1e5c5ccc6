"""Table 1 and its companions as pandas tables made from ``results.json``, and as text for page, README and paper."""

import html
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pnpkit._names import require_known
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.folder import Evaluation
from pnpkit.experiment.evaluation.items import DISTANCES, STATUS, WEIGHTS
from pnpkit.experiment.results.claims import Claim
from pnpkit.experiment.results.frame import DASH, number, plus_minus, statistic
from pnpkit.synth import ParameterSpace

BOTH = {"MSS": "mss", "JTFS": "jtfs"}
ERRORS = {"error": "", "percent": " (%)"}
STATISTICS = ("mean", "sd")
FORMS = ("html", "markdown", "latex")  # of :func:`render`
NUMERIC = re.compile(rf"[-−+\[(≤<]?\d[\d.,:;%eE±×\[\]()\s/+−–-]*|{DASH}|")  # a cell that stands in a column of numbers
LATEX = {
    "M̄": r"$\bar{M}$",
    "λ": r"$\lambda$",
    "γ": r"$\gamma$",
    "σ": r"$\sigma$",
    "²": r"$^2$",
    "±": r"$\pm$",
    "÷": "/",
    "≈": r"$\approx$",
    DASH: "---",
}


def table(results: Mapping[str, Any], weights: str = "last") -> pd.DataFrame:
    """Table 1: a row a loss, mean ± sample standard deviation over seeds, the paper's numbers beside if it has any.

    A dash where there is no run, no number of the paper, or no ± because there is one seed.
    """
    mean, sd, paper, spread = _numbers(results, weights)
    rows, printed = results["rows"][weights], results["paper"]["rows"]
    page = pd.DataFrame(index=mean.index)
    page["epochs"] = [DASH if rows.get(k) is None else str(rows[k]["config"]["epochs"]) for k in page.index]
    for name, d in BOTH.items():
        page[name], page[f"{name}, paper"] = _cells(mean[d], sd[d]), _cells(paper[d], spread[d])
    for name, d in BOTH.items():
        page[f"{name} ÷ P"], page[f"{name} ÷ P, paper"] = (
            (m / m.get("p", np.nan)).map(number) for m in (mean[d], paper[d])
        )
    page["MSS, text"], page["hours"] = _cells(mean["ddsp"], sd["ddsp"]), mean["hours"].map("{:.2g}".format, "ignore")
    page["hours, paper"] = [printed.get(k, {}).get("hours", DASH) for k in page.index]
    page = _with_references(page, results, {**BOTH, "MSS, text": "ddsp"}, "mean")
    return page if printed else page.drop(columns=[c for c in page if str(c).endswith(", paper")])


def error_table(results: Mapping[str, Any], weights: str = "last") -> pd.DataFrame:
    """Beside Table 1: seeds, median parameter errors, and what was left out of the means or predicted out of range."""
    mean, sd, *_ = _numbers(results, weights)
    rows = {loss: row for loss in mean.index if (row := results["rows"][weights].get(loss)) is not None}
    page = pd.DataFrame({"seeds": {loss: str(len(row["seeds"])) for loss, row in rows.items()}})
    titles = {f"median error of {n}{unit}": f"{k}_{n}" for n in results["parameters"] for k, unit in ERRORS.items()}
    for title, key in titles.items():
        page[title] = _cells(mean[key], sd[key])
    for title, key in {"left out": "left_out", "out of range": "outside", "of": "items"}.items():
        page[title] = [str(row[key]) for row in rows.values()]
    return _with_references(page, results, titles, "median")


def _numbers(results: Mapping[str, Any], weights: str) -> list[pd.DataFrame]:
    """Means and deviations over seeds, then the paper's: a row a loss that has a run or that the paper prints."""
    require_known("weights", weights, results["rows"])
    rows, printed = results["rows"][weights], results["paper"]["rows"]
    paper = {
        k: {d: dict(zip(STATISTICS, row[d] or (), strict=False)) for d in BOTH.values()} for k, row in printed.items()
    }
    losses = [loss for loss in LOSS_LABELS if rows.get(loss) is not None or loss in printed]
    measures = [*DISTANCES, "hours", *(f"{kind}_{name}" for name in results["parameters"] for kind in ERRORS)]
    frames = [statistic(part, name) for part in (rows, paper) for name in STATISTICS]
    return [frame.reindex(index=losses, columns=measures).astype(float) for frame in frames]


def _cells(mean: pd.Series, sd: pd.Series) -> pd.Series:
    return pd.Series(list(map(plus_minus, mean, sd)), mean.index)


def _with_references(page: pd.DataFrame, results: Mapping[str, Any], of: Mapping[str, str], name: str) -> pd.DataFrame:
    """A table by the labels of its losses, the predictions that need no training below."""
    references = sorted(results["references"].items())
    below = {label: {c: number(part[key][name]) for c, key in of.items()} for label, part in references}
    page = pd.concat([page.rename(index=LOSS_LABELS), pd.DataFrame.from_dict(below, orient="index")])
    return page.fillna(DASH).rename_axis("loss")


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
            "mean": number(items.jtfs.mean()),
            "median": number(items.jtfs.median()),
            "root mean square": number(float(np.sqrt((items.jtfs**2).mean()))),
            f"{parameter} out of range": str(int(outside.sum())),
            "their mean": number(items.jtfs[outside].mean()) if outside.any() else DASH,
            "mean of the others": number(items.jtfs[~outside].mean()) if not outside.all() else DASH,
            "validation fold, mean": number(validation["jtfs"]["mean"]) if validation else DASH,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("JTFS distance")


def summary_table(summary: Mapping[str, Any], space: ParameterSpace) -> pd.DataFrame:
    """One evaluated run: a row a quantity and kind of weights, from :func:`summarise`.

    Distances are means over the items with a 95 % interval; errors are medians, in units; counts are of items.
    """
    rows = {}
    for kind, part in [(w, summary[w]) for w in WEIGHTS if w in summary]:  # in one order, whether read or computed
        for name in DISTANCES:
            low, high = part[name]["interval"] or (None, None)
            rows[kind, f"{name}, mean"] = (part[name]["mean"], low, high)
        for p in space.parameters:
            rows[kind, f"error of {p.name} ({p.unit}), median"] = (part[f"error_{p.name}"]["median"], None, None)
            rows[kind, f"{p.name} out of range"] = (part["outside"][p.name], None, None)
        for status in STATUS:
            rows[kind, f"items {status}"] = (part["status"][status], None, None)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    frame.index = pd.MultiIndex.from_tuples(rows, names=["weights", "quantity"])
    return frame.map(lambda x: DASH if x is None or x != x else f"{x:.4g}")


def ours_and_paper(
    results: Mapping[str, Any], distance: str, weights: str = "last"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and standard deviations of a distance, for :func:`pnpkit.figures.results.plot_bars`; NaN for a dash."""
    mean, sd, paper, spread = (frame[distance].rename(LOSS_LABELS) for frame in _numbers(results, weights))
    means, deviations = pd.DataFrame({"ours": mean, "paper": paper}), pd.DataFrame({"ours": sd, "paper": spread})
    return (means := means.dropna(how="all")), deviations.loc[means.index]


def claim_table(results: Mapping[str, Any], weights: str = "last", more: Sequence[Claim] = ()) -> pd.DataFrame:
    """A row a claim: ours, the paper's, the verdict and why; no row where the paper claims nothing.

    Args:
        results: as read from ``results.json``.
        weights: ``"last"``, ``"best"`` or, of runs that have it, ``"average"``.
        more: claims that no row of the table decides; see :mod:`pnpkit.experiment.results.other_claims`.
    """
    columns = ["number", "claim", "ours", "paper", "verdict", "reason"]
    require_known("weights", weights, results["claims"])
    claims = [*results["claims"][weights], *map(asdict, more)]
    return pd.DataFrame(claims, columns=columns).set_index("number")


def render(frame: pd.DataFrame, form: str, caption: str = "") -> str:
    """A table as text for the page, the README or a paper.

    Args:
        frame: its index names the rows.
        form: ``"html"``, ``"markdown"`` or ``"latex"``.
        caption: what the table shows, for the page; none by default.

    Raises:
        ValueError: if the form is unknown.

    >>> print(render(pd.DataFrame({"JTFS": ["1.00"]}, index=pd.Index(["P"], name="loss")), "markdown"))
    | loss | JTFS |
    |---|---|
    | P | 1.00 |
    """
    require_known("form", form, FORMS)
    flat = frame.reset_index()
    if form == "html":
        flat = flat.replace(f" ± {DASH}", "", regex=True)
        columns = [flat.iloc[:, i].astype(str).str.fullmatch(NUMERIC).all() for i in range(1, flat.shape[1])]
        kinds = itertools.cycle(["", *(' class="number"' if numeric else "" for numeric in columns)])
        text = flat.to_html(index=False, border=0, classes="table", justify="left").replace(" ± ", "&nbsp;±&nbsp;")
        text = re.sub(r"<(t[dh])>", lambda cell: f"<{cell[1]}{next(kinds)}>", text)
        text = re.sub(r"(<tr>\s*)<td>(.*?)</td>", r'\1<th scope="row">\2</th>', text)
        text = text.replace("<th>", '<th scope="col">').replace("<th class", '<th scope="col" class')
        return text.replace("<thead>", f"<caption>{html.escape(caption)}</caption>\n  <thead>", 1) if caption else text
    if form == "markdown":
        lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *flat.astype(str).to_numpy().tolist()]
        head, rule, *body = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
        return "\n".join([head, rule.replace(" ", ""), *body])
    tex = flat.to_latex(index=False, escape=True)
    for sign, macro in LATEX.items():
        tex = tex.replace(sign, macro)
    return tex
