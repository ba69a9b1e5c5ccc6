"""What learns: an analyser with its optimiser and its targets, trained and validated an epoch at a time."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pnpkit.analyser.network import Analyser, predict
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.training.checkpoint import Row, RunState
from pnpkit.experiment.training.objective import Loss, TrainingData, metric_of

AVERAGED = 0.999  # of the average of the weights, kept a step: it reaches back over some 1000 of them
Callback = Callable[[int, int, Row], None]


class Learner:
    """An analyser with its optimiser, its targets and its metrics: what an epoch needs beside a loss.

    Args:
        config: of the run.
        data: what it trains on.
        device: where analyser and batches are; data, targets and metrics stay on the CPU.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData, device: str) -> None:
        self.config, self.data, self.device = config, data, device
        self.theta, self.metric = theta_of(data.table, data.space), metric_of(config, data)
        self.target = data.space.encode(self.theta, config.coordinates).float()
        mean = self.target[torch.from_numpy(data.rows("train"))].mean(0) if config.bias_at_mean else None
        self.analyser = Analyser(len(data.space), config.head, config.seed, mean).to(device)
        # Beside the run, and no part of it: neither weights nor buffers of the analyser follow from the average
        self.average = AveragedModel(self.analyser, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
        self.optimiser = torch.optim.Adam(self.analyser.parameters(), lr=config.learning_rate, fused=True)

    def epoch(self, loss: Loss, state: RunState, progress: Callback | None) -> float:
        """One pass over the train fold; the mean of its losses.

        Order and dropout follow from (seed, epoch) alone, so an epoch is the same whatever came before it.
        """
        config, rows = self.config, self.data.rows("train")
        n_steps, total = len(rows) // config.batch_size, 0.0
        order_seed, dropout_seed = map(int, np.random.SeedSequence((config.seed, state.epoch)).generate_state(2))
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(order_seed)).numpy()]
        torch.manual_seed(dropout_seed)
        self.analyser.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, state.epoch)
        for step, batch in enumerate(np.split(order[: n_steps * config.batch_size], n_steps)):
            value = self._step(loss, batch)
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} at step {step} of epoch {state.epoch + 1} ({self.data.ids(batch)}); "
                    f"the last checkpoint, after epoch {state.epoch}, is as it was"
                )
            total += value
            if progress is not None:
                done = state.epoch * n_steps + step + 1
                progress(done, config.epochs * n_steps, state.history[-1] if state.history else {})
        return total / n_steps

    def _step(self, loss: Loss, batch: np.ndarray) -> float:
        """The loss of some items; unless it is not finite, the weights are moved against its gradient."""
        index = torch.from_numpy(batch)
        prediction = self.analyser(torch.from_numpy(np.asarray(self.data.features[batch])).to(self.device))
        if not bool(torch.isfinite(prediction).all()):
            return math.nan  # a synthesiser would refuse such θ̃ with a message that knows neither step nor ids
        M = None if self.metric is None else self.metric[index].to(self.device)
        value = loss(prediction, self.target[index].to(self.device), M)
        if math.isfinite(value.item()):
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
            self.average.update_parameters(self.analyser)
        return value.item()

    def validate(self, loss: Loss) -> Row:
        """The validation columns of the history: loss, and for each parameter its errors in its unit and its sign."""
        rows, space = self.data.rows("validation"), self.data.space
        index, output = torch.from_numpy(rows), predict(self.analyser, self.data.features, rows)
        M = None if self.metric is None else self.metric[index]
        row: Row = {"validation_loss": loss(output, self.target[index], M).item()}
        error = (space.decode(output.double(), self.config.coordinates) - self.theta[index]).abs()
        for i, name in enumerate(space.names):
            row[f"error_{name}"] = error[:, i].median().item()
            row[f"mean_error_{name}"] = error[:, i].mean().item()
            row[f"negative_{name}"] = (output[:, i] < 0).double().mean().item()
        return row


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """Rate in the epoch after so many: constant, or half a period of a cosine from the configured rate towards zero.

    >>> from pnpkit.experiment.profiles import GridConfig
    >>> config = TrainingConfig(GridConfig(), "p", epochs=4, schedule="cosine")
    >>> [round(1000 * learning_rate(config, epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    share = 1.0 if config.schedule == "constant" else (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.learning_rate * share
