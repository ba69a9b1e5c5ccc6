"""Figures of results say what the tables say."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pnpkit.figures import results as p
from pnpkit.synth import Arpeggio


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_bars_skip_what_is_missing():
    values = pd.DataFrame({"ours": [45.0, np.nan], "paper": [45.81, 18.75]}, index=["P", "PNP"])
    ax = p.plot_bars(values, values * 0.1, label="JTFS distance")
    heights = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_array_equal(np.array(heights, dtype=float), values.to_numpy().T)


def test_one_seed_has_a_mark_but_neither_bar_nor_caps():
    values = pd.DataFrame({"ours": [45.0, 44.0]}, index=["P", "PNP"])
    ax = p.plot_bars(values, pd.DataFrame({"ours": [np.nan, 2.0]}, index=values.index), label="JTFS distance")
    mark, caps, _ = ax.containers[0].lines
    assert list(mark.get_ydata()) == [45.0, 44.0]
    assert [list(cap.get_ydata()) for cap in caps] == [pytest.approx([np.nan, y], nan_ok=True) for y in (42.0, 46.0)]


def test_a_loss_keeps_its_colour_and_each_seed_has_its_line():
    history = pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [3.0, 2.0, 1.0]})
    ax = p.plot_history({"pnp": [history, history], "p": [history]}, "validation_loss")
    assert [line.get_color() for line in ax.lines] == [p.LOSS_COLOURS[k] for k in ("pnp", "pnp", "p")]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["PNP", "P"]


def test_of_many_seeds_the_median_is_drawn_in_a_band():
    runs = [pd.DataFrame({"epoch": [1, 2], "validation_loss": [float(k), 10.0 * k]}) for k in (1, 2, 4)]
    ax = p.plot_history({"p": runs}, "validation_loss")
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.0, 20.0]]
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (1.0, 40.0)


def test_a_panel_a_parameter_its_constant_dotted_and_one_legend():
    space = Arpeggio().parameters
    history = pd.DataFrame({"epoch": [1, 2]} | {f"error_{name}": [4.0, 2.0 + i] for i, name in enumerate(space.names)})
    _, axes = plt.subplots(1, 4)
    p.plot_errors({"p": [history]}, space, {"f_c": 7.0, "f_m": 8.0, "gamma": 9.0}, axes)
    ends = [[line.get_ydata()[-1] for line in ax.lines] for ax in axes]
    assert ends == [[2.0, 7.0], [3.0, 8.0], [4.0, 9.0], []]
    assert [ax.get_legend() is not None for ax in axes] == [True, False, False, False]


def test_a_line_a_recipe_a_mark_a_run_and_what_is_not_named_is_not_drawn():
    ratios = pd.DataFrame(
        {
            "profile": ["raw", "raw", "laptop", "log"],
            "loss": ["pnp", "pnp-mean", "pnp", "pnp"],
            "ratio": [0.5, 0.4, 1.25, 9.0],
            "low": [0.4, 0.3, np.nan, 8.0],
            "high": [0.7, 0.5, np.nan, 10.0],
        }
    )
    ax = p.plot_ratios(ratios, {"laptop": "base", "raw": "raw units"}, label="ratio")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["base", "raw units"]
    assert ax.yaxis_inverted()
    marks = {c.get_label(): c.lines[0].get_xydata() for c in ax.containers}
    np.testing.assert_array_equal(marks["PNP"][:, 0], [0.5, 1.25])
    assert marks["PNP"][:, 1].round().tolist() == [1, 0]
    np.testing.assert_array_equal(marks["PNP + λM̄"][:, 0], [0.4])
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([bar[:, 0] for bar in bars], [[0.4, 0.7], [1.25, 1.25]])
