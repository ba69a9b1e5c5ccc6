"""The state of an unfinished training run on disk: one folder an epoch, complete or absent, and no pickle in it."""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pnpkit._extras import extra
from pnpkit._names import require_known
from pnpkit.analyser.network import Analyser
from pnpkit.experiment.artefacts import (
    ArtefactMismatch,
    config_dict,
    read_csv,
    read_record,
    require_same_config,
    write_record,
)
from pnpkit.experiment.files import sweep, sync, write_atomically, written
from pnpkit.experiment.integrity import Damaged
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import at_least
from pnpkit.experiment.training.probe import probe_digest

with extra("experiment", "a training run"):
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

HistoryRow = dict[str, int | float]  # of the history
KEPT = 2  # the newest, and the one before in case a disk loses the newest
NAME = re.compile(r"epoch-\d{5}")  # what else lies in the folder is the user's
WEIGHTS = {"last": "weights.safetensors", "best": "best.safetensors", "average": "average.safetensors"}


@dataclass
class RunState:
    """How far a run is. Generators have no state to keep: each epoch seeds its own from (seed, epoch)."""

    epoch: int = 0  # epochs done
    history: list[HistoryRow] = field(default_factory=list)  # one row an epoch
    best_epoch: int = 0
    best_loss: float = float("inf")  # lowest validation loss so far
    seconds: float = 0.0  # of all sessions
    sessions: int = 0  # times the run was started or resumed
    relaxed: int = 0  # adaptive damping is its first λ over RELAXATION to this power


@dataclass(frozen=True)
class CheckpointRecord:
    """What ``progress.json`` records."""

    config: dict[str, Any]
    history: list[dict[str, float]]
    best_loss: float
    epoch: int = at_least(1)
    best_epoch: int = at_least(0)
    seconds: float = at_least(0)
    sessions: int = at_least(0)
    relaxed: int = at_least(0)
    probe: str = ""  # digest of the probe up to this epoch; not recorded by older versions


def save_checkpoint(
    folder: Path,
    config: Any,
    state: RunState,
    analyser: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: nn.Module,
    best: dict[str, Tensor],
) -> None:
    """Write ``folder/epoch-<n>``: weights, the best, the average and the optimiser as safetensors; the rest is JSON.

    It is filled under another name and renamed, so that its parts belong together whenever the process is killed.
    """
    final = folder / f"epoch-{state.epoch:05d}"
    partial = folder / f".{final.name}.partial"
    moments = {f"{i}.{k}": v for i, s in optimiser.state_dict()["state"].items() for k, v in s.items()}
    parts = (*WEIGHTS.values(), "optimiser.safetensors")
    weights = (analyser.state_dict(), best, average.state_dict(), moments)
    probe = {"probe": probe_digest(folder.parent / "probe.csv", state.epoch)}
    with written(final):
        for old in (*folder.glob(".epoch-*.partial"), final):
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in zip(parts, weights, strict=True):
            save_weights(partial / name, tensors)
        write_record(partial / "progress.json", {"config": config_dict(config), **asdict(state), **probe}, parts)
        os.rename(partial, final)
        sync(folder)
    for old in _checkpoints(folder)[:-KEPT]:
        os.rename(old, gone := folder / f".{old.name}.partial")  # so that no half of it looks like a checkpoint
        shutil.rmtree(gone, ignore_errors=True)


def load_checkpoint(
    folder: Path, config: Any, analyser: nn.Module, optimiser: torch.optim.Optimizer, average: nn.Module
) -> tuple[RunState, dict[str, Tensor]]:
    """Put the newest checkpoint into analyser, optimiser and average; without one, leave them as they are.

    Returns:
        The run's state and its best weights so far.

    Raises:
        ArtefactMismatch: if it is of another configuration; names both hashes.
        ValueError: if a file is missing, truncated or of another network; names it and says what to do.
    """
    if folder.is_dir():
        sweep(folder.parent)
    found = _checkpoints(folder)
    if not found:
        return RunState(), snapshot(analyser)
    newest, advice = found[-1], remedy(found[-1] / "progress.json")
    try:
        stored = read_record(newest / "progress.json", CheckpointRecord)
        require_same_config(newest, stored.pop("config"), config)
        probe = stored.pop("probe", "")
        state = RunState(**stored)
        _check_progress(newest, state, folder.parent / "probe.csv", probe)
        analyser.load_state_dict(load_weights(newest / WEIGHTS["last"]))
        best = load_weights(newest / WEIGHTS["best"])
        average.load_state_dict(load_weights(newest / WEIGHTS["average"]))
        _restore(optimiser, load_weights(newest / "optimiser.safetensors"))
    except (ArtefactMismatch, Damaged, PermissionError):
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, IndexError) as error:
        said = str(error).splitlines()[0].removesuffix(f". {advice}")
        raise ValueError(f"the checkpoint {newest} cannot be read: {said}. {advice}") from error
    return state, best


def _check_progress(newest: Path, state: RunState, probe: Path, digest: str) -> None:
    """What a record of before there were digests can be held to, and the probe that lies elsewhere."""
    if [row.get("epoch") for row in state.history] != list(range(1, state.epoch + 1)):
        raise ValueError(f"{newest / 'progress.json'}: history has not one row for each of {state.epoch} epochs")
    if newest.name != f"epoch-{state.epoch:05d}":
        raise ValueError(f"{newest / 'progress.json'} is of epoch {state.epoch}")
    if not state.best_epoch <= state.epoch:
        raise ValueError(f"{newest / 'progress.json'}: best_epoch {state.best_epoch} is after epoch {state.epoch}")
    if digest and probe_digest(probe, state.epoch) != digest:
        raise Damaged(
            f"{probe} was changed since epoch {state.epoch} was done: put the file back, or begin this run again with "
            "--no-resume"
        )


def clear_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a folder, and it, unless something of the user's lies there."""
    for old in (*_checkpoints(folder), *folder.glob(".epoch-*.partial")):
        shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def newest_history(folder: Path) -> tuple[Path, list[HistoryRow]] | None:
    """The newest checkpoint's record, and the history in it; None without one."""
    if not (found := _checkpoints(folder)):
        return None
    path = found[-1] / "progress.json"
    return path, read_record(path, CheckpointRecord, only=())["history"]


def snapshot(analyser: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and running statistics."""
    return {name: value.detach().clone() for name, value in analyser.state_dict().items()}


def _restore(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in moments.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        # Same strides as the weight, so that the update reads both in the same order: needed for identical bits.
        state.setdefault(int(index), {})[key] = torch.empty_like(like).copy_(value) if value.ndim else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*") if NAME.fullmatch(path.name) and path.is_dir())


def load_analyser(folder: Path, weights: str = "last") -> Analyser:
    """The trained network of a run, in evaluation mode.

    Args:
        folder: of the run.
        weights: ``"last"`` (of the last epoch), ``"best"`` (of the lowest validation loss) or ``"average"``.
    """
    require_known("weights", weights, WEIGHTS)
    path = folder / WEIGHTS[weights]
    if not path.exists() and (answers := folder / "predictions.csv").exists():  # may be of before an average was kept
        kinds = {str(column).partition("_")[0] for column in read_csv(answers)}
        require_known(f"weights of {folder}", weights, [kind for kind in WEIGHTS if kind in kinds])
    state = run_weights(path)
    config = read_record(folder / "config.json", dict, "train", only=())
    try:
        analyser = Analyser(len(state["network.classifier.bias"]), config["head"])
        analyser.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds no weights of this network ({str(error).splitlines()[0]})") from error
    return analyser.eval()


def run_weights(path: Path) -> dict[str, Tensor]:
    """Weights from the folder of a run, after checking them against its record if it is finished."""
    state = load_weights(path)
    if (path.parent / "provenance.json").exists():
        read_record(path.parent / "provenance.json", only=[path.name])
    return state


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically; the format has no strides, so channels-last is undone first."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomically(path, lambda p: p.write_bytes(save(plain)))  # as readable to others as the files beside it


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read safetensors.

    Raises:
        FileNotFoundError: if there is none; most runs are kept without.
        ValueError: if the file is truncated or not of that format; names it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: the run is not finished, or kept without its weights")
    try:
        return load_file(path)
    except PermissionError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}): was it truncated?") from error
