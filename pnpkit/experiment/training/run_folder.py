"""The folder of a training run: what the loop writes there, and reading it back."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from pnpkit._files import write_atomically
from pnpkit.analyser.network import Analyser, predict
from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import PROVENANCE, ArtefactMismatch, read_csv, read_record, require_same_config
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.integrity import Damaged
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import Natural
from pnpkit.experiment.training.checkpoint import WEIGHTS, clear_checkpoints, newest_history, save_weights
from pnpkit.experiment.training.learner import Learner, snapshot

PROBED = 64  # test items followed through training
# Of a run; the mark of its end goes first
RUN_FILES = (
    "provenance.json", *WEIGHTS.values(), "predictions.csv", "probe.csv", "history.csv", "network.txt", "config.json",
)  # fmt: skip


RUN_PROVENANCE = PROVENANCE | {"epochs?": Natural, "best_epoch?": Natural, "sessions?": Natural}


@dataclass(frozen=True)
class RunResult:
    """What a run left in its folder; ``predictions`` is None while it is unfinished."""

    folder: Path
    finished: bool
    history: pd.DataFrame
    predictions: pd.DataFrame | None


def read_run(folder: Path) -> RunResult:
    """A run from its folder, finished or not, after checking it against its digests.

    Raises:
        FileNotFoundError: if there is none, or none of its epochs has ended.
        ValueError: if a file is not what the run left there; names it.
    """
    finished = (folder / "provenance.json").exists()
    if finished:
        read_provenance(folder, ["history.csv", "predictions.csv"])
    predictions = read_csv(folder / "predictions.csv", ["id"]) if finished else None
    return RunResult(folder, finished, read_history(folder), predictions)


def read_provenance(folder: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """How a finished run came to be, after checking its configuration and the named files of it, which are to be read.

    Raises:
        FileNotFoundError: if it is not finished.
        ValueError: if it, or one of those files, is not what the run left there; names it.
    """
    made = read_record(folder / "provenance.json", RUN_PROVENANCE, "train", only=["config.json", *names])
    require_same_config(folder / "config.json", config_of(folder), made["config"])
    return made


def read_answers(folder: Path, file: str) -> pd.DataFrame:
    """``predictions.csv`` or ``probe.csv`` of a finished run, after checking it against its digest."""
    read_provenance(folder, [file])
    return read_csv(folder / file, ["id"])


def read_history(folder: Path) -> pd.DataFrame:
    """A row an epoch; of a run that goes on, as its newest checkpoint has it, whose epoch the file may lack as yet.

    Raises:
        FileNotFoundError: if no epoch has ended.
        ValueError: if it is no such table, or not that of the checkpoint; names it.
    """
    path = folder / "history.csv"
    history = read_csv(path, ["epoch", "seconds"])
    if list(history.epoch) != list(range(1, len(history) + 1)):
        raise ValueError(f"{path} has not one row for each epoch from 1 on. {remedy(path)}")
    # Of a finished run, what is left of a checkpoint is on its way out
    newest = None if (folder / "provenance.json").exists() else newest_history(folder / "checkpoint")
    if newest is not None:
        record, rows = newest
        if not rows or rows[0].keys() != set(history) or not len(rows) - 1 <= len(history) <= len(rows):
            raise Damaged(f"{path} is not the history that {record} holds: delete it, and go on with the run")
        return pd.DataFrame(rows, columns=list(history))
    return history


def read_finished(folder: Path, config: TrainingConfig) -> RunResult | None:
    """The run of a folder if it is finished; None if it is not, or there is none.

    Raises:
        ArtefactMismatch: if the folder holds a run of another configuration, finished or not; names both hashes.
        ValueError: if a file is not what the run left there; names it.
    """
    if (folder / "config.json").exists():
        require_same_config(folder, config_of(folder), config)
    return read_run(folder) if (folder / "provenance.json").exists() else None


def config_of(folder: Path) -> dict[str, Any]:
    """Configuration of a run as its folder has it."""
    return read_record(folder / "config.json", dict, "train", only=())


def require_same_network(out: Path, network: nn.Module) -> None:
    """Note a network's parts in ``network.txt``, and raise :class:`ArtefactMismatch` if others are noted there.

    An :class:`Analyser` is known by the configuration. Older runs have no note.
    """
    note, parts = out / "network.txt", "Analyser\n" if type(network) is Analyser else f"{network}\n"
    if not note.exists():
        write_atomically(note, parts.encode())
    elif (noted := note.read_text(encoding="utf-8")) != parts:
        there, here = (text.partition("(")[0].strip() for text in (noted, parts))
        raise ArtefactMismatch(
            f"{out} holds a run of another network ({there} there, {here} here, or one of other parts): give it "
            "another name as head, or begin again (resume=False)"
        )


def clear_run(out: Path) -> None:
    """Delete what the folder holds of a run, finished or not."""
    clear_checkpoints(out / "checkpoint")
    for name in RUN_FILES:
        (out / name).unlink(missing_ok=True)


def write_history(out: Path, learner: Learner) -> None:
    """``history.csv``, a row an epoch."""
    history, space = learner.state.history, learner.data.space
    columns = [f"{kind}_{name}" for kind in ("error", "mean_error", "negative") for name in space.names]
    adaptive = ["relaxed"] if "relaxed" in history[0] else []
    names = ["epoch", "train_loss", "validation_loss", *columns, *adaptive, "seconds"]
    artefacts.write_csv(out / "history.csv", pd.DataFrame(history, columns=names))


def write_probe(out: Path, learner: Learner) -> None:
    """Add to ``probe.csv`` what the network says of some test items after an epoch: how far it is, against time."""
    data, epoch = learner.data, learner.state.epoch
    rows = data.rows("test")
    rows = rows[np.linspace(0, len(rows) - 1, min(PROBED, len(rows))).round().astype(int)]
    columns = dict(zip(data.space.names, _answers(learner, rows).T.numpy(), strict=True))
    table = pd.DataFrame({"epoch": epoch, "id": data.table.id.to_numpy()[rows]} | columns)
    if (out / "probe.csv").exists():
        before = read_csv(out / "probe.csv", dtype=str)  # as text, so that no digit changes
        table = pd.concat([before[before.epoch.astype(int) < epoch], table])
    artefacts.write_csv(out / "probe.csv", table)


def write_products(out: Path, learner: Learner) -> None:
    """What a finished run leaves; the provenance last, because it is what says that the run is finished."""
    data, network, state = learner.data, learner.network, learner.state
    rows = data.rows("validation", "test")
    table = data.table.iloc[rows][["id", "fold"]].reset_index(drop=True)
    products = {"last": snapshot(network), "best": learner.best, "average": snapshot(learner.average.module)}
    for kind, weights in products.items():
        network.load_state_dict(weights)
        table[[f"{kind}_{name}" for name in data.space.names]] = _answers(learner, rows).numpy()
        save_weights(out / WEIGHTS[kind], weights)
    write_history(out, learner)
    artefacts.write_csv(out / "predictions.csv", table)
    made = artefacts.provenance(learner.config, state.seconds)
    made |= {"epochs": state.epoch, "best_epoch": state.best_epoch, "sessions": state.sessions}
    artefacts.write_record(out / "provenance.json", made, RUN_FILES[1:])
    clear_checkpoints(out / "checkpoint")


def _answers(learner: Learner, rows: np.ndarray) -> Tensor:
    """θ̃ of some rows in raw units, float64."""
    u = predict(learner.network, learner.data.inputs, rows).double()
    return learner.data.space.decode(u, learner.config.coordinates)
