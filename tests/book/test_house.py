"""The house is in step with itself: one Python and one set of pins, and `make` says in one line what it cannot do."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pnpkit._names import UnknownName
from pnpkit.experiment.artefacts import read_json, write_csv, write_record
from pnpkit.experiment.evaluation.folder import ITEMS, read_evaluation
from pnpkit.experiment.evaluation.items import summarise
from pnpkit.experiment.integrity import Damaged
from pnpkit.experiment.results.tables import table
from pnpkit.experiment.workspace import Workspace

ROOT = pathlib.Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in CONSTRAINTS)}


def make(*arguments):
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of the `make test` that may have started us
    env = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(command, env=env, text=True, capture_output=True)


def test_constraints_are_exact_pins_and_nothing_else():
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(PINS) == len(CONSTRAINTS)
    assert "pnpkit" not in PINS


@pytest.mark.parametrize("extra", ["dependencies", *PYPROJECT["optional-dependencies"]])
def test_every_requirement_is_pinned_within_its_range(extra):
    lines = PYPROJECT["dependencies"] if extra == "dependencies" else PYPROJECT["optional-dependencies"][extra]
    wanted = [r for r in map(Requirement, lines) if r.name != "pnpkit"]  # an extra may bring another
    unpinned = [r.name for r in wanted if canonicalize_name(r.name) not in PINS]
    assert unpinned == []
    assert [str(r) for r in wanted if not r.specifier.contains(PINS[canonicalize_name(r.name)])] == []


@pytest.mark.parametrize("extra", ["dependencies", *PYPROJECT["optional-dependencies"]])
def test_every_requirement_has_a_lower_bound(extra):
    lines = PYPROJECT["dependencies"] if extra == "dependencies" else PYPROJECT["optional-dependencies"][extra]
    wanted = [r for r in map(Requirement, lines) if r.name != "pnpkit"]
    bounded = {r.name for r in wanted if any(s.operator in (">=", "==") for s in r.specifier)}
    elsewhere = {"scipy"}  # only its upper bound is said again, beside kymatio
    assert {r.name for r in wanted} - bounded <= elsewhere


def test_environment_installs_what_make_installs():
    conda = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    (pip,) = (line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict))
    install, _ = re.findall(r"pip install -q (.*)", MAKEFILE)  # the other is JupyterLab's
    assert install.replace("'", "") == " ".join(pip)
    assert ENVIRONMENT["name"] == PYPROJECT["name"]
    (python,) = (line.split("=")[1] for line in conda if line.startswith("python="))
    assert SpecifierSet(PYPROJECT["requires-python"]).contains(f"{python}.0")
    assert f"Python {python} was not found" in MAKEFILE


def test_help_is_the_default_and_names_every_public_target():
    printed = make()
    assert printed.returncode == 0
    named = set(re.findall(r"^  (\w+) ", printed.stdout, re.MULTILINE))
    assert named >= {"help", "install", "book", "chapters", "site", "pdf", "lab", "test", "bench", "reproduce", "clean"}


@pytest.mark.parametrize("target", ["help", "book", "test"])
def test_unknown_profile_stops_with_one_line_that_lists_the_valid_ones(target):
    answer = make(target, "PROFILE=papper")
    assert answer.returncode != 0
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert "'papper'" in line
    assert "smoke laptop paper" in line


@pytest.mark.parametrize("target", ["book", "site", "test"])
def test_no_python_stops_with_one_line_that_says_how_to_name_one(target, tmp_path):
    answer = make(target, f"VENV={tmp_path}/venv", "PYTHON=no-such-python")
    assert answer.returncode != 0
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert "Python 3.11 was not found" in line
    assert "PYTHON=" in line
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_shares_the_runs_of_another_profile_is_made_again_after_them(tmp_path):
    """As `make reproduce` leaves it: the laptop's runs are others, those of the study that are its own are not."""
    for name in ("study", "laptop"):
        shutil.copytree(ROOT / "data" / name, tmp_path / "data" / name, ignore=shutil.ignore_patterns("*.zarr"))
    study = Workspace.open("study", tmp_path / "data")
    before = study.results()
    for path in (tmp_path / "data" / "laptop" / "evaluation").glob("*/*/summary.json"):
        last = read_evaluation(path.parent).items.query("weights == 'last'").assign(jtfs=lambda items: 2 * items.jtfs)
        items = pd.concat([last.assign(weights=kind) for kind in ("last", "best", "average")])
        write_csv(path.parent / "items.csv", items, float_format="%.7g")
        write_record(path, read_json(path) | {"summary": summarise(items, 2)}, [ITEMS["test"]])
    with pytest.raises(Damaged, match="of other items"):
        study.results()
    done = make("tables", "PROFILE=laptop", f"HOUSE={tmp_path}", f"BIN={pathlib.Path(sys.executable).parent}")
    assert (done.returncode, done.stderr) == (0, "")
    after = study.results()
    for loss, factors in {"p": [2, 2, 1, 1, 1], "pnp-identity": [1] * 5}.items():
        old, new = (pd.Series(found["rows"]["last"][loss]["jtfs"]["values"]) for found in (before, after))
        pd.testing.assert_series_equal(new, old * factors, rtol=1e-5)
    with pytest.raises(UnknownName, match=r"weights 'average'; valid ones: best, last"):
        table(after, "average")  # no row has it for all its seeds
