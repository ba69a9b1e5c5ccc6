"""A network that learns: its steps, its epochs, its validation. The loop over epochs is in :mod:`.loop`."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pnpkit.analyser.network import predict
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.counting import Count
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.schema import Natural, Seconds
from pnpkit.experiment.training.objective import Loss, TrainingData, metric_of

AVERAGED = 0.999  # of the average of the weights, kept a step: it reaches back over some 1000 of them
LARGEST = 1e300  # error that is told: an answer in logarithms may be infinite in raw units, and a run goes on
HistoryRow = dict[str, float]  # of the history


@dataclass(kw_only=True)
class RunState:
    """How far a run is, and its schema. Generators have no state: each epoch seeds its own from (seed, epoch)."""

    history: list[HistoryRow]  # one row an epoch
    best_loss: float  # lowest validation loss so far
    epoch: Annotated[int, 1]  # epochs done; a record is of one or more
    best_epoch: Natural
    seconds: Seconds  # of all sessions
    sessions: Natural  # times the run was started or resumed
    relaxed: Natural  # adaptive damping is its first λ over RELAXATION to this power


def snapshot(analyser: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and running statistics."""
    return {name: value.detach().clone() for name, value in analyser.state_dict().items()}


class Learner:
    """A network with its optimiser, its targets, its metrics, and how far it is: what an epoch needs beside a loss.

    Network and batches are on the device; data, targets and metrics stay on the CPU.
    """

    best: dict[str, Tensor]  # weights of the best epoch so far; of a new run, those that it begins with

    def __init__(self, network: nn.Module, data: TrainingData, config: TrainingConfig, device: str) -> None:
        self.config, self.data, self.device, self.network = config, data, device, network.to(device)
        self.theta, self.metric = theta_of(data.table, data.space), metric_of(config, data)
        self.target = data.space.encode(self.theta, config.coordinates).float()
        # Beside the run, and no part of it: neither weights nor buffers of the network follow from the average
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        self.state = RunState(history=[], best_loss=math.inf, epoch=0, best_epoch=0, seconds=0.0, sessions=0, relaxed=0)

    def epoch(self, loss: Loss, progress: Count) -> float:
        """One pass over the train fold; the mean of its losses.

        Order and dropout follow from (seed, epoch) alone, so an epoch is the same whatever came before it.
        """
        config, state, rows = self.config, self.state, self.data.rows("train")
        n_steps, total = len(rows) // config.batch_size, 0.0
        order_seed, dropout_seed = map(int, np.random.SeedSequence((config.seed, state.epoch)).generate_state(2))
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(order_seed)).numpy()]
        torch.manual_seed(dropout_seed)
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(state.epoch)
        for step, batch in enumerate(np.split(order[: n_steps * config.batch_size], n_steps)):
            value = self.step(loss, batch)
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} at step {step} of epoch {state.epoch + 1} ({self.data.ids(batch)}); "
                    f"the last checkpoint, after epoch {state.epoch}, is as it was"
                )
            total += value
            if progress is not None:
                progress(state.epoch * n_steps + step + 1, config.epochs * n_steps)
        return total / n_steps

    def step(self, loss: Loss, batch: np.ndarray) -> float:
        """The loss of some items; unless it is not finite, the weights are moved against its gradient."""
        prediction = self.network(torch.from_numpy(np.asarray(self.data.inputs[batch])).to(self.device))
        if not bool(torch.isfinite(prediction).all()):
            return math.nan  # a synthesiser would refuse such θ̃ with a message that knows neither step nor ids
        value = self._loss(loss, prediction, batch)
        if value.ndim or not value.requires_grad:
            raise ValueError(
                "the loss must give one number with a gradient, the mean over the batch; it gave shape "
                f"{tuple(value.shape)}" + ("" if value.requires_grad else ", without gradient")
            )
        if math.isfinite(value.item()):
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
            self.average.update_parameters(self.network)
        return value.item()

    def validate(self, loss: Loss) -> HistoryRow:
        """The validation columns of the history: loss, and for each parameter its errors in its unit and its sign."""
        rows, space = self.data.rows("validation"), self.data.space
        output = predict(self.network, self.data.inputs, rows)
        row: HistoryRow = {"validation_loss": self._loss(loss, output, rows).item()}
        error = (space.decode(output.double(), self.config.coordinates) - self.theta[torch.from_numpy(rows)]).abs()
        error = error.clamp(max=LARGEST)
        for name, e, u in zip(space.names, error.T, output.T, strict=True):
            row[f"error_{name}"], row[f"mean_error_{name}"] = e.median().item(), e.mean().item()
            row[f"negative_{name}"] = (u < 0).double().mean().item()
        return row

    def _loss(self, loss: Loss, prediction: Tensor, rows: np.ndarray) -> Tensor:
        index, device = torch.from_numpy(rows), prediction.device
        M = None if self.metric is None else self.metric[index].to(device)
        return loss(prediction, self.target[index].to(device), M)
