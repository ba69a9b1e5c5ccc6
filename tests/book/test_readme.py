"""What the README shows and links to is there, and its tables are the results', not somebody's memory of them."""

import importlib.util
import pathlib
import re

import yaml

import pnpkit
from tools.execute import LAUNCH

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
assert _spec is not None
assert _spec.loader is not None
readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme)


def test_tables_are_those_of_the_results() -> None:
    assert (ROOT / "data" / "RESULTS.md").read_text() == readme.tables(), "stale: run tools/readme.py"
    assert (ROOT / "README.md").read_text() == readme.readme(), "stale: run tools/readme.py"


def test_what_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_begins_as_the_first_page_does_in_short_sentences() -> None:
    texts = [(ROOT / name).read_text() for name in ("README.md", "book/src/index.md")]
    first, again = (re.sub(r"\s+", " ", re.search(r"^\*\*(.+?)\*\*$", text, re.S | re.M)[1]) for text in texts)
    assert first == again
    sentences = re.split(r"(?<=\.) ", first)
    assert len(sentences) == 3
    assert max(len(sentence.split()) for sentence in sentences) <= 30


def test_citation_launch_and_site_mean_the_same_repository_and_works() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    bibtex = (ROOT / "book" / "src" / "index.md").read_text().partition("```bibtex")[2].partition("```")[0]
    home = cff["repository-code"]
    assert cff["version"] == pnpkit.__version__
    assert home == config["repository"]["url"]
    assert f" {home} " in LAUNCH
    assert home.removeprefix("https://github.com/") in (ROOT / "book" / "_ext" / "page.py").read_text()
    for value in (home, cff["title"], cff["version"], cff["preferred-citation"]["url"]):
        assert f"{{{value}}}" in bibtex


def test_the_launch_cell_does_nothing_elsewhere() -> None:
    plain = "\n".join(
        f"    raise AssertionError({line!r})" if line.startswith("    ") else line for line in LAUNCH.splitlines()
    )
    exec(plain, {})
