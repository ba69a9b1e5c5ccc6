"""Whether the order of the losses survives a change of the recipe: each run's distance over that of the P-loss."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from pnpkit.evaluation_folder import read_evaluation
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
            reference = (space if "p" in space.profile.losses else space.shared).evaluation_folder("p", seed)
            folder = space.evaluation_folder(loss, seed)
            if loss == "p" or not all((f / "summary.json").exists() for f in (folder, reference)):
                continue
            values, p = (_distances(f, distance, weights) for f in (folder, reference))
            kept = np.isfinite(values) & np.isfinite(p)
            if not kept.any():
                continue
            low, high = ratio_interval(values[kept], p[kept])
            mean, mean_p = values[kept].mean(), p[kept].mean()
            rows.append(
                {"profile": space.profile.name, "loss": loss, "seed": seed, "lam": space.profile.run(loss, seed).lam}
                | {"mean": mean, "p": mean_p, "ratio": mean / mean_p, "low": low, "high": high}
                | {"left_out": int((~kept).sum())}
            )
    columns = ["profile", "loss", "seed", "lam", "mean", "p", "ratio", "low", "high", "left_out"]
    return pd.DataFrame(rows, columns=columns)


def ratio_interval(
    a: Float[np.ndarray, " items"], b: Float[np.ndarray, " items"], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of mean(a)/mean(b) by resampling items, the same ones of both.

    Source: Efron, 1979.

    >>> low, high = ratio_interval(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0]))
    >>> float(low), float(high)
    (0.5, 0.5)
    """
    generator = np.random.default_rng(seed)
    index = generator.integers(len(a), size=(resamples, len(a)))
    low, high = np.quantile(a[index].mean(1) / b[index].mean(1), (0.025, 0.975))
    return float(low), float(high)


def _distances(folder: Path, distance: str, weights: str) -> np.ndarray:
    items = read_evaluation(folder).items
    return items[items.weights == weights].sort_values("id")[distance].to_numpy()
