"""What the README shows and links to is there, and its tables are the results', not somebody's memory of them."""

import importlib.util
import pathlib
import re

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
