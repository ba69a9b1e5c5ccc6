"""The page of a match, and of many: to be read by everyone, by day and by night."""

import importlib.resources
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pnpkit.figures.report import index, report
from pnpkit.matching import Match, Region
from pnpkit.synth import Parameter, ParameterSpace

RATE = 4096
SPACE = ParameterSpace((Parameter("f", "f", "Hz", 1.0, 900.0),))
TONE = torch.sin(torch.arange(RATE) * 0.5) * torch.exp(-torch.arange(RATE) / 900)
AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations.flatMap(v =>
    ['serious', 'critical'].includes(v.impact) ? v.nodes.map(n => v.id + ': ' + n.html.slice(0, 120)) : [])"""


def answer(distance=88.0, **changed):
    """Of another distance, another verdict: 200 is all."""
    history = pd.DataFrame({"start": [0], "step": [0], "distance": [distance], "kept": [True], "f": [2.0]})
    sound = {"resynthesis": TONE, "noise": 0.0, "level": 0.0, "delay": 0.0, "explained": np.nan, "region": None}
    way = {"converged": True, "finish": "phi", "jacobians": 9, "seconds": 1.0, "history": history, "space": SPACE}
    values = sound | way | {"usual": 3.0, "norm": 200.0, "rival": None, "rival_distance": np.nan} | changed
    return Match(torch.tensor([2.0]), distance=distance, **values)


def test_why_there_is_no_region_and_what_the_verdict_means_is_said():
    page = report("x", "told", TONE, answer(20.0, converged=False), RATE)
    assert "none, as not converged" in page
    assert "Near it: 90 % of Φ explained, 20 where 3 is usual (did not converge)" in page
    assert "at least 80 % of Φ explained" in page


def test_a_value_has_the_digits_of_its_region_and_a_long_history_says_that_it_is_cut():
    low_high = Region(torch.zeros(1), torch.tensor([[1e-12]]), 1.0, SPACE)
    u = SPACE.encode(torch.tensor([700.01437], dtype=torch.float64), "logminmax")
    history = pd.concat([answer().history] * 50, ignore_index=True)
    found = replace(answer(region=replace(low_high, centre=u), history=history), theta=SPACE.decode(u, "logminmax"))
    page = report("x", "told", TONE, found, RATE)
    told = re.search(r"<td>(700\.01\d+)</td><td>Hz</td><td>(\S+) to ([\d.]+)</td>", page)
    value, low, high = map(float, told.groups())
    assert low < value < high
    assert "The last 40 of 50 steps." in page


def test_the_index_links_what_has_a_page_and_says_why_another_has_none(tmp_path):
    rows = [{"file": "a#<b>.wav", "verdict": "near it", "distance": 2.0, "error": None, "f": 3.0}]
    rows += [{"file": "bad.wav", "verdict": None, "distance": None, "error": "bad.wav is no sound", "f": None}]
    page = index(SPACE, [(rows[0], tmp_path / "a#<b>.wav.html"), (rows[1], None)])
    assert '<a href="a%23%3Cb%3E.wav.html">a#&lt;b&gt;.wav</a>' in page
    assert page.count("<a ") == 1
    assert "bad.wav is no sound" in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_by_day_and_by_night(opened, tmp_path, scheme):
    axe = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    row = {"file": "a.wav", "verdict": "near it", "distance": 2.0, "error": None, "f": 3.0}
    pages = [report("x", "told", TONE, answer(distance), RATE) for distance in (2.0, 20.0, 88.0)]
    for k, text in enumerate([*pages, index(SPACE, [(row, tmp_path / "0.html")])]):
        (tmp_path / f"{k}.html").write_text(text, encoding="utf-8")
        page = opened(tmp_path / f"{k}.html", color_scheme=scheme)
        page.evaluate(axe)
        assert page.evaluate(AXE) == []
        night = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert night == (scheme == "dark")
