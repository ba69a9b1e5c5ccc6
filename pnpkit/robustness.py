"""Whether the order of the losses survives a change of the recipe: each run's distance over that of the P-loss."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from pnpkit.evaluation import bootstrap_interval
from pnpkit.workspace import Workspace


def distance_ratios(workspaces: Iterable[Workspace], distance: str = "jtfs", weights: str = "last") -> pd.DataFrame:
    """Mean test distance of every evaluated run over that of the P-loss of the same recipe and seed.

    A recipe without a P-loss of its own (λ does not concern it) is measured by that of the recipe it shares.

    Args:
        workspaces: the recipes.
        distance: one of :data:`pnpkit.evaluation.DISTANCES`.
        weights: ``"last"`` or ``"best"``.

    Returns:
        A row a run other than P: ``profile``, ``loss``, ``seed``, ``lam``, ``mean``, ``p`` (both means), ``ratio``,
        ``low``, ``high`` (95 %, bootstrap over the items, paired), ``left_out`` (items where either distance is not
        finite). Runs without evaluation, or whose P has none, or without one finite pair, have no row.
    """
    rows = []
    for space in workspaces:
        for loss, seed in space.finished_runs():
            pair = ((space, loss), (space.with_loss("p"), "p"))
            if loss == "p" or not all((s.evaluation_folder(name, seed) / "summary.json").exists() for s, name in pair):
                continue
            values, p = (s.evaluation(name, seed).of(weights)[distance].to_numpy() for s, name in pair)
            kept = np.isfinite(values) & np.isfinite(p)
            if not kept.any():
                continue
            low, high = bootstrap_interval(values[kept], over=p[kept]) or (np.nan, np.nan)
            mean, mean_p = values[kept].mean(), p[kept].mean()
            rows.append(
                {"profile": space.profile.name, "loss": loss, "seed": seed, "lam": space.profile.run(loss, seed).lam}
                | {"mean": mean, "p": mean_p, "ratio": mean / mean_p, "low": low, "high": high}
                | {"left_out": int((~kept).sum())}
            )
    columns = ["profile", "loss", "seed", "lam", "mean", "p", "ratio", "low", "high", "left_out"]
    return pd.DataFrame(rows, columns=columns)
