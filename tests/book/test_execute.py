"""An executed chapter is current only if nothing has changed: its text, its outputs, the artefacts it read."""

import json
from pathlib import Path

import pytest

from tools import execute

MADE_FROM = "0" * 64


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path / "elsewhere"))
    for root in ("data", "elsewhere"):
        items = tmp_path / root / "laptop" / "evaluation" / "items.csv"
        items.parent.mkdir(parents=True)
        items.write_text("1,2\n")
    log = tmp_path / "log"
    log.write_text(f"{tmp_path}/data/laptop/results.json\n{tmp_path}/elsewhere/laptop/x.json\n/somewhere/else.json\n")
    notebook = {"cells": [{"outputs": [{"text": "1.23"}]}], "metadata": {"language_info": {"name": "python"}}}
    marks = {
        "made_from": MADE_FROM,
        "artefacts": execute.artefacts_read(log),
        "content": execute.content_hash(notebook),
    }
    assert list(marks["artefacts"]) == ["PNPKIT_DATA/laptop", "data/laptop"], "no path of the machine"
    notebook["metadata"]["pnpkit"] = marks
    path = tmp_path / "chapter.ipynb"
    path.write_text(json.dumps(notebook))
    assert execute.out_of_date(path, MADE_FROM) == ""
    return path


def test_another_library_or_text(chapter):
    assert "have changed" in execute.out_of_date(chapter, "1" * 64)


def test_no_notebook_and_half_of_one(chapter):
    chapter.write_bytes(chapter.read_bytes()[:-9])
    assert execute.out_of_date(chapter, MADE_FROM) == "not a whole notebook"
    chapter.unlink()
    assert execute.out_of_date(chapter, MADE_FROM) == "not executed yet"


def test_edited_outputs(chapter):
    chapter.write_text(chapter.read_text().replace("1.23", "1.24"))
    assert execute.out_of_date(chapter, MADE_FROM) == "it was changed after it was executed"


@pytest.mark.parametrize("name", ["data/laptop", "PNPKIT_DATA/laptop"])
def test_artefacts_that_changed(name, chapter):
    root = chapter.parent / name.replace("PNPKIT_DATA", "elsewhere")
    for made_again in ("features-0.npy", "tangents-train.npz"):
        (root / made_again).write_text("made again in minutes")
    (root / "evaluation" / "rows-12.partial.csv").write_text("half of a study, of another run")
    (root / "weights.safetensors").write_text("not kept")
    assert execute.out_of_date(chapter, MADE_FROM) == ""
    Path(root / "evaluation" / "items.csv").write_text("1,3\n")
    assert execute.out_of_date(chapter, MADE_FROM) == f"{name} changed"


def test_a_notebook_of_before_it_said_what_it_read(chapter):
    notebook = json.loads(chapter.read_text())
    del notebook["metadata"]["pnpkit"]["artefacts"]
    chapter.write_text(json.dumps(notebook))
    assert execute.out_of_date(chapter, MADE_FROM) == "it does not say which artefacts it read"


def test_a_chapter_follows_what_it_imports_through_others_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    execute.front_door.cache_clear()
    texts = {
        "__init__": '_NAMES = {"pnpkit.a": "A"}\nfrom pnpkit.unused import U\n',
        "a": "def A():\n    from pnpkit.wing import b\n",
        "wing/__init__": "",
        "wing/b": "import pnpkit.c\n",
        "c": "",
        "unused": "",
    }
    for name, text in texts.items():
        path = tmp_path / "pnpkit" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    chapter = "Text: import pnpkit.unused\n```{code-cell}\nfrom pnpkit import (\n    A,\n)\n```\n"
    found = [path.relative_to(tmp_path / "pnpkit").as_posix() for path in execute.library_of(chapter)]
    assert found == ["__init__.py", "a.py", "c.py", "wing/__init__.py", "wing/b.py"]
    execute.front_door.cache_clear()
