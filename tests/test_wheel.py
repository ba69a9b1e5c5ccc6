"""The wheel, unpacked in another folder, does what a checkout does, and looks for nothing outside itself."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from tests.experiment.test_systems import BELL

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.slow

# A synthesiser of an outsider's, and what is opened on the way: an audit hook sees every file
TOY = """
import os, sys
opened = []
sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event in ("open", "os.listdir") else None)
import torch
import pnpkit
from pnpkit import Parameter, ParameterSpace, PNPLoss, riemannian_metric

class Hum:
    parameters = ParameterSpace((Parameter("f", "f", "Hz", 50.0, 500.0, "log"), Parameter("a", "a", "1", 0.1, 1.0)))
    sample_rate, n_samples = 8000, 4096
    def __call__(self, theta):
        t = torch.arange(self.n_samples, dtype=theta.dtype) / self.sample_rate
        return theta[..., 1:] * torch.sin(2 * torch.pi * theta[..., :1] * t)

theta = torch.tensor([[100.0, 0.5]], dtype=torch.float64)
M = riemannian_metric(Hum(), lambda x: x, theta)
assert (torch.linalg.eigvalsh(M) > 0).all() and PNPLoss()(theta + 0.1, theta, M) > 0
from pnpkit.experiment.artefacts import provenance
from pnpkit.experiment.remedies import data_root
print(pnpkit.__file__, data_root(), provenance({}, 0.0)["commit"])
checkout, environment = (os.path.join(os.path.realpath(folder), "") for folder in (sys.argv[1], sys.prefix))
opened = [os.path.realpath(name) for name in opened]
assert [name for name in opened if name.startswith(checkout) and not name.startswith(environment)] == []
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked into a folder of somebody else's repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    source = folder / "source"  # setuptools leaves a build/ behind, and takes what it finds in one
    wanted = ["pnpkit", "pyproject.toml", "README.md", "LICENSE*"]
    listed = ["git", "ls-files", "-co", "--exclude-standard", *wanted]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, "-w", str(folder), str(source)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "theirs" / "site"
    zipfile.ZipFile(wheel).extractall(site)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder / "theirs")]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return site


def python(installed, cwd, *arguments):
    env = {k: v for k, v in os.environ.items() if k != "PNPKIT_DATA"} | {"PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def test_wheel_holds_the_package_and_nothing_else(installed):
    tops = {path.name for path in installed.iterdir()}
    assert {name.split("-")[0] for name in tops} == {"pnpkit"}
    held = {path.relative_to(installed) for path in (installed / "pnpkit").rglob("*.py")}
    assert held == {path.relative_to(ROOT) for path in (ROOT / "pnpkit").rglob("*.py")}
    assert (installed / "pnpkit" / "py.typed").exists()


def test_library_works_from_the_wheel_and_opens_no_file_of_the_checkout(installed, tmp_path):
    answer = python(installed, tmp_path, "-W", "error::UserWarning", "-c", TOY, str(ROOT))
    assert answer.stderr == ""
    file, data, commit = answer.stdout.split()
    assert pathlib.Path(file).parent == installed / "pnpkit"
    assert (data, commit) == ("data", "unknown")


def test_command_line_works_from_the_wheel(installed, tmp_path):
    version = python(installed, tmp_path, "-m", "pnpkit", "--version")
    assert (version.stderr, version.returncode) == ("", 0)
    (info,) = installed.glob("*.dist-info")
    assert info.name == f"pnpkit-{version.stdout.strip()}.dist-info"
    made = python(installed, tmp_path, "-m", "pnpkit", "synth", "740", "8.7", "1.7", "--out", "x.wav")
    assert (made.stderr, made.returncode) == ("", 0)
    assert (tmp_path / "x.wav").stat().st_size > 2 * 2**15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.wav"]


def test_a_study_of_ones_own_and_a_match_work_from_the_wheel(installed, tmp_path):
    (tmp_path / "bell.py").write_text(BELL.replace("MODULE", "bell"))
    for arguments in (
        "run --profile bell.py:STUDY --workers 1",
        "metrics --profile bell.py:STUDY --atlas 1 --workers 1",
        "synth 100 0.1 --synth bell:Small --out x.wav",
        "match x.wav --synth bell:Small --starts 2 --out found",
    ):
        made = python(installed, tmp_path, "-m", "pnpkit", *arguments.split())
        assert made.returncode == 0, made.stderr
        assert "Traceback" not in made.stderr
    rows = json.loads((tmp_path / "data" / "mine" / "results.json").read_text())["rows"]["last"]
    assert {loss for loss, row in rows.items() if row} == {"p", "pnp"}
    found = pd.read_csv(tmp_path / "found" / "matches.csv").iloc[0]
    assert (found.f, found.tau) == pytest.approx((100, 0.1), rel=0.02)
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"bell.py", "data", "x.wav", "found"}
