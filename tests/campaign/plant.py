"""A small folder of artefacts with one of every kind, made by the real code from toy data in seconds."""

import dataclasses
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pnpkit.analyser.network import Analyser
from pnpkit.experiment.artefacts import config_hash
from pnpkit.experiment.config import GridConfig, Profile, ScalogramConfig, TrainingConfig
from pnpkit.experiment.dataset import arpeggio_grid
from pnpkit.experiment.evaluation.curve import distance_curve
from pnpkit.experiment.evaluation.folder import evaluate_reference, evaluate_run, read_evaluation
from pnpkit.experiment.evaluation.items import reference_predictions
from pnpkit.experiment.precompute import inputs
from pnpkit.experiment.precompute import metrics as precompute
from pnpkit.experiment.precompute.metric_store import load_metrics
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.profiles import PROFILES
from pnpkit.experiment.results.keep import read_results
from pnpkit.experiment.results.rows import build_results
from pnpkit.experiment.results.tables import claim_table, error_table, table
from pnpkit.experiment.schema import check
from pnpkit.experiment.training.checkpoint import load_analyser, load_checkpoint
from pnpkit.experiment.training.learner import Learner
from pnpkit.experiment.training.loop import train
from pnpkit.experiment.training.objective import TrainingData
from pnpkit.experiment.training.run_folder import config_of, read_answers, read_finished, read_history
from pnpkit.experiment.workspace import Workspace
from pnpkit.synth import Arpeggio
from tests.campaign.others import Others

NAME = "tiny"
FEATURES = ScalogramConfig(hop=8192, f_min=523.2, octaves=1)  # cheap ones
TABLE = arpeggio_grid(6)


def profile() -> Profile:
    """Two losses, two epochs of few steps."""
    smoke = PROFILES["smoke"]
    training = dataclasses.replace(smoke.training, epochs=2, batch_size=16)
    return dataclasses.replace(smoke, name=NAME, training=training, losses=("p", "pnp"))


def problem() -> Problem:
    """The sounds of the profile, short, and a descriptor that is quick."""
    found = Problem(GridConfig(n_steps=6), Arpeggio(n_samples=4096))
    vars(found)["phi"] = lambda x: torch.fft.rfft(x.double()).abs()[..., :2048:16]  # where the property keeps it
    return found


def toy_metrics(grid: GridConfig, items: slice) -> np.ndarray:
    """Metrics that depend on the items and nothing else."""
    J = np.stack([np.random.default_rng(i).normal(size=(2, 5, 3)) for i in range(items.start, items.stop)])
    return J.swapaxes(-1, -2) @ J


def data() -> TrainingData:
    """Some of the train fold, all of the others, with noise for sounds."""
    few = TABLE[(TABLE.fold != "train") | (TABLE.id % 5 == 0)]
    rng = np.random.default_rng(0)
    M = torch.from_numpy(toy_metrics(GridConfig(n_steps=6), slice(0, len(few)))[:, 0])
    return TrainingData(Arpeggio.parameters, few, rng.random((len(few), 8, 12), dtype=np.float32), M)


@dataclasses.dataclass
class Plant:
    """The folder, and how each kind of artefact in it is read.

    Args:
        root: of artefacts.
    """

    root: Path

    def __post_init__(self) -> None:
        PROFILES[NAME] = profile()
        self.workspace, self.problem = Workspace.open(NAME, self.root), problem()
        self.unfinished = dataclasses.replace(profile().run("pnp-mean", 0), epochs=4)
        self.others = Others(self.root, self.workspace.folder)
        self.learner = Learner(Analyser(3, "linear"), data(), self.unfinished, "cpu")
        self.key = inputs.inputs_key(TABLE, Arpeggio(), FEATURES)

    def build(self) -> "Plant":
        """Make everything."""
        precompute.metrics_of, before = toy_metrics, precompute.metrics_of
        inputs.BLOCK, block = 64, inputs.BLOCK
        with ThreadPoolExecutor(1) as pool:
            precompute.compute_metrics(self.workspace.metrics_path, self.workspace.metric_config, executor=pool)
        inputs.compute_inputs(TABLE, Arpeggio(), FEATURES, self.workspace.folder)
        precompute.metrics_of = before
        for loss in ("p", "pnp"):
            run, out = self.workspace.run_folder(loss, 0), self.workspace.evaluation_folder(loss, 0)
            train(self.config(loss), data(), run)
            evaluate_run(run, out, self.problem)
            distance_curve(run, out, self.problem)
        for name, predictions in reference_predictions(TABLE, Arpeggio.parameters).items():
            evaluate_reference(name, predictions, self.workspace._reference_folder(name), self.problem)
        self.workspace.keep_results(self.results())
        for _ in range(2):
            train(self.unfinished, data(), self.workspace.run_folder("pnp-mean", 0), max_hours=0.0)
        self.block = block
        self.others.build()
        return self

    def config(self, loss: str) -> TrainingConfig:
        """Of a finished run."""
        return self.workspace.profile.run(loss, 0)

    def results(self) -> dict[str, Any]:
        """The table, from what is on disk."""
        runs = [self.workspace.evaluation(loss, 0) for loss in ("p", "pnp")]
        names = reference_predictions(TABLE, Arpeggio.parameters)
        references = {name: self.workspace.reference(name) for name in names}
        return build_results(runs, references, (0,), config=self.workspace.profile)

    @property
    def features(self) -> Path:
        """The array of inputs."""
        return self.workspace.folder / f"features-{config_hash(self.key)}.npy"

    @property
    def newest(self) -> Path:
        """The newest checkpoint of the run that is not finished."""
        return self.workspace.run_folder("pnp-mean", 0) / "checkpoint" / "epoch-00002"

    def files(self) -> dict[str, list[Path]]:
        """The files of each kind."""
        workspace, loss = self.workspace, ("p", "pnp")
        runs, evaluations = (
            [workspace.run_folder(k, 0) for k in loss],
            [workspace.evaluation_folder(k, 0) for k in loss],
        )
        names = ("config.json", "history.csv", "predictions.csv", "probe.csv", "provenance.json")
        unfinished = self.newest.parents[1]
        return {
            "run": [run / name for run in runs for name in names],
            "weights": [r / f"{w}.safetensors" for r in runs for w in ("weights", "best", "average")],
            "checkpoint": [*sorted(self.newest.iterdir()), unfinished / "probe.csv", unfinished / "history.csv"],
            "evaluation": [e / name for e in evaluations for name in ("items.csv", "validation.csv", "summary.json")],
            "curve": [e / "curve.json" for e in evaluations],
            "results": [workspace.folder / "results.json"],
            "metrics": sorted(file for file in workspace.metrics_path.rglob("*") if file.is_file()),
            "features": [self.features, self.features.with_suffix(".json")],
            **self.others.files(),
        }

    def reader(self, kind: str, path: Path) -> Callable[[], str]:
        """What reads an artefact; a digest of all that it gives."""
        read: dict[str, Callable[[], Any]] = {
            "run": lambda: self._run(path.parent),
            "weights": lambda: load_analyser(path.parent, "last" if path.stem == "weights" else path.stem).state_dict(),
            "checkpoint": self._checkpoint,
            "evaluation": lambda: self._evaluation(path.parent),
            "curve": lambda: distance_curve(
                self.workspace.run_folder(path.parent.parent.name, 0), path.parent, self.problem
            ),
            "results": self._results,
            "metrics": self._metrics,
            "features": lambda: inputs.open_inputs(self.features, self.key),
            **self.others.readers(),
        }
        return lambda: digest(read[kind]())

    def _run(self, folder: Path) -> Any:
        found = read_finished(folder, self.config(folder.parent.name))
        if found is None:
            raise FileNotFoundError(f"{folder} holds no finished run")
        check(config_of(folder), TrainingConfig, folder / "config.json")
        return found.history, found.predictions, read_answers(folder, "probe.csv")

    def _evaluation(self, folder: Path) -> Any:
        loss = folder.parent.name
        found = read_evaluation(folder, self.config(loss))
        return found.items, found.summary, found.validation, self.results()["rows"][("last")][loss]

    def _results(self) -> Any:
        found = read_results(self.workspace.folder)
        return found, table(found), error_table(found), claim_table(found)

    def _metrics(self) -> Any:
        table = load_metrics(self.workspace.metrics_path, self.workspace.metric_config)
        return table.theta, table.metric(), table.metric("attached"), table.provenance

    def _checkpoint(self) -> Any:
        learner = self.learner
        load_checkpoint(self.newest.parent, learner)
        history = read_history(self.newest.parents[1])
        moments = learner.optimiser.state_dict()["state"]
        weights = (learner.best, learner.network.state_dict(), learner.average.state_dict())
        return learner.state, *weights, moments, history


def digest(value: Any) -> str:
    """SHA-256 of whatever a reader gives."""
    sha = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            part = part.detach().contiguous().numpy()
        if isinstance(part, np.ndarray):
            sha.update(np.ascontiguousarray(part).data)
        elif isinstance(part, dict):
            for key in sorted(part, key=str):
                sha.update(str(key).encode())
                add(part[key])
        elif isinstance(part, (tuple, list)):
            for inner in part:
                add(inner)
        elif hasattr(part, "to_csv"):
            sha.update(part.to_csv().encode())
        else:
            sha.update(repr(part).encode())

    add(value)
    return sha.hexdigest()
