"""Figures: what they show is what they were given, on shared scales and in letters that can be read."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pnpkit.figures import plotting as p
from pnpkit.figures.diagram import flow_diagram

FREQUENCIES = 100 * 2 ** (np.arange(24) / 12)
TIMES = np.linspace(-2, 2, 9)
VALUES = np.random.default_rng(0).random((24, 9))


@pytest.fixture(autouse=True)
def _closed():
    with mpl.rc_context(p.STYLE):
        yield
    plt.close("all")


def texts(figure):
    figure.canvas.draw()
    return [t for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]


def test_letters_are_at_least_nine_points_and_inside_the_figure():
    figures = [
        flow_diagram(),
        p.scalogram_grid([[VALUES] * 3] * 3, TIMES, FREQUENCIES, columns=list("abc"), rows=list("xyz")),
        p.plot_matrix(np.eye(3), ["$f_c$ (Hz)", "$f_m$ (Hz)", "$g$"]).figure,
    ]
    for figure in figures:
        shown = texts(figure)
        assert min(t.get_fontsize() for t in shown) >= 9
        page = figure.bbox.padded(2)
        outside = [t.get_text() for t in shown if not page.containsx(t.get_window_extent().x1)]
        assert outside == []


def test_panels_of_a_grid_share_one_scale():
    figure = p.scalogram_grid([[VALUES, 10 * VALUES]], TIMES, FREQUENCIES, columns=["a", "b"], rows=["x"])
    limits = {ax.collections[0].get_clim() for ax in figure.axes[:2]}
    assert limits == {(VALUES.min(), 10 * VALUES.max())}


def test_a_scalogram_is_drawn_where_its_axes_say():
    ax = p.plot_scalogram(VALUES, TIMES, FREQUENCIES)
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "frequency (Hz)")
    np.testing.assert_array_equal(ax.collections[0].get_array().reshape(VALUES.shape), VALUES)


def test_a_scalogram_refuses_axes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(9, 24\) need 24 frequencies by 9 times"):
        p.plot_scalogram(VALUES.T, TIMES, FREQUENCIES)
    with pytest.raises(ValueError, match="ascend"):
        p.plot_scalogram(VALUES, TIMES, FREQUENCIES[::-1])


def test_decibels_are_relative_and_floored():
    np.testing.assert_allclose(p.decibels([10.0, -1.0, 0.0]), [0, -20, -60])
    np.testing.assert_allclose(p.decibels([1.0], reference=10.0), [-20])
    np.testing.assert_allclose(p.decibels([0.0, 0.0]), [-60, -60])


def test_a_matrix_shows_its_values():
    ax = p.plot_matrix([[2352.0, 0.27], [0.27, 0.9]], ["a", "b"])
    assert [t.get_text() for t in ax.texts] == ["2352", "0.27", "0.27", "0.9"]
