"""A profile and the folder of its artefacts under ``data/<profile>/``: each reused if whole, resumed if partial."""

from collections.abc import Collection
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from pnpkit.experiment.artefacts import read_csv, require_same_config
from pnpkit.experiment.config import LOSS_LABELS, Profile, TrainingConfig
from pnpkit.experiment.counting import Progress, staged
from pnpkit.experiment.evaluation import folder as evaluations
from pnpkit.experiment.evaluation.curve import distance_curve
from pnpkit.experiment.evaluation.folder import Evaluation, read_evaluation
from pnpkit.experiment.evaluation.items import reference_predictions
from pnpkit.experiment.precompute.inputs import compute_inputs
from pnpkit.experiment.precompute.metric_store import MetricConfig, load_metrics
from pnpkit.experiment.precompute.metric_table import MetricTable
from pnpkit.experiment.precompute.metrics import compute_metrics
from pnpkit.experiment.precompute.tangents import how_it_sounds
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.profiles import get_profile
from pnpkit.experiment.remedies import command, data_root
from pnpkit.experiment.results.keep import read_results, write_results
from pnpkit.experiment.results.rows import build_results
from pnpkit.experiment.training import run_folder
from pnpkit.experiment.training.checkpoint import run_weights
from pnpkit.experiment.training.loop import train
from pnpkit.experiment.training.objective import OF_SOUNDS, TrainingData
from pnpkit.experiment.training.run_folder import RunResult


@dataclass(frozen=True)
class Workspace:
    """A profile, and the folder of its artefacts, ``<data root>/<profile>``."""

    profile: Profile
    folder: Path
    name: str  # by which the profile was opened

    @classmethod
    def open(cls, name: str, root: Path | None = None) -> "Workspace":
        """The workspace of a profile, by its name as in :func:`get_profile`, under :func:`data_root` unless told."""
        profile = get_profile(name)
        grid = get_problem(profile.grid).grid  # with the fingerprint of a synthesiser from elsewhere
        profile = replace(profile, grid=grid, training=replace(profile.training, grid=grid))
        return cls(profile, (root or data_root()) / profile.name, name)

    @property
    def problem(self) -> Problem:
        """Synthesiser, data set and Φ of the profile."""
        return get_problem(self.profile.grid)

    @property
    def metric_config(self) -> MetricConfig:
        """Configuration of the profile's metrics."""
        return MetricConfig(self.profile.grid, self.problem.phi_name, self.base.profile.metric_chunk)

    @property
    def metrics_path(self) -> Path:
        """Where the metrics are."""
        return self.base.folder / "metrics.zarr"

    def run_config(self, loss: str, seed: int) -> TrainingConfig:
        """Configuration of a run, which is that of the profile whose folder it is in."""
        return self._home(loss, seed).profile.run(loss, seed)

    def run_folder(self, loss: str, seed: int) -> Path:
        """Where a training run is, by the rule of :class:`Profile`."""
        return self._home(loss, seed).folder / "runs" / loss / str(seed)

    def evaluation_folder(self, loss: str, seed: int) -> Path:
        """Where the evaluation of a run is."""
        return self._home(loss, seed).folder / "evaluation" / loss / str(seed)

    @property
    def shared(self) -> "Workspace":
        """The workspace that this one shares with, by the rule of :class:`Profile`; itself if with none."""
        return Workspace.open(self.profile.shares, self.folder.parent) if self.profile.shares else self

    @property
    def base(self) -> "Workspace":
        """The workspace that metrics and inputs are in, at the end of the chain of those that share."""
        return self.shared.base if self.profile.shares else self

    def _home(self, loss: str, seed: int) -> "Workspace":
        run = self.profile.run(loss, seed)  # of an unknown loss this is the error
        mine = loss in self.profile.losses and run not in self.shared.profile.runs()
        return self if mine or not self.profile.shares else self.shared._home(loss, seed)

    def metrics(self) -> MetricTable:
        """The metrics, which must be there already; see :func:`load_metrics` for the errors."""
        made_by = command(f"metrics --profile {self.name}", self.folder.parent)
        return load_metrics(self.metrics_path, self.metric_config, made_by)

    def compute_metrics(
        self, workers: int = 2, executor: Executor | None = None, progress: Progress = None
    ) -> MetricTable:
        """The metrics, computed where missing."""
        path, config, callback = self.metrics_path, self.metric_config, staged("metrics", progress)
        return compute_metrics(path, config, workers=workers, executor=executor, progress=callback)

    def inputs(self, progress: Progress = None) -> np.memmap:
        """The network's inputs, computed where missing."""
        p, of = self.problem, self.profile.training.features
        return compute_inputs(p.table, p.synth, of, self.base.folder, staged("inputs", progress), p.grid.fingerprint)

    def data(self, config: TrainingConfig, progress: Progress = None) -> TrainingData:
        """What a run trains on. The metrics are read unless the loss is P, which needs none."""
        metric = None if config.loss == "p" else self.metrics().metric(config.gain)
        return TrainingData(self.problem.space, self.problem.table, self.inputs(progress), metric)

    def train(self, loss: str, seed: int, progress: Progress = None, **options: Any) -> RunResult:
        """One run, resumed or read; options as of :func:`train` and :func:`fit` in pnpkit.experiment.training.loop."""
        config, folder = self.run_config(loss, seed), self.run_folder(loss, seed)
        done = "network" not in options and options.get("resume", True)
        if done and (finished := run_folder.read_finished(folder, config)) is not None:
            return finished  # before metrics and inputs, which it does not need
        options["progress"] = staged(f"{LOSS_LABELS[loss]}, seed {seed}", progress)
        if loss in OF_SOUNDS:
            options["listen"] = how_it_sounds(
                loss, self.problem.with_gain(config.gain), self.base.folder, options.get("device", "cpu"), progress
            )
        if config.start_from:
            options["start"] = partial(self._weights, config.start_from, seed)
        return train(config, self.data(config, progress), folder, **options)

    def _weights(self, loss: str, seed: int) -> dict[str, Tensor]:
        """Last weights of a finished run of the workspace that is shared."""
        path = self.shared._begun(loss, seed) / "weights.safetensors"
        run_folder.read_provenance(path.parent)
        if not path.exists():
            again = "train that run again into another folder of artefacts (--out), or in place (--no-resume)"
            raise FileNotFoundError(f"{path} is needed to start from, and is not kept with its run: {again}")
        return run_weights(path)

    def _begun(self, loss: str, seed: int) -> Path:
        """The folder of a run, which must be the one asked for if there is any."""
        if ((folder := self.run_folder(loss, seed)) / "config.json").exists():
            require_same_config(folder, run_folder.config_of(folder), self.run_config(loss, seed))
        return folder

    def evaluate(self, loss: str, seed: int, progress: Progress = None, **options: Any) -> Evaluation:
        """Distances and errors of a finished run, computed where missing; options as of :func:`evaluate_run`."""
        folder, out = self._begun(loss, seed), self.evaluation_folder(loss, seed)
        callback = staged(f"evaluation of {LOSS_LABELS[loss]}, seed {seed}", progress)
        return evaluations.evaluate_run(folder, out, self.problem, callback, **options)

    def evaluation(self, loss: str, seed: int) -> Evaluation:
        """The evaluation of a run, which must be there; see :func:`read_evaluation`."""
        return read_evaluation(self.evaluation_folder(loss, seed), self.run_config(loss, seed))

    def verify_evaluation(self, loss: str, seed: int, n: int) -> float:
        """Compute a sample of an evaluation again; see :func:`.evaluation.folder.verify_evaluation`."""
        run, out = self._begun(loss, seed), self.evaluation_folder(loss, seed)
        return evaluations.verify_evaluation(run, out, self.problem, n)

    def curve(self, loss: str, seed: int, progress: Progress = None, **options: Any) -> pd.DataFrame:
        """Distance against time of a run, computed where missing; options as of :func:`distance_curve`."""
        run, callback = self._begun(loss, seed), staged(f"curve of {LOSS_LABELS[loss]}, seed {seed}", progress)
        return distance_curve(run, self.evaluation_folder(loss, seed), self.problem, callback, **options)

    def evaluate_references(self, progress: Progress = None) -> dict[str, Evaluation]:
        """Distances and errors of the predictions that need no training, by name, computed where missing."""
        p = self.problem
        return {
            name: evaluations.evaluate_reference(
                name, predictions, self._reference_folder(name), p, staged(f"evaluation of {name}", progress)
            )
            for name, predictions in reference_predictions(p.table, p.space).items()
        }

    def reference(self, name: str) -> Evaluation:
        """That of such predictions, which must be there: ``"train mean"``, or ``"f_c exact, rest train mean"``, …"""
        return read_evaluation(self._reference_folder(name))

    def _reference_folder(self, name: str) -> Path:
        return self.base.folder / "evaluation" / name.replace(" ", "-").replace(",", "")

    def finished_runs(self) -> list[tuple[str, int]]:
        """Loss and seed of every finished run of this profile."""
        return self._runs_with("provenance.json")

    def begun_runs(self) -> list[tuple[str, int]]:
        """Loss and seed of every run of this profile that has a history, finished or not."""
        return self._runs_with("history.csv")

    def _runs_with(self, file: str) -> list[tuple[str, int]]:
        losses = [loss for loss in LOSS_LABELS if loss in self.profile.losses or not self.profile.shares]
        return [(k, s) for s in self.profile.seeds for k in losses if (self.run_folder(k, s) / file).exists()]

    def history(self, loss: str, seed: int) -> pd.DataFrame:
        """Learning curve of a run, a row an epoch."""
        return run_folder.read_run(self._begun(loss, seed)).history

    def predictions(self, loss: str, seed: int) -> pd.DataFrame:
        """Answers of a finished run for validation and test fold, by id: ``fold``, ``<weights>_<parameter>``, raw."""
        return run_folder.read_answers(self._begun(loss, seed), "predictions.csv").set_index("id")

    def probe(self, loss: str, seed: int) -> pd.DataFrame:
        """Answers of a finished run for some test items after each epoch: ``epoch``, ``id``, parameters, raw."""
        return run_folder.read_answers(self._begun(loss, seed), "probe.csv")

    def provenance(self, loss: str, seed: int) -> dict[str, Any]:
        """How a finished run came to be; see :func:`pnpkit.experiment.artefacts.provenance`."""
        return run_folder.read_provenance(self._begun(loss, seed))

    def epochs_done(self, loss: str, seed: int) -> int:
        """How many epochs of a run have ended, 0 of one not begun."""
        path = self.run_folder(loss, seed) / "history.csv"
        return len(read_csv(path, ["epoch"])) if path.exists() else 0

    def results(self) -> dict[str, Any]:
        """``results.json``, as :meth:`keep_results` left it."""
        return read_results(self.folder)

    def keep_results(self, results: dict[str, Any], fewer: bool = False) -> None:
        """Keep what :meth:`compute_results` gave, unless the numbers there are the same; see :func:`write_results`."""
        write_results(self.folder, results, fewer)

    def compute_results(self, progress: Progress = None, seeds: Collection[int] | None = None) -> dict[str, Any]:
        """Table 1 and what belongs to it, from the evaluations of every finished run, computed where missing.

        Only of some ``seeds``, if they are given. ``ValueError`` if rows would mix configurations or lack a seed, or a
        seed is not one of the profile's.
        """
        wanted = self.profile.seeds if seeds is None else tuple(sorted(set(seeds)))
        if not set(wanted) <= set(self.profile.seeds):
            raise ValueError(f"profile {self.profile.name} has seeds {list(self.profile.seeds)}, not {list(wanted)}")
        if not self.finished_runs():
            verb = command(f"run --profile {self.name}", self.folder.parent)
            raise FileNotFoundError(f"{self.folder} holds no finished run: is it the right folder? `{verb}` makes them")
        found = [self.evaluate(loss, s, progress) for loss, s in self.finished_runs() if s in wanted]
        return build_results(found, self.evaluate_references(progress), wanted, config=self.profile)
