"""The state of an unfinished training run on disk: one folder an epoch, complete or absent, and no pickle in it."""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pnpkit._extras import extra
from pnpkit._files import filled, write_atomically
from pnpkit._names import require_known
from pnpkit.analyser.network import Analyser
from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import ArtefactMismatch, read_record
from pnpkit.experiment.files import read_bytes
from pnpkit.experiment.integrity import Damaged
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import fields_of
from pnpkit.experiment.training.learner import HistoryRow, Learner, RunState, snapshot

with extra("experiment", "a training run"):
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

KEPT = 2  # the newest, and the one before in case a disk loses the newest
NAME = re.compile(r"epoch-\d{5}")  # what else lies in the folder is the user's
WEIGHTS = {"last": "weights.safetensors", "best": "best.safetensors", "average": "average.safetensors"}


# What ``progress.json`` records; older versions no digest of the probe up to this epoch
PROGRESS = {**fields_of(RunState), "history": [{...: float}], "config": dict, "probe?": str}


def save_checkpoint(folder: Path, learner: Learner) -> None:
    """Write ``folder/epoch-<n>``: weights, the best, the average and the optimiser as safetensors; the rest is JSON.

    It is filled under another name and renamed, so that its parts belong together whenever the process is killed.
    """
    final = folder / f"epoch-{learner.state.epoch:05d}"
    moments = {f"{i}.{k}": v for i, s in learner.optimiser.state_dict()["state"].items() for k, v in s.items()}
    parts = (*WEIGHTS.values(), "optimiser.safetensors")
    weights = (learner.network.state_dict(), learner.best, learner.average.state_dict(), moments)
    record = {"config": artefacts.config_dict(learner.config), **asdict(learner.state)}
    record["probe"] = probe_digest(folder.parent / "probe.csv", learner.state.epoch)
    for old in (*folder.glob(".epoch-*.partial"), final):
        shutil.rmtree(old, ignore_errors=True)
    with filled(final) as partial:
        for name, tensors in zip(parts, weights, strict=True):
            save_weights(partial / name, tensors)
        artefacts.write_record(partial / "progress.json", record, parts)
    for old in _checkpoints(folder)[:-KEPT]:
        os.rename(old, gone := folder / f".{old.name}.partial")  # so that no half of it looks like a checkpoint
        shutil.rmtree(gone, ignore_errors=True)


def load_checkpoint(folder: Path, learner: Learner) -> None:
    """Put the newest checkpoint into a learner; without one, leave it as it is.

    Raises:
        ArtefactMismatch: if it is of another configuration; names both hashes.
        ValueError: if a file is missing, truncated or of another network; names it and says what to do.
    """
    found = _checkpoints(folder)
    if not found:
        learner.best = snapshot(learner.network)
        return
    newest, advice = found[-1], remedy(found[-1] / "progress.json")
    try:
        stored = read_record(newest / "progress.json", PROGRESS)
        artefacts.require_same_config(newest, stored.pop("config"), learner.config)
        probe = stored.pop("probe", "")
        learner.state = RunState(**stored)
        _check_progress(newest, learner.state, folder.parent / "probe.csv", probe)
        learner.network.load_state_dict(load_weights(newest / WEIGHTS["last"]))
        learner.best = load_weights(newest / WEIGHTS["best"])
        learner.average.load_state_dict(load_weights(newest / WEIGHTS["average"]))
        _restore(learner.optimiser, load_weights(newest / "optimiser.safetensors"))
    except (ArtefactMismatch, Damaged, PermissionError):
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, IndexError) as error:
        said = str(error).splitlines()[0].removesuffix(f". {advice}")
        raise ValueError(f"the checkpoint {newest} cannot be read: {said}. {advice}") from error


def _check_progress(newest: Path, state: RunState, probe: Path, digest: str) -> None:
    """What a record of before there were digests can be held to, and the probe that lies elsewhere."""
    epochs = [row.get("epoch") for row in state.history]
    if epochs != list(range(1, state.epoch + 1)) or newest.name != f"epoch-{state.epoch:05d}":
        raise ValueError(f"{newest / 'progress.json'} is of epoch {state.epoch}, with a history of epochs {epochs}")
    if not state.best_epoch <= state.epoch:
        raise ValueError(f"{newest / 'progress.json'}: best_epoch {state.best_epoch} is after epoch {state.epoch}")
    if digest and probe_digest(probe, state.epoch) != digest:
        raise Damaged(
            f"{probe} was changed since epoch {state.epoch} was done, says {newest / 'progress.json'}: put the file "
            "back, or begin this run again with --no-resume"
        )


def probe_digest(path: Path, epoch: int) -> str:
    """Digest of the probe's header and lines up to an epoch, to which a run that goes on only adds; "" without a probe.

    Raises:
        ValueError: if a line does not begin with the number of an epoch; names it.
    """
    if not path.exists():
        return ""
    header, *lines = read_bytes(path).splitlines(keepends=True) or [b""]
    try:
        kept = [line for line in lines if int(line.split(b",", 1)[0]) <= epoch]
    except ValueError as error:
        raise ValueError(f"{path} has a line without an epoch ({error}). {remedy(path)}") from error
    return artefacts.digest(b"".join([header, *kept]))


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
    return path, read_record(path, PROGRESS, only=())["history"]


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
        kinds = {str(column).partition("_")[0] for column in artefacts.read_csv(answers)}
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
    """Write tensors as safetensors, atomically; the format has no strides, and takes no two of one memory."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    write_atomically(path, save(plain))  # as readable to others as the files beside it


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
