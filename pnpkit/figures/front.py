"""What the first page and the README begin with: our rows beside the paper's, and its claims with a sign each."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.workspace import Workspace
from pnpkit.figures.plotting import WIDTH
from pnpkit.figures.results import LOSS_COLOURS

SIGNS = {"agrees": "✓", "partly": "◐", "disagrees": "✗", "not decided": "?"}
ROWS = ("pnp-mean", "pnp", "p")  # of Table 1, the closest at the bottom of the axis


def plot_headline(results: Mapping[str, Any]) -> Figure:
    """Each loss's distances: a dot a seed of ours, the paper's mean and ± above it; dotted, one answer for all sounds.

    Args:
        results: of a profile of the paper's protocol, as read from ``results.json``.
    """
    rows, printed = results["rows"]["last"], results["paper"]["rows"]
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6), sharey=True, layout="constrained")
    names = {"jtfs": "scattering distance (JTFS)", "mss": "spectral distance (MSS)"}
    for ax, (distance, name) in zip(axes, names.items(), strict=True):
        for at, loss in enumerate(ROWS):
            mean, spread = printed[loss][distance]
            ax.errorbar(mean, at + 0.16, xerr=spread, color="0.55", marker="D", mfc="white", ms=6, capsize=3, ls="")
            ours = [] if rows.get(loss) is None else rows[loss][distance]["values"]
            ax.plot(ours, [at - 0.16] * len(ours), color=LOSS_COLOURS[loss], marker="o", ms=8, ls="")
            for value in ours:
                text = f"{value:.1f}" if distance == "jtfs" else f"{value:.2f}"
                ax.annotate(text, (value, at - 0.16), (7, 0), textcoords="offset points", va="center", size=9)
        constant = float(results["references"]["train mean"][distance]["mean"])
        if distance == "jtfs":
            ax.text(0.98 * constant, len(ROWS) - 0.45, "one answer for all", ha="right", va="top", size=9)
        ax.axvline(constant, color="0.3", ls=":")
        ax.set(xlabel=name, xlim=(0, 1.12 * constant), ylim=(-0.6, len(ROWS) - 0.4))
    axes[0].set_yticks(range(len(ROWS)), [LOSS_LABELS[loss] for loss in ROWS])
    for y, name in ((0.16, "the paper"), (-0.16, "this book")):
        axes[0].text(2, len(ROWS) - 1 + y, name, va="center", size=9, color="0.35")
    return figure


def lights(claims: pd.DataFrame) -> str:
    """The claims as an HTML list: a sign and a word for the verdict, then the claim and our numbers."""
    lines = []
    for number, row in claims.iterrows():
        word, said = row.verdict, f"<b>{html.escape(row.claim)}</b>: {html.escape(row.ours)}"
        light = f'<span class="light"><span aria-hidden="true">{SIGNS[word]}</span> {word}</span>'
        lines.append(f'<li class="verdict {word.replace(" ", "-")}" value="{number}">{light} {said}</li>')
    return '<ol class="verdicts">' + "".join(lines) + "</ol>"


def sounds_of(workspace: Workspace, item: int, losses: Sequence[str]) -> dict[str, Tensor]:
    """A test sound, and what the answer of each loss's first network sounds like, by the label of the loss."""
    names, synth = list(workspace.problem.space.names), workspace.problem.synth
    rows = {"target": workspace.problem.table.set_index("id").loc[item, names]}
    for loss in losses:
        answers = workspace.predictions(loss, 0)
        rows[LOSS_LABELS[loss]] = answers.loc[item, [f"last_{name}" for name in names]]
    return {name: synth(torch.tensor(row.to_numpy(float))) for name, row in rows.items()}


def typical(workspace: Workspace, loss: str, share: float = 0.5) -> int:
    """The test sound at a quantile of a loss's JTFS distances."""
    ranked = workspace.evaluation(loss, 0).of("last").jtfs.sort_values()
    return int(ranked.index[int(share * (len(ranked) - 1))])
