"""The front door: what `import pnpkit` does, and that every public name is there, documented, typed and tried."""

import ast
import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

import pnpkit

ROOT = pathlib.Path(__file__).parents[1]
IMPORTING = """
import json, logging, os, random, sys, warnings
def state():
    return [str(warnings.filters), dict(os.environ), sys.path[:], str(logging.root.handlers), str(random.getstate())]
before, loaded = state(), set(sys.modules)
import pnpkit
print(json.dumps([state() == before, sorted(set(sys.modules) - loaded)]))
"""


def test_importing_changes_nothing_global_and_loads_no_other_package():
    answer = subprocess.run([sys.executable, "-c", IMPORTING], cwd=ROOT, capture_output=True, text=True, check=True)
    unchanged, loaded = json.loads(answer.stdout)
    assert unchanged
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"pnpkit"}


def test_unknown_name_lists_the_public_ones():
    with pytest.raises(AttributeError, match=r"'Arpegio'.*Arpeggio"):
        pnpkit.Arpegio  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded():
    tree = ast.parse(pathlib.Path(pnpkit.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == pnpkit._HOME


@pytest.mark.parametrize("name", pnpkit.__all__)
def test_public_name_is_there_and_says_what_it_is_with_an_example(name):
    assert name in dir(pnpkit)
    text = inspect.getdoc(getattr(pnpkit, name))
    assert re.match(r"[^\n]+\.(\n|$)", text), "a docstring begins with one sentence on one line"
    assert ">>> " in text, "a docstring ends with an example, which doctest runs"


@pytest.mark.parametrize("name", pnpkit.__all__)
def test_public_name_is_typed(name):
    thing = getattr(pnpkit, name)
    what = thing.__init__ if inspect.isclass(thing) else thing
    signature = inspect.signature(what)
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
    if what is not object.__init__ and not getattr(thing, "_is_protocol", False):
        assert untyped == []
        assert signature.return_annotation is not signature.empty
