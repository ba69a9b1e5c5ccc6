"""The README's table is the results', not somebody's memory of them."""

import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
assert _spec is not None
assert _spec.loader is not None
readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme)


def test_table_equals_results() -> None:
    text = (ROOT / "README.md").read_text()
    profile = re.search(r"Profile `(\w+)`", text)
    assert profile, "the README shows no table: run tools/readme.py"
    assert readme.filled(text, readme.headline(profile[1])) == text, "the README's table is stale: run tools/readme.py"
