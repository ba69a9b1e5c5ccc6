"""Training a network: one loop that can be killed at any moment and ends in the same bits.

Plain torch rather than Lightning: the loop fits on a page, and identical bits after a resume need order, dropout and
checkpoints in our own hands.
"""

import importlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pnpkit._extras import extra
from pnpkit.analyser.network import Analyser
from pnpkit.experiment.artefacts import config_dict, write_json
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.counting import Count
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.machine import check_device, locked, memory_kept, torch_threads
from pnpkit.experiment.training import run_folder
from pnpkit.experiment.training.checkpoint import clear_checkpoints, load_checkpoint, save_checkpoint
from pnpkit.experiment.training.learner import HistoryRow, Learner, snapshot
from pnpkit.experiment.training.objective import Loss, TrainingData, build_losses, check_run
from pnpkit.experiment.training.run_folder import RunResult
from pnpkit.losses import AdaptivePNPLoss


def train(
    config: TrainingConfig, data: TrainingData, out: Path, *, network: nn.Module | None = None,
    listen: Callable[[Tensor], Tensor] | None = None, threads: int = 1, **session: Any,
) -> RunResult:  # fmt: skip
    """Train what a configuration says: an :class:`Analyser` with one of the losses of :func:`build_losses`.

    Args:
        config, data, out, threads, session: as of :func:`fit`.
        network: another one, which ``config.head`` then is a name for.
        listen: what a loss of sounds compares of a raw θ; see :func:`build_losses`.
    """
    if bool(config.start_from) != (session.get("start") is not None):
        raise ValueError(f"start_from is {config.start_from!r}: weights to start with go with it, and with it only")
    with torch_threads(threads):
        loss, validation = build_losses(config, data, listen)
        if network is None:
            theta = theta_of(data.table, data.space)[torch.from_numpy(data.rows("train"))]
            mean = data.space.encode(theta, config.coordinates).float().mean(0) if config.bias_at_mean else None
            network = Analyser(len(data.space), config.head, config.seed, mean)
    return fit(network, loss, data, config, out, validation=validation, threads=threads, **session)


def fit(
    network: nn.Module,
    loss: Loss,
    data: TrainingData,
    config: TrainingConfig,
    out: Path,
    *,
    validation: Loss | None = None,
    start: Callable[[], Mapping[str, Tensor]] | None = None,
    resume: bool = True,
    max_hours: float | None = None,
    progress: Count = None,
    device: str = "cpu",
    threads: int = 1,
    tensorboard: Path | None = None,
) -> RunResult:
    r"""Train any network with any loss, or go on with it, or read the finished run.

    .. math:: \mathbf{W} \leftarrow \mathrm{Adam}\Big(\nabla_{\mathbf{W}} \tfrac1B \sum_{n}
              \mathcal{L}\big(f_{\mathbf{W}}(x_n), \theta_n, \mathbf{M}(\theta_n)\big)\Big)

    The folder ends with ``config.json``, ``history.csv`` (one row an epoch), ``predictions.csv`` (test and validation
    fold, raw units), ``probe.csv`` (some of the test fold after each epoch), ``weights.safetensors`` (last epoch),
    ``best.safetensors`` (lowest validation loss), ``average.safetensors`` (exponential average of weights and buffers
    over the steps), ``network.txt``, ``provenance.json``. With :class:`AdaptivePNPLoss` an epoch that does not improve
    the validation loss is undone: its row of the history is that of the network undone, and the last weights are the
    best ones.

    Args:
        network: f_W with its first weights, (batch, bins, frames) → (batch, d) in the coordinates of the run. If it is
            printed otherwise than the one whose run the folder holds, it is refused.
        loss: called as ``loss(prediction, target, metric)``, all in those coordinates; the metric is None without any.
        data: see :class:`TrainingData`.
        config: the protocol, which the folder is known by: a network or loss of your own has a name of your own as its
            ``head`` or ``loss``. Every epoch drops its last incomplete batch.
        out: the run's folder.
        validation: the loss to validate with; that of training unless given.
        start: gives the weights to begin with; called before the first epoch only.
        resume: go on from the last checkpoint; otherwise delete what the folder holds of a run and begin again.
        max_hours: stop at the end of the epoch in which this session's time is up; 0 gives one epoch.
        progress: called after each step with (steps done, steps in all).
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
    check_run(config, data.table)
    check_device(device)
    if max_hours is not None and not max_hours >= 0:
        raise ValueError(f"max_hours must not be negative, got {max_hours}")
    if tensorboard is not None:
        with extra("tensorboard", "a folder of scalars"):
            importlib.import_module("tensorboard")
    with locked(out, wait=False):
        if not resume:
            if start is not None:
                start()  # what could not begin must not clear what is there
            run_folder.clear_run(out)
        run_folder.require_same_network(out, network)
        if (finished := run_folder.read_finished(out, config)) is not None:
            clear_checkpoints(out / "checkpoint")
            return finished
        write_json(out / "config.json", config_dict(config))
        with torch.random.fork_rng(), memory_kept(), torch_threads(threads):
            learner = Learner(network, data, config, device)
            began = time.perf_counter()
            load_checkpoint(out / "checkpoint", learner)
            state, seconds_before = learner.state, learner.state.seconds
            if isinstance(loss, AdaptivePNPLoss):
                loss.relaxed = state.relaxed
            state.sessions += 1
            if state.epoch == 0:
                if start is not None:
                    network.load_state_dict(start())
                    learner.best = snapshot(network)
                run_folder.write_probe(out, learner)
            while state.epoch < config.epochs:
                _epoch(learner, loss, validation or loss, progress)
                run_folder.write_probe(out, learner)
                state.seconds = seconds_before + time.perf_counter() - began
                save_checkpoint(out / "checkpoint", learner)
                run_folder.write_history(out, learner)
                if tensorboard is not None:
                    _send(tensorboard, state.history[-1])
                if max_hours is not None and time.perf_counter() - began >= max_hours * 3600:
                    break
            if state.epoch == config.epochs:
                run_folder.write_products(out, learner)
            return run_folder.read_run(out)


def _epoch(learner: Learner, loss: Loss, validation: Loss, progress: Count) -> None:
    """One epoch and its row of the history; with adaptive damping it is judged, and undone if nothing is better."""
    began, state = time.perf_counter(), learner.state
    mean_loss = learner.epoch(loss, progress)
    state.epoch += 1
    row: HistoryRow = {"epoch": state.epoch, "train_loss": mean_loss} | learner.validate(validation)
    if not all(map(math.isfinite, row.values())):
        raise FloatingPointError(f"validation after epoch {state.epoch}: not finite: {row}; the checkpoint stays")
    improved = row["validation_loss"] < state.best_loss
    if improved:
        state.best_epoch, state.best_loss, learner.best = state.epoch, row["validation_loss"], snapshot(learner.network)
    if isinstance(loss, AdaptivePNPLoss):
        row["relaxed"], state.relaxed = loss.relaxed, loss.judge(improved)
        if not improved:
            learner.network.load_state_dict(learner.best)  # Adam's moments stay
    state.history.append({**row, "seconds": round(time.perf_counter() - began, 3)})


def _send(folder: Path, row: HistoryRow) -> None:
    """One row of the history as TensorBoard's scalars; those of later epochs, of a run begun again, give way."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=int(row["epoch"])) as writer:
        for name, scalar in row.items():
            writer.add_scalar(name, scalar, row["epoch"])
