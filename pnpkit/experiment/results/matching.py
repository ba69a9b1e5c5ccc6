"""Tables of what matching was measured to do: Table 1 continued, and noise against its bound."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.matching import AFTER, NOISES, STARTS
from pnpkit.experiment.evaluation.study import RECORD, read_study

LABELS = {"train-mean": "train mean", "random": "random", "nearest": "nearest of the atlas", **LOSS_LABELS}
SYMBOLS = {"f_c": "f_c", "f_m": "f_m", "gamma": "γ"}
UNIT = "10⁻³ %"  # of an error in noise


def descents(folder: Path) -> dict[str, pd.DataFrame]:
    """Rows of the descents by start, of the sounds that were measured from each of them."""
    there = [s for s in STARTS if (folder / f"from-{s}" / RECORD).is_file()]
    rows = {s: read_study(folder / f"from-{s}").set_index("item") for s in there}
    common = sorted(set.intersection(*(set(r.index) for r in rows.values())))
    return {s: r.loc[common] for s, r in rows.items()}


def continued(rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Table 1 after so many steps: mean distances, the share that ends below one unit of Φ, and what that costs."""
    work = {
        LABELS[s]: {"below 1": percent((d.jtfs_8 < 1).mean())}
        | {"Jacobians": f"{d.jacobians.mean():.1f}", "seconds": f"{d.cpu.mean():.1f}"}
        for s, d in rows.items()
    }
    return after_steps(rows, "jtfs").join(pd.DataFrame(work).T)


def after_steps(rows: dict[str, pd.DataFrame], distance: str) -> pd.DataFrame:
    """Mean distances, ``"jtfs"`` or ``"mss"``, after so many steps from each start."""
    table = {
        LABELS[s]: {
            f"{distance.upper()}, {k}": f"{d[f'{distance}_{k}'].mean():.{1 if distance == 'jtfs' and k < 4 else 2}f}"
            for k in AFTER
        }
        for s, d in rows.items()
    }
    return pd.DataFrame(table).T.rename_axis(f"start, {spaced(len(next(iter(rows.values()))))} sounds")


def noisy(folder: Path, start: str | None = None) -> dict[int, pd.DataFrame]:
    """Rows of the studies in noise, by dB below the sound; from the atlas, or a network's answer to the clean."""
    names = {n: folder / (f"noise-{n}-from-{start}" if start else f"noise-{n}") for n in NOISES}
    return {n: read_study(path) for n, path in names.items() if (path / RECORD).is_file()}


def against_bound(rows: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Median errors (and the 90th percentile) in thousandths of a percent, beside Cramér and Rao's least deviation."""
    table = {}
    for n, d in rows.items():
        for way, suffix in ((f"Φ alone, {len(d)} sounds", ""), ("then the waveform", "_waveform")):
            errors = {f"{SYMBOLS[k]}, {UNIT}": 1000 * d[f"error_{k}{suffix}"] for k in SYMBOLS}
            held = d[f"held{suffix}"].dropna().astype(bool)
            table[n, way] = {k: f"{_short(e.median())} ({_short(e.quantile(0.9))})" for k, e in errors.items()} | {
                "truth in the 95 % region": f"{held.sum()} of {len(held)}"
            }
        bound = {f"{SYMBOLS[k]}, {UNIT}": _short(float(1000 * d[f"bound_{k}"].median())) for k in SYMBOLS}
        table[n, "bound (standard deviation)"] = bound
    return pd.DataFrame(table).T.fillna("").rename_axis(["noise, dB", "median error (90th percentile)"])


def spaced(n: int) -> str:
    r"""A whole number, its thousands apart by a narrow space.

    >>> spaced(312), spaced(2700)
    ('312', '2\u202f700')
    """
    return f"{n:,}".replace(",", "\u202f")


def percent(share: float) -> str:
    """A share in percent, with a digit more where it is nearly all or nearly none.

    >>> percent(0.913), percent(299 / 300), percent(1.0)
    ('91 %', '99.7 %', '100 %')
    """
    return f"{100 * share:.{0 if share in (0, 1) or 0.005 <= share < 0.995 else 1}f} %"


def _short(x: "float | np.floating[Any]") -> str:
    """Two digits, without an exponent."""
    return np.format_float_positional(x, precision=2, fractional=False, trim="-")
