"""Guards over the committed chapters.

A strict build accepts a notebook that was never executed, and nbval passes one without outputs: so it is checked here
that every chapter is executed, equals its text, holds something that nbval compares, and nothing of the machine.
"""

import base64
import io
import pathlib
import re

import jupytext
import nbformat
import pytest
import yaml
from PIL import Image

from tools.execute import fingerprint, out_of_date

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted((ROOT / "book" / "src").glob("*.md"))
MACHINE = re.compile(r"(?<![\w.:/-])/(?:work|root|tmp|home|Users)\b")
INJECTED = {"injected-parameters", "launch"}  # cells that the text has not

each_chapter = pytest.mark.parametrize("src", SOURCES, ids=lambda path: path.stem)


def notebook(src):
    path = ROOT / "book" / f"{src.stem}.ipynb"
    assert path.exists(), f"{path.name} is missing: run `make chapters`"
    return nbformat.read(path, as_version=4)


def code_cells(src):
    return [cell for cell in notebook(src).cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell):
    return cell.metadata.get("tags", [])


def texts(cell):
    """What a cell printed or showed as text, images and sounds taken out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield re.sub(r"base64,[A-Za-z0-9+/=]+", "base64", data)


def is_compared(cell):
    """Whether nbval compares something of the cell; the text that stands for a figure or a player is no result."""
    if {"nbval-ignore-output", "nbval-skip"} & set(tags(cell)):
        return False
    return any(text.strip() and not re.match(r"<(?:Figure|IPython|\s*audio)", text.strip()) for text in texts(cell))


def test_there_are_chapters():
    assert SOURCES


@each_chapter
def test_chapter_is_executed_in_order(src):
    counts = [cell.execution_count for cell in code_cells(src)]
    assert counts
    assert counts == list(range(1, len(counts) + 1)), "not executed from top to bottom: run `make chapters`"


@each_chapter
def test_what_cells_say_has_no_role_of_myst_which_would_be_shown_as_it_is(src):
    said = [text for cell in code_cells(src) for text in texts(cell)]
    assert [role for text in said for role in re.findall(r"\{[a-z:]+\}`[^`]*`", text)] == []


@each_chapter
def test_chapter_equals_its_source_cell_by_cell(src):
    def content(cell):
        metadata = {key: cell.metadata[key] for key in ("tags", "mystnb") if cell.metadata.get(key)}
        return cell.cell_type, cell.source.strip(), metadata

    stored = [content(cell) for cell in notebook(src).cells if not INJECTED & set(tags(cell))]
    written = [content(cell) for cell in jupytext.read(src).cells]
    assert stored == written, f"{src.name} changed after it was executed: run `make chapters`"


@each_chapter
def test_chapter_is_what_would_be_made_now(src):
    """Of this text, this library and these artefacts, and not edited since."""
    assert out_of_date(ROOT / "book" / f"{src.stem}.ipynb", fingerprint(src, {})) == "", "run `make chapters`"


@each_chapter
def test_chapter_has_no_error_and_no_warning(src):
    outputs = [output for cell in code_cells(src) for output in cell.outputs]
    assert [output.evalue for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@each_chapter
def test_chapter_has_a_cell_that_nbval_compares(src):
    assert any(is_compared(cell) for cell in code_cells(src)), "no cell shows text: print a rounded result"


@each_chapter
def test_chapter_holds_no_path_of_a_machine(src):
    assert [text for cell in code_cells(src) for text in texts(cell) if MACHINE.search(text)] == []


@each_chapter
def test_every_figure_is_there(src):
    """A cell that is captioned as a figure has one: an inline figure is lost silently if a cell resets matplotlib."""
    for i, cell in enumerate(notebook(src).cells):
        if cell.cell_type == "code" and "figure" in cell.metadata.get("mystnb", {}):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), f"cell {i} shows no figure"


@each_chapter
def test_letters_of_figures_have_eight_points_on_a_desk_and_on_a_telephone(src):
    """Nine in the figure are eight on the page, whose own inch has 96 pixels; a telephone's figures are 620 wide."""
    assert not re.search(r"\b(?:font|label|title|\b)size=[1-8]\b", src.read_text())
    for i, cell in enumerate(notebook(src).cells):
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                image = Image.open(io.BytesIO(base64.b64decode(png)))
                wide = cell.metadata["mystnb"]["image"].get("width", "700px")
                wide = 7 * int(wide[:-1]) if wide.endswith("%") else int(wide.removesuffix("px"))
                assert 9 * min(wide, 620) / (image.width / image.info["dpi"][0]) / 96 >= 8, f"cell {i}"


@each_chapter
def test_every_figure_says_in_words_what_it_shows(src):
    for i, cell in enumerate(notebook(src).cells):
        if cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs):
            image = cell.metadata.get("mystnb", {}).get("image", {})
            assert image.get("alt", "").strip(), f"cell {i} shows a figure without alt text (mystnb: image: alt:)"
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source), f"cell {i} has an image without alt text"
            for kind, body in re.findall(r"^[`:]{3,}\{(figure|image)\}(.*?)^[`:]{3,}\s*$", cell.source, re.M | re.S):
                assert re.search(r"^:alt: *\S", body, re.M), f"cell {i} has a {kind} without :alt:"


def test_toc_lists_every_chapter_and_nothing_else():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    entries = toc.get("chapters", []) + [entry for part in toc.get("parts", []) for entry in part["chapters"]]
    listed = {toc["root"], *(entry["file"] for entry in entries)}
    missing = {f"book/{src.stem}" for src in SOURCES} - listed
    assert missing == set()
    assert {name for name in listed if not list(ROOT.glob(f"{name}.*"))} == set()


def test_no_notebook_without_a_source():
    assert {path.stem for path in (ROOT / "book").glob("*.ipynb")} == {src.stem for src in SOURCES}
