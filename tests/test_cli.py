"""The command line as its users meet it: what it prints, writes, and exits with."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile


def pnpkit(*arguments: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ) | ({} if data is None else {"PNPKIT_DATA": str(data)})
    command = [sys.executable, "-c", "from pnpkit.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "valid verbs: analyse, "),
        (["run", "--profile", "huge"], 1, "unknown profile 'huge'; valid profiles: smoke, laptop, paper"),
        (["train", "--profile", "smoke", "--loss", "l3"], 1, "unknown loss 'l3'; valid losses: p, weighted-p, sp, pnp"),
        (["synth", "nan", "8", "2", "--out", "x.wav"], 1, "theta must be finite: 1 of its 3 values"),
        (["synth", "700", "8", "--out", "x.wav"], 1, "its last dimension must be 3: f_c, f_m, gamma"),
        (["metrics", "--profile", "smoke", "--scheduler", "tcp://127.0.0.1:1"], 1, "no Dask scheduler answers"),
    ],
)
def test_errors_name_what_is_allowed(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = pnpkit(*arguments, data=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("**/*.json")), "an error left something behind"


def test_dataset_prints_the_grid() -> None:
    table = pd.read_csv(StringIO(pnpkit("dataset", "--profile", "smoke").stdout))
    assert list(table) == ["id", "f_c", "f_m", "gamma", "fold"]
    assert len(table) == 6**3


def test_synth_writes_the_waveform(tmp_path: Path) -> None:
    assert pnpkit("synth", "740", "8.7", "1.7", "--out", str(tmp_path / "x.wav")).returncode == 0
    x, rate = soundfile.read(tmp_path / "x.wav")
    assert (rate, x.shape) == (8192, (2**15,))
    strongest = np.abs(np.fft.rfft(x)).argmax() * rate / len(x)
    assert 740 / 2 < strongest < 740 * 2


def test_a_metric_store_is_needed_and_named(tmp_path: Path) -> None:
    done = pnpkit("train", "--profile", "smoke", "--loss", "pnp", data=tmp_path)
    assert done.returncode == 1
    assert "pnpkit metrics" in done.stderr
