"""The paper's Figure 1, redrawn: what each loss compares, and what can be computed once before training."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pnpkit.figures.plotting import PALETTE, WIDTH
from pnpkit.figures.results import LOSS_COLOURS

Point = tuple[float, float]

CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
BLACK, PNP = PALETTE[0], LOSS_COLOURS["pnp"]


def flow_diagram() -> Figure:
    """Parameters, sounds and descriptors as boxes, operators as arrows, losses where they act.

    Solid arrows are computed once, before training; dashed ones depend on the weights W.

    Source: GRETSI 2023, Figure 1.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.9))
    ax.set(xlim=(-1.05, 8.05), ylim=(-1.45, 3.5))
    ax.axis("off")
    top, low, left, middle, right = 2.4, 0.0, 0.0, 3.5, 7.0
    for x, symbol in ((left, r"\theta"), (middle, "x"), (right, r"\Phi")):
        _box(ax, (x, top), f"${symbol}_n$")
        _box(ax, (x, low), rf"$\tilde{{{symbol}}}_n$")
    _arrow(ax, (left, top), (middle, top), r"$g$", (0, 0.24))
    _arrow(ax, (middle, top), (right, top), r"$\Phi$", (0, 0.24))
    _arrow(ax, (left, low), (middle, low), r"$g$", (0, 0.24), dashed=True)
    _arrow(ax, (middle, low), (right, low), r"$\Phi$", (0, 0.24), dashed=True)
    _arrow(ax, (middle - 0.12, top - 0.08), (left, low), r"$f_{\mathbf{W}}$", (0.3, -0.2), dashed=True)
    _loss(ax, left, low, top, r"$\mathcal{L}^{\mathrm{P}}$", LOSS_COLOURS["p"], "left")
    _loss(ax, right, low, top, r"$\mathcal{L}^{\mathrm{SP}}$", LOSS_COLOURS["sp"], "right")
    around = {"arrowstyle": "-|>", "color": PNP, "lw": 1.8, "connectionstyle": "bar,fraction=0.05"}
    ax.annotate("", (left, top + 0.34), (right, top + 0.34), arrowprops=around)
    metric = r"$\mathbf{M}_n = \nabla_{(\Phi\circ g)}(\theta_n)^\top\,\nabla_{(\Phi\circ g)}(\theta_n)$"
    ax.text((left + right) / 2, top + 0.93, metric, color=PNP, fontsize=11, backgroundcolor="w", **CENTRED)
    formula = (
        r"$\mathcal{L}^{\mathrm{PNP}} = \frac{1}{2}\,\langle\tilde\theta_n - \theta_n \mid \mathbf{M}_n \mid"
        r" \tilde\theta_n - \theta_n\rangle$"
    )
    ax.text(left - 0.38, -0.82, formula, color=PNP, fontsize=12, va="center")
    for x, dashed, text in ((3.0, False, "computed once"), (5.2, True, r"depends on $\mathbf{W}$")):
        ax.plot((x, x + 0.55), (-1.3, -1.3), color=BLACK, lw=1.6, ls="--" if dashed else "-")
        ax.text(x + 0.66, -1.3, text, fontsize=9, va="center")
    return figure


def _box(ax: Axes, at: Point, text: str) -> None:
    shape = FancyBboxPatch((at[0] - 0.34, at[1] - 0.27), 0.68, 0.54, boxstyle="round,pad=0.04", fc="white", ec=BLACK)
    ax.add_patch(shape).set_zorder(3)
    ax.text(*at, text, fontsize=14, zorder=4, **CENTRED)


def _arrow(ax: Axes, start: Point, end: Point, text: str, shift: Point, dashed: bool = False) -> None:
    line: dict[str, Any] = {"ls": "--" if dashed else "-", "lw": 1.6, "color": BLACK}
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, shrinkA=26, shrinkB=28, **line))
    middle = (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1]
    ax.text(*middle, text, fontsize=13, **CENTRED)


def _loss(ax: Axes, x: float, low: float, top: float, text: str, colour: str, side: str) -> None:
    """A double arrow between what a loss compares."""
    ends: dict[str, Any] = {"arrowstyle": "<|-|>", "mutation_scale": 14, "shrinkA": 24, "shrinkB": 24}
    ax.add_patch(FancyArrowPatch((x, low), (x, top), lw=1.8, color=colour, **ends))
    shift, align = (-0.15, "right") if side == "left" else (0.15, "left")
    ax.text(x + shift, (low + top) / 2, text, color=colour, fontsize=14, ha=align, va="center")
