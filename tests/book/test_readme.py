"""The README's table is the results', not somebody's memory of them."""

import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
assert _spec is not None
assert _spec.loader is not None
readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme)


def test_table_equals_results() -> None:
    text = (ROOT / "README.md").read_text()
    profiles = re.findall(r"^Profile `([\w-]+)`", text, re.MULTILINE)
    assert profiles, "the README shows no table: run tools/readme.py"
    tables = "\n\n".join(map(readme.headline, profiles))
    assert readme.filled(text, tables) == text, "the README's tables are stale: run tools/readme.py"
