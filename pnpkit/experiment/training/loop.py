"""Training an analyser: one loop that can be killed at any moment and ends in the same bits.

Plain torch rather than Lightning: the loop fits on a page, and identical bits after a resume need order, dropout and
checkpoints in our own hands.
"""

import importlib
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pnpkit._extras import extra
from pnpkit.experiment.artefacts import config_dict, write_json
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.machine import locked, memory_kept, torch_threads
from pnpkit.experiment.training.checkpoint import Row, load_checkpoint, save_checkpoint, snapshot
from pnpkit.experiment.training.learner import Callback, Learner
from pnpkit.experiment.training.objective import Loss, TrainingData, build_losses, check_run
from pnpkit.experiment.training.run_folder import (
    RunResult,
    clear_run,
    read_finished,
    read_run,
    write_history,
    write_probe,
    write_products,
)
from pnpkit.losses import PNPLoss


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

    The folder ends with ``config.json``, ``history.csv`` (one row an epoch), ``predictions.csv`` (test and validation
    fold, raw units), ``probe.csv`` (some of the test fold after each epoch), ``weights.safetensors`` (last epoch),
    ``best.safetensors`` (lowest validation loss), ``average.safetensors`` (exponential average of weights and buffers
    over the steps), ``provenance.json``. With ``pnp-adaptive`` an epoch that does not improve the validation loss is
    undone: its row of the history is that of the network undone, and the last weights are the best ones.

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
        if (finished := read_finished(out, config)) is not None:
            shutil.rmtree(out / "checkpoint", ignore_errors=True)
            return finished
        write_json(out / "config.json", config_dict(config))
        with torch.random.fork_rng(), memory_kept(), torch_threads(threads):
            learner = Learner(config, data, device)
            return _train(learner, out, losses, start, max_hours, progress, tensorboard)


def _train(
    learner: Learner,
    out: Path,
    losses: tuple[Loss, Loss],
    start: Callable[[], Mapping[str, Tensor]] | None,
    max_hours: float | None,
    progress: Callback | None,
    tensorboard: Path | None,
) -> RunResult:
    began = time.perf_counter()
    config, data, analyser, optimiser = learner.config, learner.data, learner.analyser, learner.optimiser
    train_loss, validation_loss = losses
    state, best = load_checkpoint(out / "checkpoint", config, analyser, optimiser, learner.average)
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
        mean_loss = learner.epoch(loss, state, progress)
        state.epoch += 1
        row: Row = {"epoch": state.epoch, "train_loss": mean_loss} | learner.validate(validation_loss)
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
        save_checkpoint(out / "checkpoint", config, state, analyser, optimiser, learner.average, best)
        write_history(data, out, state)
        if tensorboard is not None:
            _send(tensorboard, state.history[-1])
        if max_hours is not None and time.perf_counter() - began >= max_hours * 3600 and state.epoch < config.epochs:
            return read_run(out)
    write_products(config, data, out, state, analyser, best, snapshot(learner.average.module))
    return read_run(out)


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
    if tensorboard is not None:
        with extra("tensorboard", "a folder of scalars"):
            importlib.import_module("tensorboard")


def _send(folder: Path, row: Row) -> None:
    """One row of the history as TensorBoard's scalars; those of later epochs, of a run begun again, give way."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=int(row["epoch"])) as writer:
        for name, scalar in row.items():
            writer.add_scalar(name, scalar, row["epoch"])
