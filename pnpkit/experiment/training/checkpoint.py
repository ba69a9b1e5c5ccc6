"""The state of an unfinished training run on disk: one folder an epoch, complete or absent, and no pickle in it."""

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pnpkit._extras import extra
from pnpkit.analyser.network import Analyser
from pnpkit.experiment.artefacts import (
    ArtefactMismatch,
    config_dict,
    read_json,
    require_same_config,
    write_atomically,
    write_json,
)

with extra("experiment", "a training run"):
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

Row = dict[str, int | float]  # of the history
KEPT = 2  # the newest, and the one before in case a disk loses the newest


@dataclass
class RunState:
    """How far a run is. Generators have no state to keep: each epoch seeds its own from (seed, epoch)."""

    epoch: int = 0  # epochs done
    history: list[Row] = field(default_factory=list)  # one row an epoch
    best_epoch: int = 0
    best_loss: float = float("inf")  # lowest validation loss so far
    seconds: float = 0.0  # of all sessions
    sessions: int = 0  # times the run was started or resumed
    relaxed: int = 0  # adaptive damping is its first λ over RELAXATION to this power


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
    for old in (partial, final):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    save_weights(partial / "weights.safetensors", analyser.state_dict())
    save_weights(partial / "best.safetensors", best)
    save_weights(partial / "average.safetensors", average.state_dict())
    moments = optimiser.state_dict()["state"]
    save_weights(partial / "optimiser.safetensors", {f"{i}.{k}": v for i, s in moments.items() for k, v in s.items()})
    write_json(partial / "progress.json", {"config": config_dict(config), **asdict(state)})
    os.rename(partial, final)
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


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
    found = _checkpoints(folder)
    if not found:
        return RunState(), snapshot(analyser)
    newest = found[-1]
    remedy = f"Delete {newest}: the run then continues from the checkpoint before it, or from the start."
    try:
        stored = read_json(newest / "progress.json")
        require_same_config(newest, stored.pop("config"), config)
        state = RunState(**stored)
        analyser.load_state_dict(load_weights(newest / "weights.safetensors"))
        best = load_weights(newest / "best.safetensors")
        average.load_state_dict(load_weights(newest / "average.safetensors"))
        _restore(optimiser, load_weights(newest / "optimiser.safetensors"))
    except ArtefactMismatch:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise ValueError(f"the checkpoint cannot be read: {error}. {remedy}") from error
    return state, best


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
    return sorted(folder.glob("epoch-*"))


def load_analyser(folder: Path, weights: str = "weights") -> Analyser:
    """The trained network of a run, in evaluation mode.

    Args:
        folder: of the run.
        weights: ``"weights"`` (last epoch), ``"best"`` (lowest validation loss) or ``"average"``.
    """
    state = load_weights(folder / f"{weights}.safetensors")
    head = read_json(folder / "config.json")["head"]
    analyser = Analyser(len(state["network.classifier.bias"]), head)
    analyser.load_state_dict(state)
    return analyser.eval()


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
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}): was it truncated?") from error
