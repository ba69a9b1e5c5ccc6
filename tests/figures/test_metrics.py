"""Balls and maps: drawn where their numbers say, on axes that can be read."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pnpkit.figures.metrics import ball_outline, plot_balls, plot_map
from pnpkit.figures.plotting import STYLE

METRICS = np.array([[[4.0, 0.0], [0.0, 1.0]], [[2.0, -1.2], [-1.2, 1.0]], [[1.0, 30.0], [30.0, 2352.0]]])
CENTRES = np.array([[8.0, 1.0], [5.0, 2.0], [12.0, 3.0]])


@pytest.fixture(autouse=True)
def _closed():
    with mpl.rc_context(STYLE):
        yield
    plt.close("all")


def test_every_point_of_an_outline_costs_the_same():
    delta = ball_outline(METRICS, length=0.5)
    assert delta.shape == (3, 73, 2)
    np.testing.assert_allclose(np.einsum("nki,nij,nkj->nk", delta, METRICS, delta), 0.25)
    np.testing.assert_allclose(delta[:, 0], delta[:, -1], atol=1e-12)


@pytest.mark.parametrize("M", [[[1.0, 2.0], [2.0, 1.0]], np.eye(3)])
def test_what_has_no_ball_is_refused(M):
    with pytest.raises(ValueError, match="positive definite 2 × 2"):
        ball_outline(M)


def test_balls_are_drawn_in_logarithms_around_their_centres():
    ax = plot_balls(METRICS, CENTRES, length=0.1)
    for segment, M, centre in zip(ax.collections[0].get_segments(), METRICS, CENTRES, strict=True):
        delta = np.log(segment / centre)
        np.testing.assert_allclose(np.einsum("ki,ij,kj->k", delta, M, delta), 0.01)
        assert (segment >= [ax.get_xlim()[0], ax.get_ylim()[0]]).all()
        assert (segment <= [ax.get_xlim()[1], ax.get_ylim()[1]]).all()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_map_shows_each_number_in_its_cell():
    values, x, y = np.arange(1.0, 7).reshape(2, 3), [512.0, 724.0, 1024.0], [0.5, 1.0, 2.0, 4.0]
    ax = plt.subplots()[1]
    mesh = plot_map(values, (x, y), ax, form="{:.0f}")
    np.testing.assert_array_equal(mesh.get_array().reshape(3, 2), values.T)
    for text in ax.texts:
        i, j = np.searchsorted(x, text.get_position()[0]) - 1, np.searchsorted(y, text.get_position()[1]) - 1
        assert float(text.get_text()) == values[i, j]
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["512", "724", "1024"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.5", "1", "2", "4"]
    with pytest.raises(ValueError, match=r"\(2, 3\) do not fit 4 by 3 edges"):
        plot_map(values, (y, x), ax)
