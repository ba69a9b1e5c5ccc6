"""What a bare installation can do: with every package blocked that the core does not bring, and fcntl too."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCK = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *where):
        return None if name.split(".")[0] in {blocked!r} else self.finder.find_spec(name, *where)
sys.meta_path[:] = map(Without, sys.meta_path)
"""
LIBRARY = """
import importlib, pathlib, pkgutil, pnpkit
for found in pkgutil.walk_packages(pnpkit.__path__, "pnpkit."):
    if found.name.split(".")[1] not in {"experiment", "figures", "cli", "progress", "__main__"}:
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            print(f"{found.name}: {error}")
"""
METRIC = """
import torch
from pnpkit import Analyser, Arpeggio, Phi, PNPLoss, riemannian_metric
g = Arpeggio(n_samples=2**13)
theta = torch.tensor([[740.0, 8.7, 1.7]], dtype=torch.float64)
M = riemannian_metric(g, Phi.reference(g.n_samples), theta)
print(bool((torch.linalg.eigvalsh(M) > 0).all()), bool(PNPLoss()(theta + 0.01, theta, M) > 0))
Analyser(3)
"""
VERBS = """
import contextlib, io, json
from pnpkit.cli import main
said = {}
for line in sys.argv[1:]:
    sys.argv[:] = ["pnpkit", *line.split()]
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    said[line] = code, err.getvalue()
print(json.dumps(said))
"""


def needed(requirements):
    """Distributions that some requirements bring, with what these require in turn."""
    found, todo = set(), [Requirement(line) for line in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            todo += map(Requirement, metadata.requires(name) or [])
    return found


CORE = needed(PROJECT["dependencies"])
BLOCKED = {
    module
    for module, owners in metadata.packages_distributions().items()
    if not {canonicalize_name(owner) for owner in owners} & (CORE | {"pnpkit"})
}


def bare(code, *arguments, without=frozenset()):
    """Run code with the extras' packages blocked, and some more."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=BLOCKED | without) + code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip


def verbs(*lines):
    """What some verbs of the command line say on stderr, one process for all, each with its exit code."""
    answer = bare(VERBS, *lines)
    assert answer.stderr == ""
    return json.loads(answer.stdout.splitlines()[-1])


def test_blocked_are_the_packages_that_a_bare_installation_lacks():
    assert {"scipy", "kymatio", "timm", "torchvision", "nnAudio", "matplotlib", "xarray", "zarr"} <= BLOCKED


def test_every_module_of_the_library_imports_or_names_its_extra():
    answer = bare(LIBRARY, without={"fcntl"})
    assert answer.stderr == ""
    assert answer.stdout.splitlines() == [
        "pnpkit.analyser.cpu_layers: the analyser needs timm: pip install 'pnpkit[analyser]'"
    ]


def test_a_metric_and_its_loss_need_no_extra_and_the_analyser_names_its_own():
    answer = bare(METRIC, without={"fcntl"})
    assert answer.stdout == "True True\n"
    assert answer.stderr.splitlines()[-1].endswith("the analyser needs timm: pip install 'pnpkit[analyser]'")


def test_verbs_of_the_experiment_name_its_extra():
    said = verbs("dataset", "metrics", "train --loss pnp", "evaluate --loss pnp", "table", "run")
    for verb, (code, text) in said.items():
        assert re.fullmatch(r"pnpkit: .* needs \w+: pip install 'pnpkit\[experiment\]'\n", text), verb
        assert code == 1


def test_the_instrument_needs_no_extra_but_for_its_pages_which_name_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("PNPKIT_DATA", str(ROOT / "data"))
    monkeypatch.chdir(tmp_path)
    said = verbs(
        "synth 740 8.7 1.7 --out x.wav", "match x.wav --starts 1", "match x.wav --starts 1 --out out",
        "transform out/x.wav.npz --set gamma=2 --out y.wav", "morph out/x.wav.npz out/x.wav.npz --steps 1 --out path",
    )  # fmt: skip
    assert [code for code, _ in said.values()] == [0] * 5
    first, second, third, *_ = (text for _, text in said.values())
    assert (first, second) == ("", "")
    assert re.fullmatch(r"pnpkit: no pages .* needs matplotlib: pip install 'pnpkit\[report\]'\n", third)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["matches.csv", "x.wav.npz"]


def test_other_verbs_need_no_extra(tmp_path):
    said = verbs("--version", "-h", "profiles", f"synth 740 8.7 1.7 --out {tmp_path}/x.wav")
    assert {tuple(answer) for answer in said.values()} == {(0, "")}
