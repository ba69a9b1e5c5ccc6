"""The command line as its users meet it: what it prints, writes, and exits with."""

import dataclasses
import errno
import logging
import os
import pty
import re
import subprocess
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from distributed import KilledWorker, LocalCluster

from pnpkit import cli
from pnpkit.audio import read_sound
from pnpkit.experiment import machine as parallel
from pnpkit.experiment.artefacts import config_hash
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import slices
from pnpkit.experiment.dataset import arpeggio_grid
from pnpkit.experiment.machine import locked
from pnpkit.experiment.precompute import metrics as precompute
from pnpkit.experiment.precompute.metric_store import (
    MetricConfig,
    add_digests,
    create_store,
    missing_chunks,
    seal_store,
    write_chunk,
)
from pnpkit.experiment.profiles import PROFILES
from pnpkit.experiment.workspace import Workspace
from pnpkit.progress import pace
from pnpkit.synth import Arpeggio, RectangularDrum
from tests.campaign.arguments import ten_hours

Run = Callable[..., tuple[int, str, str]]  # arguments → exit code, stdout, stderr


@pytest.fixture
def run(verb: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``pnpkit`` with its artefacts in a folder of the test."""
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    return verb


def constant(grid: GridConfig, items: slice) -> np.ndarray:
    return np.broadcast_to(np.diag([0.3, 300.0, 5000.0]), (items.stop - items.start, 2, 3, 3)).copy()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the metrics of ``smoke`` will be, all of them constant and computed here: 216 items in 8 chunks."""

    @contextmanager
    def here(_scheduler: str | None) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(1) as executor:
            yield executor

    monkeypatch.setattr(precompute, "metrics_of", constant)
    monkeypatch.setattr(parallel, "dask_executor", here)
    return tmp_path / "smoke" / "metrics.zarr"


def one_line(said: str) -> str:
    (line,) = said.splitlines()
    assert line.startswith("pnpkit: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "valid verbs: analyse, "),
        (["run", "--profile", "huge"], 2, "unknown profile 'huge'; valid ones: smoke, laptop, study"),
        (["train", "--profile", "smoke", "--loss", "l3"], 2, "unknown loss 'l3'; valid ones: p, sigma-p, weighted-p"),
        (["evaluate", "--profile", "smoke", "--loss", "P"], 2, "unknown loss 'P'; valid ones: p, sigma-p, weighted-p"),
        (["evaluate", "--loss", "P", "--curve"], 2, "unknown loss 'P'; valid ones: p, sigma-p, weighted-p"),
        (["train", "--profile", "smoke", "--loss", "pnp"], 1, "compute them with `pnpkit metrics --profile smoke`"),
        (["table", "--profile", "smoke", "--form", "docx"], 2, "unknown form 'docx'; valid ones: html, mark"),
        (["metrics", "--profile", "smoke", "--verify", "5", "--atlas", "1"], 2, "--verify and --atlas are two"),
        (["synth", "700", "8", "2", "--out", "x.mp3"], 2, "x.mp3 must end in .wav"),
        (["synth", "nan", "8", "2", "--out", "x.wav"], 2, "'nan' is no finite number"),
        (["synth", "700", "8", "abc", "--out", "x.wav"], 2, "'abc' is no finite number"),
        (["synth", "700", "8", "2", "--otu", "y.wav", "--out", "x.wav"], 2, "there is no option --otu"),
        (["synth", "700", "8", "--out", "x.wav"], 2, "arpeggio takes 3 numbers, f_c, f_m, gamma, not 2: 700 8"),
        (["synth", "4096", "8", "2", "--out", "x.wav"], 2, "4096 is not below half the sampling rate, 4096 Hz"),
        (["synth", "80000", ".5", ".01", ".01", ".5", "--synth", "drum", "--out", "x.wav"], 2, "not below half the"),
        (["synth", "-9", "1", ".1", ".1", "1", "--synth", "drum", "--out", "x.wav"], 2, "omega must be positive"),
        (["synth", "700", "8", "2", "--out", "folder.wav"], 2, "folder.wav is a folder: --out names the file"),
        (["synth", "700", "8", "2", "--variant", "fm", "--out", "x.wav"], 2, "unknown variant of arpeggio 'fm'"),
        (
            ["evaluate", "--profile", "smoke", "--loss", "p"],
            1,
            "p/0/provenance.json is not there: `pnpkit train --profile smoke --loss p --seed 0` makes it",
        ),
        (["metrics", "--profile", "smoke", "--verify", "5"], 1, "metrics.zarr: compute them with `pnpkit metrics`"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_errors_name_what_is_allowed(
    arguments: list[str], code: int, said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.wav").mkdir()
    answer = run(*arguments)
    assert answer[0] == code
    assert said in one_line(answer[2])
    assert not list(tmp_path.glob("**/*.json")), "an error left something behind"


def test_profiles_are_listed_with_what_they_are_for(run: Run) -> None:
    lines = run("profiles")[1].splitlines()
    assert [line.split()[0] for line in lines] == list(PROFILES)
    (paper,) = (line for line in lines if line.startswith("paper "))
    assert "the headline protocol of the paper (30 steps an axis, 70 epochs, 3 losses × 1 seeds)" in paper


def test_starting_up_imports_nothing_heavy() -> None:
    """Help and usage errors come at once: torch alone takes seconds."""
    heavy = {"torch", "timm", "nnAudio", "scipy", "pandas", "xarray", "zarr", "distributed", "kymatio"}
    command = "import sys, pnpkit.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_dataset_prints_the_grid(run: Run) -> None:
    table = pd.read_csv(StringIO(run("dataset", "--profile", "smoke")[1]))
    assert list(table) == ["id", "f_c", "f_m", "gamma", "fold"]
    assert len(table) == 6**3


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_synth_writes_the_waveform_and_needs_neither_data_set_nor_scattering(
    variant: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnpkit.experiment.problem.JTFS", None)
    monkeypatch.setattr("pnpkit.experiment.problem.Problem.table", None)
    options = [] if variant == "code" else ["--variant", variant]
    assert run("synth", 740, 8.7, 1.7, "--out", tmp_path / "x.wav", *options)[0] == 0
    x, rate = soundfile.read(tmp_path / "x.wav")
    assert rate == 8192
    theta = torch.tensor([740.0, 8.7, 1.7], dtype=torch.float64)
    expected = Arpeggio(variant=variant)(theta).numpy()  # type: ignore[arg-type]
    gain = np.abs(expected).max() / np.abs(x).max()
    np.testing.assert_allclose(gain * x, expected, atol=2e-4 * np.abs(expected).max())
    code, _, said = run("synth", 740, 8.7, -1.7, "--out", tmp_path / "down.wav", *options)
    assert code == 0, "a negative number is no option"
    assert one_line(said) == "pnpkit: gamma = -1.7 is out of range: 0.5 to 4 octave/s"


def test_the_help_of_synth_has_the_ranges(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    said = run("synth", "--help")[1]
    for p in (*Arpeggio.parameters.parameters, *RectangularDrum.parameters.parameters):
        low, high = (f"{end:.0f}" if p.unit == "rad/s" else f"{end:g}" for end in (p.low, p.high))
        assert f"{p.name} ({low} to {high}{'' if p.unit == '1' else f' {p.unit}'})" in said


def test_run_hands_over_its_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise ValueError(f"asked for {arguments}")

    monkeypatch.setattr("pnpkit.experiment.pipeline.run_profile", stop)
    code, _, said = run("run", "--profile", "smoke", "--workers", 3, "--out", tmp_path)
    assert code == 1
    assert f"asked for ('smoke', 3, None, {tmp_path!r}, None)" in said


# Metrics --------------------------------------------------------------------------------------------------------------


def test_metrics_are_computed_then_verified(store: Path, run: Run) -> None:
    assert run("metrics", "--profile", "smoke") == (0, f"216 metrics at {store}\n", "")
    said = "largest relative difference 0.0e+00, tolerance 1e-04; all 216 symmetric and positive semi-definite\n"
    assert run("metrics", "--profile", "smoke", "--verify", 50) == (0, f"50 of 216 metrics computed again: {said}", "")
    assert run("metrics", "--profile", "smoke", "--verify", 999)[1] == f"216 of 216 metrics computed again: {said}"
    write_chunk(store, slice(0, 27), 1.01 * constant(GridConfig(), slice(0, 27)))
    seal_store(store, again=True)
    code, _, error = run("metrics", "--profile", "smoke", "--verify", 999)
    assert code == 1
    assert re.search(rf"{store}: the metric of id 0 differs .* by 9\.9e-03, tolerance 1e-04$", one_line(error))


def test_the_bar_shows_rate_and_remaining_time(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    said = run("metrics", "--profile", "smoke")[2]
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).splitlines()[-1]
    assert re.search(r"metrics .* 216/216 0:00:\d\d [\d.]+/s, 0:00:00 left", last)


def test_inputs_before_a_training_and_metrics_computed_again_are_told(
    store: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, int]] = []

    def compute(*of: Any) -> None:
        of[4](1, 2)
        raise RuntimeError("enough of it")

    monkeypatch.setattr("pnpkit.cli_experiment.bars", lambda: nullcontext(lambda *of: told.append(of)))
    monkeypatch.setattr("pnpkit.experiment.workspace.compute_inputs", compute)
    assert "enough of it" in run("train", "--profile", "smoke", "--loss", "p")[2]
    assert told.pop() == ("inputs", 1, 2)
    assert run("metrics", "--profile", "smoke")[0] == 0
    told.clear()
    assert run("metrics", "--profile", "smoke", "--verify", "3")[0] == 0
    assert told == [("metrics again", k, 3) for k in range(4)]


def test_bars_on_a_terminal_leave_a_pipe_its_lines() -> None:
    code = "from pnpkit.progress import bars\nwith bars() as bar:\n    bar('work', 1, 2)\n    print('a row')"
    ours, theirs = pty.openpty()
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, check=True)
    assert child.stdout == b"a row\n"
    assert b"work" in os.read(ours, 9999)
    for end in (ours, theirs):
        os.close(end)


def test_the_pace_is_that_of_this_call() -> None:
    assert pace(0, 100, 5.0) == ""
    assert pace(30, 60, 10.0) == "3.0/s, 0:00:20 left"
    assert pace(2, 10, 60.0) == "30.0 s each, 0:05:00 left"


def test_a_store_of_another_configuration(store: Path, run: Run) -> None:
    other, wanted = MetricConfig(GridConfig(n_steps=7)), Workspace.open("smoke").metric_config
    create_store(store, other, arpeggio_grid(7), Arpeggio.parameters)
    for arguments in ([], ["--verify", 3]):
        code, _, said = run("metrics", "--profile", "smoke", *arguments)
        assert code == 1
        assert f"{store} was made with configuration {config_hash(other)}, not {config_hash(wanted)}" in one_line(said)
        assert one_line(said).endswith("Move it away or choose another --out.")
    assert len(missing_chunks(store, other)) == 4


def test_a_store_that_another_process_is_filling(store: Path, run: Run) -> None:
    with locked(store.parent / ".metrics.zarr.lock"):
        code, _, said = run("metrics", "--profile", "smoke")
    assert code == 1
    assert f"is in use by another process (pid {os.getpid()})" in one_line(said)
    assert not store.exists()


def test_a_full_disk(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("metrics", "--profile", "smoke")[0] == 0
    (store / "M" / "c.2.0.0.0").unlink()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zarr.storage.LocalStore.set", full)
    code, _, said = run("metrics", "--profile", "smoke")
    assert code == 1
    assert f"{store} cannot be written (No space left on device): what it holds is kept" in one_line(said)
    assert len(missing_chunks(store, Workspace.open("smoke").metric_config)) == 1


def test_a_read_only_folder(store: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:  # whom permissions do not bind
        original = Path.mkdir

        def mkdir(self: Path, *args: object, **options: object) -> None:
            if folder in self.parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
            original(self, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Path, "mkdir", mkdir)
    code, _, said = run("metrics", "--profile", "smoke", "--out", folder)
    assert code == 1
    assert re.search(rf"{folder}/smoke/.* cannot be made \(Permission denied\): .*choose another --out", one_line(said))


def test_a_metric_that_is_not_finite(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    theta = [600.0, 5.0, 1.0]

    def broken(_grid: GridConfig, items: slice) -> np.ndarray:
        if items.start == 81:
            precompute.metric_from_jacobian(torch.full((2, 3), torch.nan), torch.tensor(theta))
        return constant(_grid, items)

    monkeypatch.setattr(precompute, "metrics_of", broken)
    code, _, said = run("metrics", "--profile", "smoke")
    assert code == 1
    assert f"the metric is not finite at theta = [{theta}]" in one_line(said)
    assert missing_chunks(store, Workspace.open("smoke").metric_config)[0].start == 81


def test_a_scheduler_that_does_not_answer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", "0.5s")
    code, _, said = run("metrics", "--profile", "smoke", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1: is it running" in one_line(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_scheduler_is_used_and_left_as_it_was(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(PROFILES["smoke"], name="tiny", metric_chunk=2)
    monkeypatch.setitem(PROFILES, "tiny", tiny)
    workspace, level = Workspace.open("tiny", tmp_path), logging.getLogger("distributed").level
    create_store(workspace.metrics_path, workspace.metric_config, workspace.problem.table, workspace.problem.space)
    there, parts = workspace.metrics_path, slices(216, workspace.metric_config.chunk)[:-1]
    add_digests(there, dict(ChainMap(*(write_chunk(there, items, constant(tiny.grid, items)) for items in parts))))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        answer = run("metrics", "--profile", "tiny", "--scheduler", cluster.scheduler_address)
        assert answer == (0, f"216 metrics at {workspace.metrics_path}\n", "")
        with cluster.get_client() as client:
            assert sorted(client.gather(client.map(abs, [-1, -2]))) == [1, 2]
    logging.getLogger("distributed").setLevel(level)


# The last resort ------------------------------------------------------------------------------------------------------


def test_what_nobody_foresaw_is_one_line_and_where_to_report_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_of: object) -> None:
        raise KeyError("f_c\nand more")

    monkeypatch.setattr("pnpkit.experiment.pipeline.run_profile", broken)
    code, _, said = run("run", "--profile", "smoke")
    assert code == 1
    assert re.search(r"KeyError: .*our fault: https://\S+/issues \(details: --traceback\)", one_line(said))
    monkeypatch.setattr(sys, "argv", ["pnpkit", "run", "--profile", "smoke", "--traceback"])
    with pytest.raises(KeyError):
        cli.main()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "not enough memory: run again with fewer --workers"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            BrokenProcessPool("A process in the process pool was terminated abruptly"),
            1,
            "memory ran out: run again with",
        ),
        (KilledWorker("metrics-3", SimpleNamespace(address="tcp://a:1"), 3), 1, "memory ran out: run again with"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, "a/b: No space left on device"),
    ],
    ids=["memory", "interrupt", "worker", "worker of Dask", "disk"],
)
def test_ends_that_are_nobodys_fault(
    error: BaseException, code: int, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_of: object) -> None:
        raise error

    monkeypatch.setattr("pnpkit.experiment.pipeline.run_profile", stop)
    answer = run("run", "--profile", "smoke")
    assert answer[0] == code
    assert said in one_line(answer[2])


def test_out_of_memory_the_option_of_the_verb_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_of: object) -> None:
        raise MemoryError

    monkeypatch.setattr(parallel, "dask_executor", stop)
    assert "fewer --jobs" in one_line(run("match", "x.wav")[2])
    assert "fewer --workers" in one_line(run("metrics", "--profile", "smoke")[2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean 'train'?"),
        (["train", "--los", "p"], "--loss"),
        (["train"], "Missing option '--loss'"),
        (["train", "--loss", "p", "paper"], "did you mean --profile paper?"),
        (["evaluate", "--loss", "p", "3"], "did you mean --seed 3?"),
        (["profiles", ""], "unexpected extra argument"),
        (["table", "--seed", "x"], "'--seed'"),
    ],
)
def test_misuse_is_one_line_that_names_the_option_that_was_meant(arguments: list[str], said: str, run: Run) -> None:
    code, _, error = run(*arguments)
    assert code == 2
    assert said in one_line(error)


def test_help_is_short_too(run: Run) -> None:
    assert run("-h")[0] == run("train", "-h")[0] == 0
    assert "--loss" in run("train", "-h")[1]


def test_the_module_runs() -> None:
    command = [sys.executable, "-m", "pnpkit.cli", "profiles"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("smoke")


def test_a_data_set_is_written_whole_or_not_at_all(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("dataset", "--profile", "smoke", "--out", tmp_path / "a.csv")[0] == 0
    before = (tmp_path / "a.csv").read_text()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, said = run("dataset", "--profile", "smoke", "--out", tmp_path / "a.csv")
    assert code == 1
    assert f"{tmp_path / 'a.csv'} cannot be written (No space left on device)" in one_line(said)
    assert (tmp_path / "a.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_home_is_found_where_the_shell_does_not_look_for_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in --out=~/x.csv, of any verb and any path; and a folder of that name, which is there, is not home."""
    (work := tmp_path / "work" / "~").mkdir(parents=True)
    monkeypatch.chdir(work.parent)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("dataset", "--profile=smoke", "--out=~/x.csv")[0] == 0
    assert run("dataset", "--profile=smoke", "--out", work / "x.csv")[0] == 0
    assert run("dataset", "--profile=smoke", "--out=./~/y.csv")[0] == 0
    assert run("synth", "740", "8.7", "1.7", "--out", "~/x.wav")[0] == 0
    assert f"{tmp_path}/none/smoke" in run("table", "--profile=smoke", "--out=~/none")[2]
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert written == {"x.csv", "x.wav", "work/~/x.csv", "work/~/y.csv"}


def test_analyse_is_match_and_says_so(run: Run, tmp_path: Path) -> None:
    old, new = (run(verb, "--columns") for verb in ("analyse", "match"))
    assert old[:2] == new[:2]
    (tmp_path / "x.wav").write_text("no sound")
    code, _, error = run("analyse", "--synth", "x", tmp_path / "x.wav")
    assert code == 2
    assert "`analyse` is `match`" in error


def test_a_sound_is_refused_from_its_header_and_a_pipe_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten hours of FLAC, by what its header says; nothing of it is decoded."""

    def read(*_of: object, **_options: object) -> None:
        raise AssertionError("samples are read")

    ten_hours(tmp_path / "long.flac")
    os.mkfifo(tmp_path / "pipe.wav")
    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    for name, said in (("long.flac", "lasts 10.0 hours: an hour is the most"), ("pipe.wav", "is no regular file")):
        with pytest.raises(ValueError, match=said):
            read_sound(tmp_path / name)


def test_a_file_system_without_locks_is_said_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_of: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(parallel.fcntl, "flock", none)
    with pytest.raises(OSError, match=r"file system without locks .*PNPKIT_UNLOCKED=1"), locked(tmp_path):
        pass
    monkeypatch.setenv("PNPKIT_UNLOCKED", "1")
    with locked(tmp_path):
        pass
