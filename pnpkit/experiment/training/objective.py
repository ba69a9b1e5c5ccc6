"""What a run minimises: its data, with the metric in the coordinates of the network, and the loss made from it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_whole
from pnpkit._names import require_known
from pnpkit.analyser.scalogram import Scalogram
from pnpkit.distances import ddsp_mss_distance, mss_distance
from pnpkit.experiment.config import LOSS_LABELS, SCHEDULES, TrainingConfig
from pnpkit.experiment.dataset import theta_of
from pnpkit.losses import AdaptivePNPLoss, ParameterLoss, PNPLoss, SpectralLoss, WaveformLoss, WeightedParameterLoss
from pnpkit.metric import damp, mean_metric, unit_trace
from pnpkit.synth import ParameterSpace, Synthesiser
from pnpkit.synth.parameters import Coordinates

Loss = Callable[[Tensor, Tensor, Any], Tensor]
OF_SOUNDS = ("sp", "sp-linear", "mss")  # losses that compare two sounds, and need to know how a θ sounds


@dataclass(frozen=True)
class TrainingData:
    """A data set ready to train on; all parts have one row an item, in the order of the table.

    Args:
        space: of θ.
        table: ``id``, the parameters in raw units, ``fold``.
        inputs: the network's input, (items, bins, frames), an array or a memory map.
        metric: M at each θ in raw units, (items, d, d), or None for losses that need none.

    Raises:
        ValueError: if the numbers of rows or of parameters differ.
    """

    space: ParameterSpace
    table: pd.DataFrame
    inputs: np.ndarray
    metric: Tensor | None = None

    def __post_init__(self) -> None:
        n, d = len(self.table), len(self.space)
        if self.inputs.ndim != 3 or len(self.inputs) != n:
            raise ValueError(f"inputs must have shape ({n}, bins, frames), not {self.inputs.shape}")
        if self.metric is not None and tuple(self.metric.shape) != (n, d, d):
            raise ValueError(
                f"the metric must have shape ({n}, {d}, {d}), one row an item, not {tuple(self.metric.shape)}"
            )

    def ids(self, rows: np.ndarray) -> str:
        """The ids of some rows for a message: the first ten, and how many there are."""
        ids = self.table.id.to_numpy()[rows]
        return "ids " + ", ".join(map(str, ids[:10])) + (f" … {len(ids)} in all" if len(ids) > 10 else "")

    def rows(self, *folds: str) -> np.ndarray:
        """Row numbers of the items of some folds, ascending."""
        return np.flatnonzero(self.table.fold.isin(folds).to_numpy())


def check_run(config: TrainingConfig, table: pd.DataFrame) -> None:
    """Raise ``ValueError`` for a protocol that cannot run on a data set: folds, batch, epochs, rate, seed, words."""
    sizes = {fold: int((table.fold == fold).sum()) for fold in ("train", "validation", "test")}
    if not all(sizes.values()):
        raise ValueError(f"every fold needs items, got {sizes}")
    if not 2 <= config.batch_size <= sizes["train"]:  # batch normalisation needs two
        raise ValueError(f"batch_size must lie between 2 and the {sizes['train']} train items, not {config.batch_size}")
    require_known("schedule", config.schedule, SCHEDULES)
    require_known("coordinates", config.coordinates, get_args(Coordinates))
    require_known("gain", config.gain, ("detached", "attached"))
    if config.epochs < 1 or config.seed < 0 or not 0 < config.learning_rate < math.inf:
        raise ValueError(f"epochs must be ≥ 1, seed ≥ 0 and learning_rate positive; the configuration is {config}")
    for name in ("epochs", "batch_size", "seed"):
        require_whole(name, getattr(config, name), 0)
    for scale in (config.lam, config.jitter):
        damp(scale, "identity", torch.eye(1))


def check_sounds(config: TrainingConfig, g: Synthesiser) -> None:
    """Raise ``ValueError`` for sounds that the network's input or MSS, by which answers are judged, cannot take."""
    silence = torch.zeros(1, g.n_samples)
    Scalogram(g.sample_rate, **asdict(config.features))(silence)
    mss_distance(silence, silence)


def metric_of(config: TrainingConfig, data: TrainingData) -> Float[Tensor, "items d d"] | None:
    """All metrics, in the coordinates of the run, float64; each over its mean eigenvalue if that is configured.

    For ``pnp-permuted`` those of the train fold are shuffled over its items, once a seed: as many metrics, as large, on
    the wrong sounds. The validation fold keeps its own.

    Raises:
        ValueError: if one of the train or validation fold is missing (NaN) or infinite; names the ids.
    """
    if data.metric is None:
        return None
    used = data.rows("train", "validation")
    bad = used[~torch.isfinite(data.metric[torch.from_numpy(used)]).flatten(1).all(1).numpy()]
    if len(bad):
        raise ValueError(f"the metric is missing or not finite for {len(bad)} items to train on: {data.ids(bad)}")
    M = data.space.change_coordinates(data.metric.double(), theta_of(data.table, data.space), config.coordinates)
    M = unit_trace(M) if config.unit_trace else M
    if config.loss == "pnp-permuted":
        rows = torch.from_numpy(data.rows("train"))
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))
        M = M.index_copy(0, rows, M[rows[order]])
    return M


def build_losses(
    config: TrainingConfig, data: TrainingData, listen: Callable[[Tensor], Tensor] | None = None
) -> tuple[Loss, Loss]:
    """The loss to train with and the loss to validate with, both called as ``loss(prediction, target, metric)``.

    Validation is undamped: for a loss of one constant matrix that loss, the bare PNP loss for the others. For losses
    of sounds too, being their second-order picture at a thousandth of the cost; without metrics, the P-loss.

    The λ of ``pnp-adaptive`` is counted in mean eigenvalues of M̄, so that 1 is large: a metric's spectrum decays fast.

    Args:
        config: of the run.
        data: whose train fold gives M̄.
        listen: for losses of sounds, from raw θ: Φ∘g for ``sp``, its tangents for ``sp-linear``, g for ``mss``.

    Raises:
        ValueError: if the loss is unknown, λ or the jitter is negative, or the loss lacks metrics or ``listen``.
    """
    name, d = config.loss, len(data.space)
    require_known("loss", name, LOSS_LABELS)
    identity = torch.eye(d, dtype=torch.float64)
    jitter = damp(config.jitter, "identity", identity)
    damp(config.lam, "identity", identity)  # whatever the loss, a negative λ is an error
    metric = metric_of(config, data)
    if name == "p":
        return ParameterLoss(), ParameterLoss()
    if name == "sigma-p":
        variance = data.space.encode(theta_of(data.table, data.space), config.coordinates)[data.rows("train")].var(0)
        return (scaled := WeightedParameterLoss(1 / variance)), scaled
    if name in OF_SOUNDS:
        if listen is None:
            raise ValueError(f"loss {name!r} needs listen: what is compared of a sound, as a function of theta")
        decode = lambda u: data.space.decode(u, config.coordinates)  # noqa: E731
        compared: Any = partial(WaveformLoss, ddsp_mss_distance) if name == "mss" else SpectralLoss
        box = data.space.box(config.coordinates)
        return compared(listen, decode, box), ParameterLoss() if metric is None else PNPLoss()
    if metric is None:
        raise ValueError(f"loss {name!r} needs the metrics of its data set, and there are none: compute them first")
    M_mean = mean_metric(metric[torch.from_numpy(data.rows("train"))])
    if name in ("weighted-p", "mean-metric"):
        weighted = WeightedParameterLoss(torch.diagonal(M_mean) if name == "weighted-p" else M_mean)
        return weighted, weighted
    if name == "pnp-adaptive":
        mean_eigenvalue = torch.trace(M_mean).item() / d
        return AdaptivePNPLoss(damp(config.lam * mean_eigenvalue, "identity", M_mean)), PNPLoss()
    kinds = {"pnp": None, "pnp-identity": "identity", "pnp-mean": "mean", "pnp-permuted": "mean"}
    if name not in kinds:
        raise ValueError(f"loss {name!r} has a label, and nothing here builds it")
    kind = kinds[name]
    return PNPLoss(jitter if kind is None else damp(config.lam, kind, M_mean)), PNPLoss()  # type: ignore[arg-type]
