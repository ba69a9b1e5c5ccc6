"""How far the predictions of a run are from their targets: distances of sounds, and errors of θ̃, item by item."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.distances import ddsp_mss_distance, mss_distance
from pnpkit.experiment.counting import Count, counted, slices
from pnpkit.experiment.dataset import theta_of
from pnpkit.jtfs.operator import LOUDEST
from pnpkit.synth import ParameterSpace, Synthesiser

DISTANCES = ("jtfs", "mss", "ddsp")
WEIGHTS = ("last", "best", "average")  # of the last epoch, of the best validation, averaged over the steps
STATUS = ("ok", "not finite", "silent")


@torch.no_grad()
def evaluate(
    predictions: pd.DataFrame,
    grid: pd.DataFrame,
    synth: Synthesiser,
    phi: Callable[[Tensor], Tensor],
    *,
    fold: str = "test",
    weights: Sequence[str] = WEIGHTS,
    source: str = "the predictions",
    batch_size: int = 8,
    progress: Count = None,
) -> pd.DataFrame:
    """Distances and parameter errors of every predicted item; none is dropped.

    Args:
        predictions: ``id``, and ``<kind>_<name>`` in raw units for some of the kinds of weights; with ``fold``, if they
            are of more than one.
        grid: the data set, ``id``, parameters, ``fold``.
        synth, phi: g and Φ. Sounds are synthesised in float64, as float32 loses phase.
        fold: the fold predicted.
        weights: the kinds; those that the predictions lack are left out.
        source: what to call the predictions in a message: their file.
        batch_size: items at a time.
        progress: called with (items done, items in all).

    Returns:
        One row an item and kind of weights: ``id``, ``weights``, ``status``, ``jtfs``, ``mss``, ``ddsp``, and for each
        parameter ``error_`` (absolute, its unit), ``percent_`` (of the true value) and ``outside_`` (of the range of
        the data set). Distances are NaN where ``status`` is not ``ok``: θ̃ or its sound not finite, or refused by g
        (both ``not finite``), or silence.

    Raises:
        ValueError: if the predictions are not exactly of that fold of that data set, or lack columns.
    """
    space = synth.parameters
    wanted = grid[grid.fold == fold].sort_values("id", ignore_index=True)
    table = _matched(predictions, wanted, source)
    kinds = [w for w in weights if {f"{w}_{n}" for n in space.names} <= set(table)]
    if not kinds:
        raise ValueError(
            f"{source}: columns {'_<name> or '.join(weights)}_<name> are needed for {', '.join(space.names)}"
        )
    target = theta_of(wanted, space)
    guesses = {w: torch.tensor(table[[f"{w}_{n}" for n in space.names]].to_numpy(dtype=np.float64)) for w in kinds}
    parts: dict[str, list[pd.DataFrame]] = {w: [] for w in kinds}
    count = counted(progress, len(wanted))
    for rows in slices(len(wanted), batch_size):
        y = synth(target[rows])
        phi_y = phi(y)
        first = _distances(guesses[kinds[0]][rows], y, phi_y, synth, phi)
        for w in kinds:
            part = _parameter_errors(guesses[w][rows], target[rows], space)
            # The last epoch is often the best
            same = w == kinds[0] or torch.equal(guesses[w][rows], guesses[kinds[0]][rows])
            distances = first if same else _distances(guesses[w][rows], y, phi_y, synth, phi)
            ids = wanted.id.iloc[rows].to_numpy()
            parts[w].append(pd.DataFrame({"id": ids, "weights": w} | distances | part))
        count(rows.stop - rows.start)
    return pd.concat(list(chain.from_iterable(parts.values())), ignore_index=True)


def summarise(items: pd.DataFrame, resamples: int = 2000) -> dict[str, Any]:
    """Means with their uncertainty, medians of errors, and counts of what went wrong, for each kind of weights.

    Args:
        items: of :func:`evaluate`.
        resamples: of the bootstrap over items.

    Returns:
        By weights: ``items``; ``status`` and ``outside`` (counts); for each distance ``mean``, ``standard_error``,
        ``interval`` (95 %, bootstrap over items) and ``left_out``; each error its ``median``. None if no item is
        left.
    """
    return {str(w): _summary(part, resamples) for w, part in items.groupby("weights", sort=False)}


def bootstrap_interval(
    values: Float[np.ndarray, " items"],
    resamples: int = 2000,
    seed: int = 0,
    over: Float[np.ndarray, " items"] | None = None,
) -> tuple[float, float] | None:
    """95 % percentile interval of the mean, by resampling items; None if there are fewer than two.

    With ``over``, of mean(values)/mean(over), the same items drawn of both. Source: Efron, 1979.

    >>> bootstrap_interval(np.ones(5))
    (1.0, 1.0)
    >>> bootstrap_interval(np.array([1.0, 2.0, 4.0]), over=np.array([2.0, 4.0, 8.0]))
    (0.5, 0.5)
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = values[drawn].mean(1) / (1.0 if over is None else over[drawn].mean(1))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def reference_predictions(grid: pd.DataFrame, space: ParameterSpace) -> dict[str, pd.DataFrame]:
    """What needs no training: the mean of the train fold for all, and the same with the first parameter exact.

    The second is what a network gives that has learnt the first parameter, and nothing else.
    """
    mean = grid.loc[grid.fold == "train", list(space.names)].mean()
    test = grid[grid.fold == "test"]
    columns = {f"last_{n}": np.full(len(test), mean[n]) for n in space.names}
    constant = pd.DataFrame({"id": test.id.to_numpy()} | columns)
    first = space.names[0]
    exact = constant.assign(**{f"last_{first}": test[first].to_numpy()})
    return {"train mean": constant, f"{first} exact, rest train mean": exact}


def _matched(predictions: pd.DataFrame, wanted: pd.DataFrame, source: str) -> pd.DataFrame:
    """Predictions in the order of the data set, or the reason why they cannot be its own."""
    if "fold" in predictions:
        predictions = predictions[predictions.fold.isin(wanted.fold.unique())]
    table = predictions.sort_values("id", ignore_index=True)
    if not np.array_equal(table.id.to_numpy(), wanted.id.to_numpy()):
        missing, extra = len(set(wanted.id) - set(table.id)), len(set(table.id) - set(wanted.id))
        raise ValueError(
            f"{source}: {len(table)} predictions for {len(wanted)} items; {missing} items are missing, {extra} are of "
            "another data set or fold, or some are there twice"
        )
    return table


def _parameter_errors(guess: Tensor, target: Tensor, space: ParameterSpace) -> dict[str, np.ndarray]:
    error = torch.where(torch.isfinite(guess), (guess - target).abs(), torch.nan)
    percent, outside = 100 * error / target.abs(), ~space.in_range(guess)
    columns: dict[str, Tensor] = {}
    for i, name in enumerate(space.names):
        columns |= {f"error_{name}": error[:, i], f"percent_{name}": percent[:, i], f"outside_{name}": outside[:, i]}
    return {name: column.numpy() for name, column in columns.items()}


def _distances(
    guess: Tensor, y: Tensor, phi_y: Tensor, synth: Synthesiser, phi: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    x = _sounds(guess, y, synth)
    finite, audible = (x.abs() <= LOUDEST).all(-1), (x != 0).any(-1)  # Φ of what is louder is not finite either
    status = np.where(finite.numpy(), np.where(audible.numpy(), "ok", "silent"), "not finite")
    good = finite & audible
    values = {name: torch.full((len(x),), torch.nan, dtype=torch.float64) for name in DISTANCES}
    if bool(good.any()):
        x, y = x[good], y[good]
        values["jtfs"][good] = (phi(x) - phi_y[good]).double().norm(dim=-1)
        values["mss"][good] = mss_distance(x.float(), y.float()).double()
        values["ddsp"][good] = ddsp_mss_distance(x.float(), y.float()).double()
    return {"status": status} | {name: value.numpy() for name, value in values.items()}


def _sounds(guess: Tensor, like: Tensor, synth: Synthesiser) -> Tensor:
    """g(θ̃), NaN for each item that g refuses."""
    x = torch.full_like(like, torch.nan)
    try:
        return synth(guess)
    except ValueError:
        for i, theta in enumerate(guess):
            try:
                x[i] = synth(theta)
            except ValueError:
                continue
    return x


def _summary(part: pd.DataFrame, resamples: int) -> dict[str, Any]:
    columns = list(map(str, part.columns))
    result: dict[str, Any] = {
        "items": len(part),
        "status": {s: int((part.status == s).sum()) for s in STATUS},
        "outside": {c.removeprefix("outside_"): int(part[c].sum()) for c in columns if c.startswith("outside_")},
    }
    for name in DISTANCES:
        values = part[name].to_numpy(dtype=np.float64)
        kept = values[np.isfinite(values)]
        result[name] = {
            "mean": float(kept.mean()) if len(kept) else None,
            "standard_error": float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else None,
            "interval": bootstrap_interval(kept, resamples),
            "left_out": int(len(values) - len(kept)),
        }
    for name in (c for c in columns if c.startswith(("error_", "percent_"))):
        median = part[name].median()
        result[name] = {"median": None if np.isnan(median) else float(median)}
    return result
