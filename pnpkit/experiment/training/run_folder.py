"""The folder of a training run: what the loop writes there, and reading it back."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from pnpkit.analyser.network import predict
from pnpkit.experiment.artefacts import provenance, read_json, require_same_config, write_atomically, write_json
from pnpkit.experiment.config import FeatureConfig, GridConfig, TrainingConfig
from pnpkit.experiment.training.checkpoint import RunState, save_weights, snapshot
from pnpkit.experiment.training.objective import TrainingData

PROBED = 64  # test items followed through training
FILES = (  # of a run; the mark of its end goes first
    "provenance.json", "weights.safetensors", "best.safetensors", "average.safetensors", "predictions.csv", "probe.csv",
    "history.csv", "config.json",
)  # fmt: skip


@dataclass(frozen=True)
class RunResult:
    """What a run left in its folder; ``predictions`` is None while it is unfinished."""

    folder: Path
    finished: bool
    history: pd.DataFrame
    predictions: pd.DataFrame | None


def read_run(folder: Path) -> RunResult:
    """A run from its folder, finished or not.

    Raises:
        FileNotFoundError: if there is none, or none of its epochs has ended.
    """
    finished = (folder / "provenance.json").exists()
    predictions = pd.read_csv(folder / "predictions.csv") if finished else None
    return RunResult(folder, finished, pd.read_csv(folder / "history.csv"), predictions)


def read_finished(folder: Path, config: TrainingConfig) -> RunResult | None:
    """The run of a folder if it is finished; None if it is not, or there is none.

    Raises:
        ArtefactMismatch: if the folder holds a run of another configuration, finished or not; names both hashes.
    """
    if (folder / "config.json").exists():
        require_same_config(folder, read_json(folder / "config.json"), config)
    if not (folder / "provenance.json").exists():
        return None
    require_same_config(folder, read_json(folder / "provenance.json")["config"], config)
    return read_run(folder)


def read_config(folder: Path) -> TrainingConfig:
    """Configuration of a training run, from its folder.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if its ``config.json`` is damaged, or of another version of this library.
    """
    stored = read_json(folder / "config.json", "train")
    try:
        parts = {"grid": GridConfig(**stored["grid"]), "features": FeatureConfig(**stored["features"])}
        return TrainingConfig(**stored | parts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'} is not the configuration of a training run: {error}") from error


def clear_run(out: Path) -> None:
    """Delete what the folder holds of a run, finished or not."""
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    for name in FILES:
        (out / name).unlink(missing_ok=True)


def write_history(data: TrainingData, out: Path, state: RunState) -> None:
    """``history.csv``, a row an epoch."""
    columns = [f"{kind}_{name}" for kind in ("error", "mean_error", "negative") for name in data.space.names]
    adaptive = ["relaxed"] if "relaxed" in state.history[0] else []
    names = ["epoch", "train_loss", "validation_loss", *columns, *adaptive, "seconds"]
    _write_csv(out / "history.csv", pd.DataFrame(state.history, columns=names))


def write_probe(config: TrainingConfig, data: TrainingData, out: Path, epoch: int, network: nn.Module) -> None:
    """Add to ``probe.csv`` what the network says of some test items after an epoch: how far it is, against time."""
    rows = data.rows("test")
    rows = rows[np.linspace(0, len(rows) - 1, min(PROBED, len(rows))).round().astype(int)]
    theta = _answers(config, data, network, rows)
    columns = dict(zip(data.space.names, theta.T.numpy(), strict=True))
    table = pd.DataFrame({"epoch": epoch, "id": data.table.id.to_numpy()[rows]} | columns)
    if (out / "probe.csv").exists():
        before = pd.read_csv(out / "probe.csv", dtype=str)  # as text, so that no digit changes
        table = pd.concat([before[before.epoch.astype(int) < epoch], table])
    _write_csv(out / "probe.csv", table)


def write_products(
    config: TrainingConfig,
    data: TrainingData,
    out: Path,
    state: RunState,
    network: nn.Module,
    best: dict[str, Tensor],
    average: dict[str, Tensor],
) -> None:
    """What a finished run leaves; the provenance last, because it is what says that the run is finished."""
    rows = data.rows("validation", "test")
    table = data.table.iloc[rows][["id", "fold"]].reset_index(drop=True)
    last = snapshot(network)
    for kind, weights in (("last", last), ("best", best), ("average", average)):
        network.load_state_dict(weights)
        theta = _answers(config, data, network, rows)
        for i, name in enumerate(data.space.names):
            table[f"{kind}_{name}"] = theta[:, i].numpy()
    save_weights(out / "weights.safetensors", last)
    save_weights(out / "best.safetensors", best)
    save_weights(out / "average.safetensors", average)
    write_history(data, out, state)
    _write_csv(out / "predictions.csv", table)
    summary = {"epochs": state.epoch, "best_epoch": state.best_epoch, "sessions": state.sessions}
    write_json(out / "provenance.json", provenance(config, state.seconds) | summary)
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _answers(config: TrainingConfig, data: TrainingData, network: nn.Module, rows: np.ndarray) -> Tensor:
    """θ̃ of some rows in raw units, float64."""
    return data.space.decode(predict(network, data.features, rows).double(), config.coordinates)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, lambda p: table.to_csv(p, index=False))
