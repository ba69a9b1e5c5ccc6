"""What is folded is all there: for a browser, for a terminal, and whatever characters it has."""

import html
import re

import pandas as pd
import pytest

from pnpkit.figures.page import Folded

LINES = ("seeds 0 < 1 & 2", "λ = 1")


@pytest.mark.parametrize("details", [LINES, pd.DataFrame({"loss": ["P"], "seed": [LINES[0]]})])
def test_both_forms_say_the_same(details):
    folded = Folded("Provenance <of this>", details)
    shown = html.unescape(re.sub(r"<[^>]*>", " ", folded._repr_html_()))
    assert sorted(shown.split()) == sorted(repr(folded).split())


def test_only_the_line_is_seen_at_once():
    page = Folded("Provenance", LINES)._repr_html_()
    assert re.findall(r"<summary>(.*?)</summary>", page) == ["Provenance"]
    assert page.startswith("<details")
    assert " open" not in page.split(">")[0]
