"""The loop: killed or not, the same bits; what it writes; what it refuses. Features are noise of 8 × 12, so seconds."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pnpkit._names import UnknownName
from pnpkit.analyser.network import Analyser, predict
from pnpkit.distances import ddsp_mss_distance
from pnpkit.experiment.artefacts import ArtefactMismatch, config_hash
from pnpkit.experiment.config import LOSS_LABELS, GridConfig, TrainingConfig
from pnpkit.experiment.dataset import arpeggio_grid, theta_of
from pnpkit.experiment.training.checkpoint import WEIGHTS, load_analyser, load_weights
from pnpkit.experiment.training.learner import Learner
from pnpkit.experiment.training.loop import fit, train
from pnpkit.experiment.training.objective import OF_SOUNDS, TrainingData, build_losses, metric_of
from pnpkit.experiment.training.run_folder import read_run
from pnpkit.losses import ParameterLoss, PNPLoss, quadratic_form
from pnpkit.synth import Arpeggio
from tests.small_network import small_network

SPACE = Arpeggio.parameters
CONFIG = TrainingConfig(GridConfig(n_steps=6), "pnp-mean", epochs=3, batch_size=8, coordinates="logminmax", head="tanh")


def toy() -> TrainingData:
    """26 train, 8 validation and 6 test items of the smallest grid, with noise for sounds and random metrics."""
    grid = arpeggio_grid(6)
    sizes = {"train": 26, "validation": 8, "test": 6}
    table = pd.concat([grid[grid.fold == fold].head(n) for fold, n in sizes.items()]).sort_values("id")
    rng = np.random.default_rng(0)
    J = torch.from_numpy(rng.normal(size=(40, 20, 3)) * [0.1, 2, 20])
    return TrainingData(SPACE, table, rng.random((40, 8, 12), dtype=np.float32), J.mT @ J)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """None of this is about the network."""
    with small_network():
        yield


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return toy()


@pytest.fixture(scope="module")
def reference(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("reference")
    assert train(CONFIG, data, folder).finished
    return folder


def assert_same_run(folder: Path, reference: Path) -> None:
    for name in (*WEIGHTS.values(), "predictions.csv", "probe.csv", "config.json"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    histories = [pd.read_csv(f / "history.csv", dtype=str).drop(columns="seconds") for f in (folder, reference)]
    pd.testing.assert_frame_equal(*histories)


KILLED = """
import os, signal
from pathlib import Path
from tests.experiment.training.test_loop import CONFIG, small_network, toy
from pnpkit.experiment.training.loop import train
def kill(step, steps):
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
with small_network():
    train(CONFIG, toy(), Path({folder!r}), progress=kill)
"""


def test_killed_run_ends_in_the_same_bits(data: TrainingData, reference: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for step in (2, 5):  # of three steps an epoch: inside the first epoch, then inside the second
        code = KILLED.format(step=step, folder=str(tmp_path))
        environment = {**os.environ, "PYTHONPATH": str(root)}
        process = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=False)
        assert process.returncode == -signal.SIGKILL
    assert len(pd.read_csv(tmp_path / "history.csv")) == 1
    assert not (tmp_path / "predictions.csv").exists()
    assert train(CONFIG, data, tmp_path).finished
    assert_same_run(tmp_path, reference)
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert (provenance["sessions"], provenance["epochs"]) == (2, 3)  # a session that saved nothing left no trace


def test_budget_stops_at_an_epochs_end_and_resumes(data: TrainingData, reference: Path, tmp_path: Path) -> None:
    for epochs in (1, 2):
        result = train(CONFIG, data, tmp_path, max_hours=0.0)
        assert (result.finished, len(result.history), result.predictions) == (False, epochs, None)
    assert train(CONFIG, data, tmp_path, max_hours=0.0).finished
    assert_same_run(tmp_path, reference)
    assert not (tmp_path / "checkpoint").exists()


def test_a_finished_run_is_read_not_repeated(data: TrainingData, reference: Path) -> None:
    seen: list[int] = []
    before = (reference / "provenance.json").stat().st_mtime_ns
    result = train(CONFIG, data, reference, progress=lambda step, steps: seen.append(step))
    assert result.finished
    assert seen == []
    assert (reference / "provenance.json").stat().st_mtime_ns == before
    with pytest.raises(ArtefactMismatch, match=f"{config_hash(CONFIG)}, not {config_hash(replace(CONFIG, seed=1))}"):
        train(replace(CONFIG, seed=1), data, reference)


def test_callers_generator_and_data_order(data: TrainingData, reference: Path, tmp_path: Path) -> None:
    """Neither draws made before nor progress callbacks change a run, and a run changes no draw made after it."""
    torch.rand(7)
    state = torch.random.get_rng_state()
    train(CONFIG, data, tmp_path, progress=lambda step, steps: torch.rand(3) if step % 3 == 0 else None)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_run(tmp_path, reference)
    assert train(CONFIG, data, tmp_path, resume=False).finished  # begins again, over a finished run
    assert_same_run(tmp_path, reference)
    other = train(replace(CONFIG, seed=1), data, tmp_path / "other")
    assert not other.history.train_loss.equals(read_run(reference).history.train_loss)


def test_history_and_predictions_are_what_they_say(data: TrainingData, reference: Path) -> None:
    result, rows = read_run(reference), data.rows("validation")
    assert result.predictions is not None
    row, theta = result.history.iloc[-1], theta_of(data.table, SPACE)
    u = predict(load_analyser(reference), data.inputs, rows)
    M = SPACE.change_coordinates(data.metric, theta, "logminmax")[rows]  # type: ignore[arg-type]
    expected = quadratic_form(u - SPACE.encode(theta[rows], "logminmax").float(), M).mean()
    assert row.validation_loss == expected.item()  # undamped
    error = (SPACE.decode(u.double(), "logminmax") - theta[rows]).abs()
    assert row.error_f_m == error[:, 1].median().item()
    assert row.mean_error_gamma == error[:, 2].mean().item()
    assert row.negative_f_c == (u[:, 0] < 0).double().mean().item()
    assert list(result.history.epoch) == [1, 2, 3]
    assert list(result.predictions.id) == list(data.table[data.table.fold != "train"].id)
    for kind in WEIGHTS:
        predicted = predict(load_analyser(reference, kind), data.inputs, data.rows("validation", "test"))
        wanted = SPACE.decode(predicted.double(), "logminmax")
        got = result.predictions[[f"{kind}_{p}" for p in SPACE.names]].to_numpy()
        assert np.array_equal(got, wanted.numpy())  # every digit survives the file
    probe = pd.read_csv(reference / "probe.csv")
    test = result.predictions[result.predictions.fold == "test"]
    assert probe.groupby("epoch").id.apply(list).tolist() == [list(test.id)] * 4  # before, and 3 epochs
    last = test[[f"last_{p}" for p in SPACE.names]].to_numpy()
    np.testing.assert_allclose(probe[probe.epoch == 3][list(SPACE.names)], last, rtol=1e-6)
    best = json.loads((reference / "provenance.json").read_text())["best_epoch"]
    assert best == result.history.validation_loss.idxmin() + 1


def test_weights_that_a_run_was_made_without_are_told_from_those_that_were_not_kept(
    reference: Path, tmp_path: Path
) -> None:
    old = pd.read_csv(reference / "predictions.csv").filter(regex="^(?!average_)")
    old.to_csv(tmp_path / "predictions.csv", index=False)
    with pytest.raises(UnknownName, match=rf"weights of {tmp_path} 'average'; valid ones: last, best"):
        load_analyser(tmp_path, "average")
    with pytest.raises(FileNotFoundError, match="kept without its weights"):
        load_analyser(tmp_path, "last")
    with pytest.raises(UnknownName, match="weights 'mean'; valid ones: last, best, average"):
        load_analyser(reference, "mean")


def test_the_average_follows_weights_and_buffers_and_leaves_the_run_as_it_was(data: TrainingData) -> None:
    learner, plain = (Learner(Analyser(3, "tanh"), data, replace(CONFIG, loss="p"), "cpu") for _ in range(2))
    plain.average.update_parameters = lambda model: None  # type: ignore[method-assign]
    expected: dict[str, torch.Tensor] = {}
    step = learner.step

    def watched(loss: Any, batch: np.ndarray) -> float:
        value = step(loss, batch)
        for name, now in learner.network.state_dict().items():
            if now.is_floating_point():  # the count of batches is a number nobody reads
                expected[name] = now.clone() if name not in expected else 0.999 * expected[name] + 0.001 * now
        return value

    learner.step = watched  # type: ignore[method-assign]
    for one in (learner, plain):
        torch.manual_seed(0)
        one.epoch(ParameterLoss(), None)
    found = learner.average.module.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["normalise.running_mean"], learner.network.state_dict()["normalise.running_mean"])
    for a, b in zip(learner.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_permuted_metrics_are_those_of_the_train_fold_on_other_sounds(data: TrainingData) -> None:
    own = metric_of(CONFIG, data)
    permuted, again, other = (metric_of(replace(CONFIG, loss="pnp-permuted", seed=seed), data) for seed in (0, 0, 1))
    assert own is not None
    assert permuted is not None
    assert again is not None
    train_rows, validation = data.rows("train"), data.rows("validation")
    assert torch.equal(permuted, again)
    assert not torch.equal(permuted, other)  # type: ignore[arg-type]
    assert torch.equal(permuted[validation], own[validation])
    moved = (permuted[train_rows] != own[train_rows]).flatten(1).any(1)
    assert moved.double().mean() > 0.8
    key = lambda M: sorted(M[train_rows].flatten(1).tolist())  # noqa: E731
    assert key(permuted) == key(own)


def test_first_step_is_adams(data: TrainingData, tmp_path: Path) -> None:
    """One step of the loop against the textbook: Adam's first move is the rate times the sign of the gradient."""
    config = replace(CONFIG, loss="p", epochs=1, batch_size=26, learning_rate=1e-4)
    train(config, data, tmp_path)
    before, after = Analyser(3, "tanh", seed=0).state_dict(), load_weights(tmp_path / "weights.safetensors")
    move = (after["network.classifier.bias"] - before["network.classifier.bias"]).abs()
    torch.testing.assert_close(move, torch.full((3,), 1e-4), rtol=1e-3, atol=0)


def test_metrics_of_unit_trace_differ_from_the_others_by_one_factor_an_item(data: TrainingData) -> None:
    plain, unit = (metric_of(replace(CONFIG, unit_trace=flag), data) for flag in (False, True))
    assert plain is not None
    assert unit is not None
    eigenvalues = torch.linalg.eigvalsh(unit)
    torch.testing.assert_close(eigenvalues.mean(-1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(unit * (plain[:, :1, :1] / unit[:, :1, :1]), plain)


@pytest.mark.parametrize("coordinates", ["raw", "logminmax"])
def test_the_losses(data: TrainingData, coordinates: str) -> None:
    config = replace(CONFIG, coordinates=coordinates, lam=0.5, jitter=1e-8)
    theta = theta_of(data.table, SPACE)
    M = metric_of(config, data)
    assert M is not None
    rows = data.rows("train")
    M_mean, target = M[rows].mean(0), SPACE.encode(theta, coordinates)
    delta = torch.linspace(-0.1, 0.2, 120, dtype=torch.float64).reshape(40, 3)
    listen = lambda th: torch.log(th)  # noqa: E731
    low, high = (SPACE.encode(end, coordinates) for end in (SPACE.low, SPACE.high))
    assert coordinates == "raw" or (target + delta > high).any(), "some guesses are out of range"
    inside = (target + delta).clamp(low, high)
    way, heard = (
        (target + delta - inside) / (0.5 * (high - low)),
        (listen(SPACE.decode(inside, coordinates)) - listen(theta)).square().sum(-1),
    )
    expected: dict[str, Any] = {
        "p": delta.square().mean(),
        "sigma-p": 0.5 * (delta.square() / target[rows].var(0)).sum(-1).mean(),
        "weighted-p": quadratic_form(delta, torch.diag(M_mean.diagonal()).expand(40, 3, 3)).mean(),
        "mean-metric": quadratic_form(delta, M_mean.expand(40, 3, 3)).mean(),
        "sp": 0.5 * (heard + listen(theta).square().sum(-1) * (torch.sqrt(1 + way.square().sum(-1)) - 1)).mean(),
        "pnp": quadratic_form(delta, M + 1e-8 * torch.eye(3)).mean(),
        "pnp-identity": quadratic_form(delta, M + 0.5 * torch.eye(3)).mean(),
        "pnp-mean": quadratic_form(delta, M + 0.5 * M_mean).mean(),
        "pnp-permuted": quadratic_form(delta, M + 0.5 * M_mean).mean(),  # given metrics; who gives which, below
        "pnp-adaptive": quadratic_form(delta, M + 0.5 * M_mean.trace() / 3 * torch.eye(3)).mean(),
    }
    expected["sp-linear"] = expected["sp"]  # of a phi that is given; which, the workspace says
    g = lambda th: torch.sin(th[..., :1].log() * torch.arange(4096.0))  # noqa: E731
    silence, cost = (
        ddsp_mss_distance(y, g(theta)) for y in (torch.zeros(40, 4096), g(SPACE.decode(inside, coordinates)))
    )
    expected["mss"] = (cost + silence * (torch.sqrt(1 + way.square().sum(-1)) - 1)).mean()
    assert set(expected) == set(LOSS_LABELS)
    for name, value in expected.items():
        loss, validation = build_losses(replace(config, loss=name), data, g if name == "mss" else listen)
        torch.testing.assert_close(loss(target + delta, target, M), value)
        if name in OF_SOUNDS or name.startswith("pnp"):
            torch.testing.assert_close(validation(target + delta, target, M), quadratic_form(delta, M).mean())
        else:
            torch.testing.assert_close(validation(target + delta, target, M), value)


def test_adaptive_damping_follows_the_validation_loss_and_goes_back_after_a_failure(
    data: TrainingData, tmp_path: Path
) -> None:
    for rate in (0.1, 0.05, 0.2, 0.03):  # until one is so fast that some epochs fail and so slow that some do not
        config = replace(CONFIG, loss="pnp-adaptive", epochs=8, learning_rate=rate)
        history = train(config, data, tmp_path / f"whole-{rate}").history
        if history.relaxed.max() > 1 and (history.relaxed.diff() < 0).any():
            break
    best, relaxed = float("inf"), 0
    for row in history.itertuples():
        assert row.relaxed == relaxed
        relaxed = relaxed + 1 if row.validation_loss < best else max(relaxed - 1, 0)
        best = min(best, row.validation_loss)
    failed = [i for i in range(1, 8) if history.validation_loss[i] > history.validation_loss[:i].min()]
    assert failed
    assert history.relaxed.max() > 1
    for _ in range(failed[0] + 1):
        train(config, data, tmp_path / "parts", max_hours=0.0)
    newest = max((tmp_path / "parts" / "checkpoint").iterdir())
    assert (newest / "weights.safetensors").read_bytes() == (newest / "best.safetensors").read_bytes()
    while not train(config, data, tmp_path / "parts", max_hours=0.0).finished:
        pass
    assert_same_run(tmp_path / "parts", tmp_path / f"whole-{rate}")


def test_after_a_success_the_next_epoch_is_trained_with_less_damping(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, loss="pnp-adaptive", epochs=2)
    ours = train(config, data, tmp_path / "relaxed").history.train_loss
    monkeypatch.setattr("pnpkit.losses.RELAXATION", 1.0)
    kept = train(config, data, tmp_path / "kept").history.train_loss
    assert ours[0] == kept[0]
    assert ours[1] < kept[1]


def test_a_cosine_begins_as_a_constant_does_and_survives_an_interruption(
    data: TrainingData, reference: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, schedule="cosine")
    ours, constant = train(config, data, tmp_path / "whole").history, read_run(reference).history
    assert ours.train_loss[0] == constant.train_loss[0]
    assert ours.train_loss[1] != constant.train_loss[1]
    while not train(config, data, tmp_path / "parts", max_hours=0.0).finished:
        pass
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    with pytest.raises(ValueError, match="unknown schedule 'step'; valid ones: constant, cosine"):
        train(replace(CONFIG, schedule="step"), data, tmp_path / "other")


def test_a_run_goes_on_from_the_weights_of_another(data: TrainingData, reference: Path, tmp_path: Path) -> None:
    start = load_weights(reference / "weights.safetensors")
    config = replace(CONFIG, loss="p", epochs=1, start_from="pnp-mean", learning_rate=1e-9)
    train(config, data, tmp_path / "tuned", start=lambda: start)
    after = load_weights(tmp_path / "tuned" / "weights.safetensors")
    for name in ("network.classifier.weight", "network.conv_stem.weight"):
        torch.testing.assert_close(after[name], start[name], rtol=0, atol=1e-6)
    assert train(config, data, tmp_path / "tuned", start=dict).finished, "what is finished is read without them"
    for bad, weights in ((config, None), (CONFIG, dict)):
        with pytest.raises(ValueError, match="weights to start with go with it, and with it only"):
            train(bad, data, tmp_path / "other", start=weights)


def test_a_run_that_older_code_began_goes_on_as_if_it_were_ours(
    data: TrainingData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two epochs of this very toy by the code at 928e056, before the house had walls and records had digests, with one
    layer in the network's place so that it is small; the folder's name is the hash that it gave the configuration."""
    (begun,) = (Path(__file__).parent / "begun").iterdir()
    config = replace(CONFIG, epochs=4)
    assert config_hash(config) == begun.name

    def network() -> torch.nn.Module:
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(96, 3), torch.nn.Tanh())

    old = shutil.copytree(begun, tmp_path / "old")
    result = train(config, data, old, network=network())
    assert result.finished
    assert "progress.json holds no digests" in caplog.text
    ours = train(config, data, tmp_path / "new", network=network())
    for name in ("history", "predictions"):  # not to the bit: it began on another machine
        a, b = (getattr(run, name).drop(columns="seconds", errors="ignore") for run in (result, ours))
        pd.testing.assert_frame_equal(a, b, rtol=1e-4)
    assert result.history.seconds.tolist()[:2] == pd.read_csv(begun / "history.csv").seconds.tolist()


def test_any_network_and_any_loss_are_trained_alike_and_resumed(data: TrainingData, tmp_path: Path) -> None:
    """A network and a loss of the user's own, named in the configuration: stopped or not, the same bits."""

    def network() -> torch.nn.Module:
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(96, 3))

    def absolute(prediction: torch.Tensor, target: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
        assert metric.shape == (len(prediction), 3, 3)
        return (prediction - target).abs().mean()

    config = replace(CONFIG, loss="absolute", head="one layer", learning_rate=0.01)
    result = fit(network(), absolute, data, config, tmp_path / "whole")
    assert result.history.train_loss.is_monotonic_decreasing
    while not fit(network(), absolute, data, config, tmp_path / "parts", max_hours=0.0).finished:
        pass
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    trained = network()
    trained.load_state_dict(load_weights(tmp_path / "whole" / "weights.safetensors"))
    rows = data.rows("validation")
    u = SPACE.encode(theta_of(data.table, SPACE), "logminmax")[rows].float()
    wanted = (predict(trained.eval(), data.inputs, rows) - u).abs().mean()
    assert result.history.validation_loss.iloc[-1] == pytest.approx(wanted.item(), rel=1e-6)
    configured = train(replace(CONFIG, loss="p", head="one layer"), data, tmp_path / "p", network=network())
    assert configured.finished, "the losses by name take another network too"
    with pytest.raises(ArtefactMismatch, match="loss: 'absolute' there, 'mine' wanted"):
        fit(network(), absolute, data, replace(config, loss="mine"), tmp_path / "whole")
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(96, 3))
    with pytest.raises(ArtefactMismatch, match=r"holds a run of another network \(Sequential there, Sequential here"):
        fit(other, absolute, data, config, tmp_path / "whole")
    assert fit(other, absolute, data, config, tmp_path / "whole", resume=False).finished
    with pytest.raises(ValueError, match=r"must give one number with a gradient.*; it gave shape \(8,\)"):
        fit(other, lambda u, v, _: (u - v).abs().mean(-1), data, replace(config, loss="a"), tmp_path / "a")
    with pytest.raises(ValueError, match=r"it gave shape \(\), without gradient"):
        fit(other, lambda u, v, _: (u - v).detach().mean(), data, replace(config, loss="b"), tmp_path / "b")


def test_validation_and_test_metrics_are_not_in_the_mean(data: TrainingData) -> None:
    metric = data.metric.clone()  # type: ignore[union-attr]
    metric[data.rows("validation")] *= 100
    metric[data.rows("test")] = torch.nan  # not needed, so not missed
    loss, _ = build_losses(CONFIG, replace(data, metric=metric))
    wanted, _ = build_losses(CONFIG, data)
    assert isinstance(loss, PNPLoss)
    assert isinstance(wanted, PNPLoss)
    assert torch.equal(loss.damping, wanted.damping)  # type: ignore[arg-type]


def test_a_loss_that_has_a_label_only_is_not_trained_as_another(data: TrainingData, monkeypatch) -> None:
    monkeypatch.setitem(LOSS_LABELS, "l1", "L1")
    with pytest.raises(ValueError, match="loss 'l1' has a label, and nothing here builds it"):
        build_losses(replace(CONFIG, loss="l1"), data)


def test_the_spectral_loss_without_metrics_validates_by_parameters(data: TrainingData, tmp_path: Path) -> None:
    config, bare = replace(CONFIG, loss="sp", epochs=1), replace(data, metric=None)
    assert isinstance(build_losses(config, bare, torch.log)[1], ParameterLoss)
    assert train(config, bare, tmp_path, listen=torch.log).finished


def test_nan_stops_the_run_and_keeps_the_checkpoint(data: TrainingData, reference: Path, tmp_path: Path) -> None:
    train(CONFIG, data, tmp_path, max_hours=0.0)
    inputs = data.inputs.copy()
    inputs[data.rows("train")] = np.nan
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0 of epoch 2 \(ids \d+(, \d+){7}\)"):
        train(CONFIG, replace(data, inputs=inputs), tmp_path)
    assert train(CONFIG, data, tmp_path).finished
    assert_same_run(tmp_path, reference)


def test_a_run_goes_on_where_an_answer_in_logarithms_is_beyond_all_numbers(data: TrainingData, tmp_path: Path) -> None:
    class Wild(Analyser):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1e4

    config = replace(CONFIG, head="linear", epochs=1)
    assert train(config, data, tmp_path, network=Wild(3, "linear")).finished
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.mean_error_gamma.tolist() == [1e300]
    assert np.isfinite(history.validation_loss).all()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "best.safetensors", "progress.json"])
def test_truncated_checkpoint(data: TrainingData, reference: Path, tmp_path: Path, name: str) -> None:
    train(CONFIG, data, tmp_path, max_hours=0.0)
    train(CONFIG, data, tmp_path, max_hours=0.0)
    newest = max((tmp_path / "checkpoint").iterdir())
    (newest / name).write_bytes((newest / name).read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{name} .*Delete {newest}: the run then goes on from the checkpoint before"):
        train(CONFIG, data, tmp_path)
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    assert train(CONFIG, data, tmp_path).finished
    assert_same_run(tmp_path, reference)


def test_checkpoint_of_another_configuration(data: TrainingData, tmp_path: Path) -> None:
    train(CONFIG, data, tmp_path, max_hours=0.0)
    other = replace(CONFIG, lam=2.0)
    with pytest.raises(ArtefactMismatch, match=r"lam: 1\.0 there, 2\.0 wanted"):
        train(other, data, tmp_path)
    (tmp_path / "config.json").unlink()  # the checkpoint knows by itself
    with pytest.raises(ArtefactMismatch, match=f"{config_hash(CONFIG)}, not {config_hash(other)}"):
        train(other, data, tmp_path)


def test_checkpoint_holds_no_pickle(data: TrainingData, tmp_path: Path) -> None:
    train(CONFIG, data, tmp_path, max_hours=0.0)
    files = [p for p in (tmp_path / "checkpoint").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".safetensors", ".json"}
    for file in files:
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError, IndexError, AttributeError)):
            pickle.loads(file.read_bytes())


def test_one_process_a_folder(data: TrainingData, tmp_path: Path) -> None:
    def intrude(step: int, steps: int) -> None:
        with pytest.raises(RuntimeError, match="in use by another process"):
            train(CONFIG, data, tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, data, tmp_path, progress=intrude)


def test_scalars_for_tensorboard(data: TrainingData, tmp_path: Path) -> None:
    result = train(replace(CONFIG, epochs=2), data, tmp_path / "run", tensorboard=tmp_path / "board")
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    scalars = [event.value for event in board.Scalars("validation_loss")]
    np.testing.assert_allclose(scalars, result.history.validation_loss, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "unknown loss 'mse'; valid ones: p, sigma-p, weighted-p"),
        ({"head": "relu"}, "unknown head 'relu'; valid ones: leaky_relu, softplus, tanh, linear"),
        ({"coordinates": "mel"}, "unknown coordinates 'mel'; valid ones: raw, log, minmax, logminmax"),
        ({"lam": -1.0}, "lambda must be finite and not negative, not -1.0"),
        ({"loss": "p", "lam": -1.0}, "lambda must be finite"),
        ({"jitter": float("nan")}, "lambda must be finite"),
        ({"batch_size": 27}, "batch_size must lie between 2 and the 26 train items, not 27"),
        ({"batch_size": 1}, "batch_size must lie between 2"),
        ({"epochs": 0}, "epochs must be ≥ 1"),
        ({"learning_rate": 0.0}, "learning_rate positive"),
        ({"loss": "sp"}, "loss 'sp' needs listen"),
        ({"loss": "sp-linear"}, "loss 'sp-linear' needs listen"),
    ],
)
def test_bad_configurations(data: TrainingData, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(replace(CONFIG, **change), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # refused before any work


def test_bad_data(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the metrics of its data set"):
        train(CONFIG, replace(data, metric=None), tmp_path / "run")
    metric = data.metric.clone()  # type: ignore[union-attr]
    missing = data.rows("train")[[1, 4]]
    metric[missing[0], 0, 0], metric[missing[1]] = torch.inf, torch.nan
    ids = ", ".join(str(i) for i in data.table.id.iloc[missing])
    with pytest.raises(ValueError, match=f"missing or not finite for 2 items to train on: ids {ids}"):
        train(CONFIG, replace(data, metric=metric), tmp_path / "run")
    with pytest.raises(ValueError, match=r"metric must have shape \(40, 3, 3\), one row an item, not \(39, 3, 3\)"):
        replace(data, metric=metric[1:])
    with pytest.raises(ValueError, match=r"inputs must have shape \(40, bins, frames\), not \(39, 8, 12\)"):
        replace(data, inputs=data.inputs[1:])
    with pytest.raises(ValueError, match="every fold needs items"):
        train(CONFIG, replace(data, table=data.table.assign(fold="train")), tmp_path / "run")
    with pytest.raises(ValueError, match="max_hours must not be negative"):
        train(CONFIG, data, tmp_path / "run", max_hours=-1.0)
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        train(CONFIG, data, tmp_path / "run", device="gpu")
    with pytest.raises(ValueError, match="device must be cpu or cuda, not 'mps'"):
        train(CONFIG, data, tmp_path / "run", device="mps")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_gpu(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'cuda' was asked for, and this machine has no usable GPU"):
        train(CONFIG, data, tmp_path / "run", device="cuda")
