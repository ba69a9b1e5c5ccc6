"""Training an analyser: one loop that can be killed at any moment and ends in the same bits.

Plain torch rather than Lightning: the loop fits on a page, and identical bits after a resume need order, dropout and
checkpoints in our own hands.
"""

import importlib.util
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pnpkit._system import locked, memory_kept, torch_threads
from pnpkit.analyser import Analyser, predict
from pnpkit.checkpoint import Row, RunState, load_checkpoint, save_checkpoint, snapshot
from pnpkit.dataset import theta_of
from pnpkit.losses import PNPLoss
from pnpkit.objective import Loss, TrainingData, build_losses, check_run, metric_of
from pnpkit.profiles import TrainingConfig
from pnpkit.provenance import config_dict, read_json, require_same_config, write_json
from pnpkit.run_folder import RunResult, clear_run, read_run, write_history, write_probe, write_products

__all__ = ["RunResult", "TrainingData", "build_losses", "read_run", "train"]

Callback = Callable[[int, int, Row], None]


def train(
    config: TrainingConfig,
    data: TrainingData,
    out: Path,
    *,
    resume: bool = True,
    max_hours: float | None = None,
    phi: Callable[[Tensor], Tensor] | None = None,
    start: Callable[[], Mapping[str, Tensor]] | None = None,
    progress: Callback | None = None,
    device: str = "cpu",
    threads: int = 1,
    tensorboard: Path | None = None,
) -> RunResult:
    r"""Train one analyser, or go on with it, or read the finished run.

    .. math:: \mathbf{W} \leftarrow \mathrm{Adam}\Big(\nabla_{\mathbf{W}} \tfrac1B \sum_{n}
              \mathcal{L}\big(f_{\mathbf{W}}(x_n), \theta_n, \mathbf{M}(\theta_n)\big)\Big)

    The folder ends with ``config.json``, ``history.csv`` (one row an epoch), ``predictions.csv`` (test fold, raw
    units), ``probe.csv`` (some of it after each epoch), ``weights.safetensors`` (last epoch), ``best.safetensors``
    (lowest validation loss), ``provenance.json``. With ``pnp-adaptive`` an epoch that does not improve the validation
    loss is undone: its row of the history is that of the network undone, and the last weights are the best ones.

    Args:
        config: the run; every epoch drops its last incomplete batch.
        data: see :class:`TrainingData`.
        out: the run's folder.
        resume: go on from the last checkpoint; otherwise delete what the folder holds of a run and begin again.
        max_hours: stop at the end of the epoch in which this session's time is up; 0 gives one epoch.
        phi: Φ∘g for the spectral loss, raw θ → descriptor.
        start: gives the weights to begin with, if the configuration has ``start_from``; called before the first epoch
            only, so that a run is resumed and read without them.
        progress: called after each step with (steps done, steps in all, last row of the history).
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; others lack float64, in which metrics are.
        threads: of torch. Bits are those of an uninterrupted run with as many.
        tensorboard: folder of scalars, if wanted.

    Raises:
        ArtefactMismatch: if the folder holds a run of another configuration; names both hashes.
        FloatingPointError: if the loss is not finite; names step and ids. The last checkpoint stays.
        ImportError: if scalars are asked for and TensorBoard is not installed.
        RuntimeError: if another process is training in this folder.
        ValueError: if configuration, data, device or checkpoint cannot be used; before any work.

    Source: GRETSI 2023, section 4: Adam at a constant 1e-3, 70 epochs.
    """
    check_run(config, data)
    _check_session(max_hours, device, tensorboard)
    if bool(config.start_from) != (start is not None):
        raise ValueError(f"start_from is {config.start_from!r}: weights to start with go with it, and with it only")
    losses = build_losses(config, data, phi)
    with locked(out, wait=False):
        if not resume:
            if start is not None:
                start()  # what could not begin must not clear what is there
            clear_run(out)
        if (out / "config.json").exists():
            require_same_config(out, read_json(out / "config.json"), config)
        if (out / "provenance.json").exists():
            require_same_config(out, read_json(out / "provenance.json")["config"], config)
            shutil.rmtree(out / "checkpoint", ignore_errors=True)
            return read_run(out)
        write_json(out / "config.json", config_dict(config))
        with torch.random.fork_rng(), memory_kept(), torch_threads(threads):
            return _train(config, data, out, losses, start, max_hours, progress, device, tensorboard)


def _train(
    config: TrainingConfig,
    data: TrainingData,
    out: Path,
    losses: tuple[Loss, Loss],
    start: Callable[[], Mapping[str, Tensor]] | None,
    max_hours: float | None,
    callback: Callback | None,
    device: str,
    tensorboard: Path | None,
) -> RunResult:
    began = time.perf_counter()
    train_loss, validation_loss = losses
    theta, metric, rows = theta_of(data.table, data.space), metric_of(config, data), data.rows("train")
    target = data.space.encode(theta, config.coordinates).float()
    mean_target = target[torch.from_numpy(rows)].mean(0) if config.bias_at_mean else None
    analyser = Analyser(len(data.space), config.head, config.seed, mean_target).to(device)
    optimiser = torch.optim.Adam(analyser.parameters(), lr=config.learning_rate, fused=True)
    state, best = load_checkpoint(out / "checkpoint", config, analyser, optimiser)
    if start is not None and state.epoch == 0:
        analyser.load_state_dict(start())
        best = snapshot(analyser)
    state.sessions += 1
    seconds_before = state.seconds

    if state.epoch == 0:
        write_probe(config, data, out, 0, analyser)
    while state.epoch < config.epochs:
        epoch_began = time.perf_counter()
        loss: Loss = train_loss.relaxed(state.relaxed) if isinstance(train_loss, PNPLoss) else train_loss
        mean_loss = _epoch(config, data, analyser, optimiser, loss, target, metric, state, callback)
        state.epoch += 1
        row: Row = {"epoch": state.epoch, "train_loss": mean_loss}
        row |= _validate(config, data, analyser, target, metric, validation_loss)
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"validation after epoch {state.epoch} is not finite: {row}; the last checkpoint stays"
            )
        improved = row["validation_loss"] < state.best_loss
        if improved:
            state.best_epoch, state.best_loss, best = state.epoch, row["validation_loss"], snapshot(analyser)
        if config.loss == "pnp-adaptive":
            row["relaxed"] = state.relaxed
            # Levenberg and Marquardt: trust the metric more after a success; after a failure take its weights back
            # (Adam's moments stay) and trust it less, with λ never above the first.
            state.relaxed = state.relaxed + 1 if improved else max(state.relaxed - 1, 0)
            if not improved:
                analyser.load_state_dict(best)
        state.history.append({**row, "seconds": round(time.perf_counter() - epoch_began, 3)})
        write_probe(config, data, out, state.epoch, analyser)
        state.seconds = seconds_before + time.perf_counter() - began
        save_checkpoint(out / "checkpoint", config, state, analyser, optimiser, best)
        write_history(data, out, state)
        if tensorboard is not None:
            _send(tensorboard, state.history[-1])
        if max_hours is not None and time.perf_counter() - began >= max_hours * 3600 and state.epoch < config.epochs:
            return read_run(out)
    write_products(config, data, out, state, analyser, best)
    return read_run(out)


def _epoch(
    config: TrainingConfig,
    data: TrainingData,
    analyser: Analyser,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    target: Tensor,
    metric: Tensor | None,
    state: RunState,
    callback: Callback | None,
) -> float:
    """One pass over the train fold; the mean of its losses.

    Order and dropout follow from (seed, epoch) alone, so an epoch is the same whatever came before it.
    """
    rows, device = data.rows("train"), next(analyser.parameters()).device
    n_steps, total = len(rows) // config.batch_size, 0.0
    order_seed, dropout_seed = (int(s) for s in np.random.SeedSequence((config.seed, state.epoch)).generate_state(2))
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(order_seed)).numpy()]
    torch.manual_seed(dropout_seed)
    analyser.train()
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(config, state.epoch)
    for step, batch in enumerate(np.split(order[: n_steps * config.batch_size], n_steps)):
        index = torch.from_numpy(batch)
        prediction = analyser(torch.from_numpy(np.asarray(data.features[batch])).to(device))
        M = None if metric is None else metric[index].to(device)
        # A synthesiser would refuse θ̃ = NaN with a message of its own; this one names step and ids.
        finite = bool(torch.isfinite(prediction).all())
        value = loss(prediction, target[index].to(device), M) if finite else prediction.sum()
        if not math.isfinite(value.item()):
            raise FloatingPointError(
                f"the loss is {value.item()} at step {step} of epoch {state.epoch + 1} ({data.ids(batch)}); "
                f"the last checkpoint, after epoch {state.epoch}, is as it was"
            )
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        total += value.item()
        if callback is not None:
            done = state.epoch * n_steps + step + 1
            callback(done, config.epochs * n_steps, state.history[-1] if state.history else {})
    return total / n_steps


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """Rate in the epoch after so many: constant, or half a period of a cosine from the configured rate towards zero.

    >>> from pnpkit.profiles import GridConfig
    >>> config = TrainingConfig(GridConfig(), "p", epochs=4, schedule="cosine")
    >>> [round(1000 * learning_rate(config, epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    share = 1.0 if config.schedule == "constant" else (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.learning_rate * share


def _validate(
    config: TrainingConfig, data: TrainingData, analyser: Analyser, target: Tensor, metric: Tensor | None, loss: Loss
) -> Row:
    """The validation columns of the history: loss, and for each parameter its errors in its own unit and its sign."""
    rows = data.rows("validation")
    index, output = torch.from_numpy(rows), predict(analyser, data.features, rows)
    row: Row = {"validation_loss": loss(output, target[index], None if metric is None else metric[index]).item()}
    theta = theta_of(data.table, data.space)[index]
    error = (data.space.decode(output.double(), config.coordinates) - theta).abs()
    for i, name in enumerate(data.space.names):
        row[f"error_{name}"] = error[:, i].median().item()
        row[f"mean_error_{name}"] = error[:, i].mean().item()
        row[f"negative_{name}"] = (output[:, i] < 0).double().mean().item()
    return row


def _check_session(max_hours: float | None, device: str, tensorboard: Path | None) -> None:
    if max_hours is not None and not max_hours >= 0:
        raise ValueError(f"max_hours must not be negative, got {max_hours}")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; examples of valid ones: cpu, cuda, cuda:1") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, not {device!r}: metrics are float64")
    gpus = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= gpus:
        has = f"{gpus} usable GPUs" if gpus else "no usable GPU: use 'cpu'"
        raise ValueError(f"device {device!r} was asked for, and this machine has {has}")
    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise ImportError("TensorBoard is not installed: `pip install tensorboard`")


def _send(folder: Path, row: Row) -> None:
    """One row of the history as TensorBoard's scalars; those of later epochs, of a run begun again, give way."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=int(row["epoch"])) as writer:
        for name, scalar in row.items():
            writer.add_scalar(name, scalar, row["epoch"])
