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


def test_a_folded_table_is_named_and_its_heads_say_what_they_head():
    rows = pd.DataFrame(
        {"MSS": [1.0, 2.0]}, index=pd.MultiIndex.from_tuples([("P", 0), ("P", 1)], names=["loss", "seed"])
    )
    page = Folded("Seeds <each>", rows)._repr_html_()
    assert 'aria-label="Seeds &lt;each&gt;"' in page
    heads = re.findall(r"<th([^>]*)>(?:loss|seed|MSS|P|0|1|)<", page)
    assert len(heads) > 5
    assert all("scope=" in head for head in heads)
