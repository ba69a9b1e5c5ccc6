"""Metrics or units: the endpoint, the contrasts and the decision that were fixed before any control had ended.

They are those of ``data/paper-controls/plan.md``; a run that is missing leaves a contrast *not decided*.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd
import torch

from pnpkit._extras import extra
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.evaluation.items import evaluate
from pnpkit.experiment.workspace import Workspace

with extra("experiment", "a verdict"):
    from scipy import stats

Effect = Literal["helps", "harms", "nothing", "not decided"]
EPOCHS = range(61, 71)  # the last ten: one epoch is a draw
MARGIN = 4.3  # units of Φ: what an error of 1 % in all parameters costs
SEEDS = 3
# What the difference of two losses tells, (later, earlier): the three to be decided, then the secondary ones
PRIMARY = {
    "units": ("sigma-p", "p"),
    "average perception": ("weighted-p", "sigma-p"),
    "single sounds": ("pnp-mean", "pnp-permuted"),
}
SECONDARY = {
    "correlations": ("mean-metric", "weighted-p"),
    "spread of the metrics": ("pnp-permuted", "mean-metric"),
    "all beyond one diagonal": ("pnp-mean", "weighted-p"),
}


@dataclass(frozen=True)
class Contrast:
    """One loss minus another at the endpoint, paired by seed.

    Args:
        differences: by seed, in units of Φ; of the seeds that have both runs.
        interval: 95 % (Student) of their mean; None with fewer seeds than planned.
        verdict: helps or harms if the interval lies below or above zero; nothing if it lies within the margin; else not
            decided.
    """

    differences: Mapping[int, float]
    interval: tuple[float, float] | None
    verdict: Effect

    @property
    def words(self) -> str:
        """The verdict with its numbers.

        >>> contrast({0: 15.0}, {0: 43.0}).words
        'not decided: seed 0 alone says -28.0'
        """
        if self.interval is None:
            said = ", ".join(f"{d:+.1f}" for d in self.differences.values())
            seeds = ", ".join(map(str, self.differences))
            only = f"seed {seeds} alone says" if len(self.differences) == 1 else f"seeds {seeds} say"
            return f"not decided: {only} {said}" if self.differences else "not run yet"
        mean = float(np.mean(list(self.differences.values())))
        return f"{self.verdict}: {mean:+.1f} [{self.interval[0]:+.1f}, {self.interval[1]:+.1f}]"


def contrast(later: Mapping[int, float], earlier: Mapping[int, float]) -> Contrast:
    """The contrast of two losses, from the endpoint of each run by seed.

    >>> contrast({0: 15.0, 1: 16.0, 2: 17.0}, {0: 43.0, 1: 43.0, 2: 43.0}).verdict
    'helps'
    """
    differences = {seed: later[seed] - earlier[seed] for seed in sorted(later.keys() & earlier.keys())}
    values = np.array(list(differences.values()))
    if len(values) < SEEDS or not np.isfinite(values).all():
        return Contrast(differences, None, "not decided")
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    low, high = float(values.mean()) - half, float(values.mean()) + half
    verdict: Effect = "helps" if high < 0 else "harms" if low > 0 else "not decided"
    return Contrast(differences, (low, high), "nothing" if low <= 0 <= high and max(-low, high) <= MARGIN else verdict)


def endpoint(curve: pd.DataFrame, n: int, refused: Callable[[int], Sequence[float]]) -> float:
    """Mean JTFS distance of a probe over its last ten epochs; a sound without one counts as ‖Φ(x)‖.

    Args:
        curve: of :func:`pnpkit.experiment.evaluation.curve.distance_curve`.
        n: sounds in the probe.
        refused: ‖Φ(x)‖ of each sound that is left out at an epoch; asked only where there is one.

    Raises:
        ValueError: if an epoch is missing; names it.
    """
    rows = curve.set_index("epoch")
    if missing := sorted(set(EPOCHS) - set(rows.index)):
        raise ValueError(f"the endpoint is over epochs {EPOCHS[0]} to {EPOCHS[-1]}, and {missing} are missing")
    means = []
    for epoch in EPOCHS:
        left_out = int(rows.left_out[epoch])
        others = float(rows.jtfs[epoch]) * (n - left_out) if left_out < n else 0.0
        means.append((others + (sum(refused(epoch)) if left_out else 0.0)) / n)
    return float(np.mean(means))


def endpoints(workspace: Workspace) -> dict[str, dict[int, float]]:
    """The endpoint of every finished run of a profile, by loss and seed."""
    found: dict[str, dict[int, float]] = {loss: {} for loss in workspace.profile.losses}
    for loss, seed in workspace.finished_runs():
        if loss in found:
            probe = workspace.probe(loss, seed)
            charge = partial(_norms_of_refused, workspace, probe)
            found[loss][seed] = endpoint(workspace.curve(loss, seed), probe.id.nunique(), charge)
    return found


def _norms_of_refused(workspace: Workspace, probe: pd.DataFrame, epoch: int) -> list[float]:
    """‖Φ(x)‖ of the sounds of a probe whose answers at an epoch have no distance."""
    problem = workspace.problem
    names = list(problem.space.names)
    answers = probe[probe.epoch == epoch].rename(columns={name: f"last_{name}" for name in names})
    truth = problem.table[problem.table.id.isin(answers.id)]
    with torch.no_grad():
        items = evaluate(answers.drop(columns="epoch"), truth, problem.synth, problem.phi)
        lost = truth[truth.id.isin(items.id[items.status != "ok"])]
        return [float(problem.listen(theta[None]).double().norm()) for theta in theta_of(lost, problem.space)]


def contrasts(found: Mapping[str, Mapping[int, float]]) -> dict[str, Contrast]:
    """The planned contrasts, primary ones first, of the endpoints that there are."""
    return {
        name: contrast(found.get(later, {}), found.get(earlier, {}))
        for name, (later, earlier) in (PRIMARY | SECONDARY).items()
    }


def contrast_table(decided: Mapping[str, Contrast]) -> pd.DataFrame:
    """For the page: a row a contrast, what it subtracts, the difference of each seed and the verdict."""
    rows = {}
    for name, (later, earlier) in (PRIMARY | SECONDARY).items():
        seeds = {f"seed {s}": f"{d:+.1f}" for s, d in decided[name].differences.items()}
        kind = "primary" if name in PRIMARY else "secondary"
        rows[name] = {"difference": f"{LOSS_LABELS[later]} − {LOSS_LABELS[earlier]}", "test": kind, **seeds}
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("—").rename_axis("what it tells")
    return table.assign(verdict=[decided[name].words for name in table.index])


def answer(found: Mapping[str, Mapping[int, float]]) -> str:
    """Metrics or units, in one sentence of Markdown: each primary contrast with its verdict, or the runs it waits for.

    Args:
        found: by loss and seed; see :func:`endpoints`.
    """
    decided = contrasts(found)
    waiting = [LOSS_LABELS[k] for k in dict.fromkeys(chain(*PRIMARY.values())) if not found.get(k)]
    runs = f"no run of *{'* or *'.join(waiting)}* has ended yet" if waiting else f"it takes {SEEDS} seeds of each"
    if all(decided[name].interval is None for name in PRIMARY):
        return f"**not decided**: {runs}"
    return "; ".join(f"*{name}*: **{decided[name].words}**" for name in PRIMARY)
