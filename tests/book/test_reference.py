"""The reference has every wing and every public name, once."""

import pathlib
import pkgutil
import re

import pytest
import yaml

import pnpkit

ROOT = pathlib.Path(__file__).parents[2]
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book" / "reference").glob("*.md")}
WINGS = [
    name for text in TEXTS.values() for found in re.findall(r"^```\{wing\} (.*)$", text, re.M) for name in found.split()
]
NO_API = {
    "cli",
    "cli_experiment",
    "cli_matching",
    "cli_transform",
    "progress",
}  # the command line has a page of its own


def test_every_wing_is_on_one_page():
    there = {
        module.name for module in pkgutil.iter_modules(pnpkit.__path__) if not module.name.startswith("_")
    } - NO_API
    assert sorted(WINGS) == sorted(f"pnpkit.{name}" for name in there)


@pytest.mark.parametrize("name", pnpkit.__all__)
def test_every_public_name_is_in_a_module_that_a_page_documents(name):
    module = getattr(pnpkit, name).__module__
    assert [wing for wing in WINGS if f"{module}.".startswith(f"{wing}.")], f"{name} is of {module}"
    assert not any(part.startswith("_") for part in module.split("."))


def test_pages_that_list_themselves_are_there():
    assert "```{public-names}" in TEXTS["index"]
    assert "```{command-line}" in TEXTS["cli"]


def test_contents_list_every_page():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = {entry["file"] for part in parts for entry in part["chapters"]}
    assert {f"book/reference/{name}" for name in TEXTS} <= listed
