"""Figures of training and of its results: learning curves, and distances with their error bars."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.evaluation.items import bootstrap_interval
from pnpkit.experiment.workspace import Workspace
from pnpkit.figures.plotting import PALETTE, axes_or_new
from pnpkit.synth import ParameterSpace

# In the order of LOSS_LABELS; the shape says what the colour says
_LOOKS = (
    "#E69F00 o", "#882255 <", "#D55E00 s", "#777777 >", "#000000 D", "#444444 d", "#332288 p", "#0072B2 v", "#56B4E9 ^",
    "#009E73 P", "#999933 *", "#CC79A7 X",
)  # fmt: skip
LOSS_COLOURS, LOSS_MARKERS = (
    dict(zip(LOSS_LABELS, part, strict=True)) for part in zip(*map(str.split, _LOOKS), strict=True)
)


def plot_bars(
    values: pd.DataFrame, errors: pd.DataFrame, ax: Axes | None = None, *, label: str, legend: bool = True
) -> Axes:
    """Means with error bars, a group a row (loss), a mark a column (ours, the paper's).

    Args:
        values, errors: of equal index and columns; NaN draws nothing, an error of NaN no bar.
        ax: where to draw.
        label: of the vertical axis, with its unit.
        legend: whether to name the columns.
    """
    ax = axes_or_new(ax)
    offsets = (np.arange(values.shape[1]) - (values.shape[1] - 1) / 2) * 0.2
    for k, column in enumerate(values):
        at = np.arange(len(values)) + offsets[k]
        spread = errors[column]  # NaN draws no bar, and no caps
        look: dict[str, Any] = {"color": ("0.2", "0.55")[k % 2], "marker": "oDs^v"[k], "ls": "", "capsize": 4}
        look |= {"mfc": "white"} if k % 2 else {}
        ax.errorbar(at, values[column], spread if spread.notna().any() else None, label=str(column), **look)
    ax.set_xticks(range(len(values)), list(map(str, values.index)))
    ax.set(ylabel=label, xlim=(-0.6, len(values) - 0.4), ylim=(0, None))
    ax.grid(axis="y", alpha=0.3)
    if legend:
        ax.legend()
    return ax


def plot_history(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    column: str,
    ax: Axes | None = None,
    *,
    label: str = "",
    log: bool = True,
    legend: bool = True,
) -> Axes:
    """One column of the histories of several runs against epochs: a colour a loss; of one or two seeds a line each,
    of more their median, in a band from the lowest to the highest.

    Args:
        histories: by loss (a key of ``LOSS_LABELS`` or any name), the ``history.csv`` of each seed.
        column: such as ``validation_loss`` or ``error_f_c``.
        ax: where to draw.
        label: of the vertical axis, with its unit; the column's name by default.
        log: whether that axis is logarithmic.
        legend: whether to name the losses.
    """
    ax = axes_or_new(ax)
    for i, (loss, runs) in enumerate(histories.items()):
        colour = LOSS_COLOURS.get(loss, PALETTE[i % len(PALETTE)])
        if not runs:
            continue
        seeds = pd.concat([history.set_index("epoch")[column] for history in runs], axis=1)
        lines = seeds if len(runs) < 3 else seeds.median(axis=1).to_frame()
        if len(runs) > 2:
            ax.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, lw=0)
        look: dict[str, Any] = {"color": colour, "lw": 1.4, "ms": 4, "markevery": max(1, len(seeds) // 8)}
        for k, (_, line) in enumerate(lines.items()):
            name = LOSS_LABELS.get(loss, loss) if k == 0 else None
            ax.plot(line, label=name, marker=LOSS_MARKERS.get(loss, "o"), **look)
    ax.set(xlabel="epoch", ylabel=label or column, yscale="log" if log else "linear")
    ax.grid(alpha=0.3)
    if legend:
        ax.legend()
    return ax


def plot_errors(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    space: ParameterSpace,
    constant: Mapping[str, float] | pd.Series,
    axes: Sequence[Axes] | np.ndarray,
    *,
    legend: bool = True,
) -> None:
    """Median error of each parameter against epochs, a panel a parameter; dotted, that of a constant answer.

    Args:
        histories: as in :func:`plot_history`.
        space: of the parameters.
        constant: error of the constant answer, by name.
        axes: at least one a parameter, in their order.
        legend: whether the first panel names the losses.
    """
    for i, (name, label) in enumerate(zip(space.names, space.labels, strict=True)):
        plot_history(histories, f"error_{name}", axes[i], label=f"median error of {label}", legend=legend and i == 0)
        axes[i].axhline(constant[name], color="0.3", linestyle=":")


def plot_ratios(ratios: pd.DataFrame, names: Mapping[str, str], ax: Axes | None = None, *, label: str) -> Axes:
    """Distances over that of the P-loss, a line a recipe, a mark a run with its interval; left of 1 beats P.

    Args:
        ratios: of :func:`pnpkit.figures.results.distance_ratios`; ``low`` and ``high`` may be NaN.
        names: what to call each recipe, by profile; their order is that of the lines, from the top.
        ax: where to draw.
        label: of the horizontal axis.
    """
    ax = axes_or_new(ax)
    losses = [loss for loss in LOSS_LABELS if loss in set(ratios.loss)]
    for k, loss in enumerate(losses):
        part = ratios[(ratios.loss == loss) & ratios.profile.isin(names)]
        at = [list(names).index(name) + 0.16 * (k - (len(losses) - 1) / 2) for name in part.profile]
        spread = np.maximum(np.stack([part.ratio - part.low, part.high - part.ratio]), 0)  # rounding may cross
        look: dict[str, Any] = {"color": LOSS_COLOURS[loss], "marker": LOSS_MARKERS[loss], "ls": "", "ms": 5}
        ax.errorbar(part.ratio, at, xerr=np.nan_to_num(spread), label=LOSS_LABELS[loss], **look)
    ax.axvline(1, color="0.3", linestyle=":")
    ax.set_yticks(range(len(names)), list(names.values()))
    ax.set(xlabel=label, xlim=(0, None), ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="x", alpha=0.3)
    ax.legend()
    return ax


def distance_ratios(workspaces: Iterable[Workspace], distance: str = "jtfs", weights: str = "last") -> pd.DataFrame:
    """Mean test distance of every evaluated run over that of the P-loss of the same recipe and seed.

    A recipe without a P-loss of its own (λ does not concern it) is measured by that of the recipe it shares.

    Args:
        workspaces: the recipes.
        distance: one of ``pnpkit.experiment.evaluation.items.DISTANCES``.
        weights: ``"last"`` or ``"best"``.

    Returns:
        A row a run other than P: ``profile``, ``loss``, ``seed``, ``lam``, ``mean``, ``p`` (both means), ``ratio``,
        ``low``, ``high`` (95 %, bootstrap over the items, paired), ``left_out`` (items where either distance is not
        finite). Runs without evaluation, or whose P has none, or without one finite pair, have no row.
    """
    rows = []
    for workspace in workspaces:
        for loss, seed in workspace.finished_runs():
            pair = (loss, "p")
            if loss == "p" or not all((workspace.evaluation_folder(k, seed) / "summary.json").exists() for k in pair):
                continue
            values, p = (workspace.evaluation(k, seed).of(weights)[distance].to_numpy() for k in pair)
            kept = np.isfinite(values) & np.isfinite(p)
            if not kept.any():
                continue
            low, high = bootstrap_interval(values[kept], over=p[kept]) or (np.nan, np.nan)
            mean, mean_p = values[kept].mean(), p[kept].mean()
            run = {"profile": workspace.profile.name, "loss": loss, "seed": seed}
            run |= {"lam": workspace.profile.run(loss, seed).lam, "left_out": int((~kept).sum())}
            rows.append(run | {"mean": mean, "p": mean_p, "ratio": mean / mean_p, "low": low, "high": high})
    columns = ["profile", "loss", "seed", "lam", "mean", "p", "ratio", "low", "high", "left_out"]
    return pd.DataFrame(rows, columns=columns)
