"""Many metrics: what does not depend on units, what bounds what, and where a cell is in a grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.experiment.dataset import apart, arpeggio_grid, grid_side, on_grid, sublattice, theta_of
from pnpkit.figures.plotting import cumulative_share
from pnpkit.metric import condition_number, inverse, log_metric, relative_spectrum, tolerances, worst_ratio
from pnpkit.synth import Arpeggio

DOUBLE = torch.float64
SEEDS = st.integers(0, 2**31)


def metrics(seed, n=5, d=3):
    J = torch.randn(n, 9, d, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    return J.mT @ J


def test_ids_lie_where_the_data_set_puts_them():
    theta = theta_of(arpeggio_grid(6), Arpeggio.parameters)
    grid = on_grid(theta)
    assert grid.shape == (6, 6, 6, 3)
    for axis in range(3):  # one point a cell: along its own axis, a parameter only grows
        assert (grid[..., axis].diff(dim=axis) > 0).all()
        lower, upper = apart(theta, axis, 2)
        assert len(lower) == 4 * 36
        assert (upper[:, axis] > lower[:, axis]).all()


@given(side=st.integers(1, 12), data=st.data())
def test_a_sublattice_is_spread_evenly_and_symmetrically(side, data):
    counts = tuple(data.draw(st.integers(1, side)) for _ in range(3))
    ids = sublattice(side, counts)
    assert ids.shape == counts
    cells = np.stack(np.unravel_index(ids, (side,) * 3))
    for axis, k in enumerate(counts):
        line = np.unique(cells[axis])
        assert len(line) == k
        gaps = np.diff(np.concatenate([[-0.5 * side / k], line + 0.5, [side + 0.5 * side / k]]))
        assert np.abs(gaps - side / k).max() <= 1


def test_sizes_that_make_no_grid_are_refused():
    with pytest.raises(ValueError, match="28 items do not fill a grid of 3 equal sides"):
        grid_side(28)
    with pytest.raises(ValueError, match=r"from 1 to 6, not \(7, 1, 1\)"):
        sublattice(6, (7, 1, 1))


def test_log_metric_is_that_of_the_logarithms():
    theta = torch.tensor([[700.0, 9.0, 2.0]], dtype=DOUBLE)
    wanted = Arpeggio.parameters.change_coordinates(metrics(0, 1), theta, "log") / np.log(10) ** 2
    torch.testing.assert_close(log_metric(metrics(0, 1), theta), wanted)


@given(seed=SEEDS)
def test_free_errors_are_the_larger_ones_within_kantorovich(seed):
    M = metrics(seed)
    alone, free = tolerances(M, 2.0)
    torch.testing.assert_close(alone.square() * M.diagonal(dim1=1, dim2=2), torch.full_like(alone, 4.0))
    kappa = condition_number(M).sqrt()
    assert (free >= alone * (1 - 1e-9)).all()
    assert (free / alone <= ((kappa + 1 / kappa) / 2)[:, None] * (1 + 1e-9)).all()


@given(seed=SEEDS, units=st.tuples(*[st.floats(-30, 30)] * 3))
def test_the_inverse_knows_no_units_and_what_is_not_heard_is_not_known(seed, units):
    M, unit = metrics(seed), 2.0 ** torch.tensor(units, dtype=DOUBLE)
    torch.testing.assert_close(inverse(M) @ M, torch.eye(3, dtype=DOUBLE).expand_as(M), rtol=0, atol=1e-6)
    in_units = inverse(unit[:, None] * M * unit) * unit[:, None] * unit
    torch.testing.assert_close(in_units, inverse(M), rtol=1e-5, atol=1e-9)
    deaf = torch.block_diag(M[0], torch.zeros(1, 1, dtype=DOUBLE))
    torch.testing.assert_close(inverse(deaf)[:3, :3], inverse(M[0]))
    assert inverse(deaf)[3, 3] > 1e20 * inverse(M[0]).amax()
    assert tolerances(deaf, 1.0)[1][3] > 1e10


def test_a_metric_is_infinitely_unlike_one_that_misses_a_direction():
    B = torch.diag(torch.tensor([1.0, 0.0, 1e-200], dtype=DOUBLE))
    for turn in (torch.eye(3, dtype=DOUBLE), torch.linalg.qr(metrics(0, 1)[0]).Q):
        assert worst_ratio(torch.eye(3), turn @ B @ turn.mT) > 1e6  # infinite but for rounding, never NaN


@given(seed=SEEDS)
def test_the_comparison_of_two_metrics_knows_no_units(seed):
    A, B = metrics(seed), metrics(seed + 1)
    ratio = worst_ratio(A, B)
    assert (ratio >= 1).all()
    torch.testing.assert_close(worst_ratio(B, A), ratio)
    torch.testing.assert_close(worst_ratio(A, 9 * A), torch.full_like(ratio, 3.0))
    change = torch.randn(3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)) + 4 * torch.eye(3)
    same = worst_ratio(change.mT @ A @ change, change.mT @ B @ change)
    torch.testing.assert_close(same, ratio, rtol=1e-6, atol=0)


@given(seed=SEEDS)
def test_no_step_is_measured_more_differently_than_the_relative_spectrum_says(seed):
    A, B = metrics(seed), metrics(seed + 1)
    steps = torch.randn(100, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    squared = [torch.einsum("ki,nij,kj->nk", steps, M, steps) for M in (A, B)]
    ratios, spectrum = squared[1] / squared[0], relative_spectrum(A, B)
    assert (ratios >= spectrum[:, :1] * (1 - 1e-9)).all()
    assert (ratios <= spectrum[:, -1:] * (1 + 1e-9)).all()
    torch.testing.assert_close(spectrum.prod(-1), torch.linalg.det(B) / torch.linalg.det(A), rtol=1e-6, atol=0)


@given(values=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_cumulative_shares_are_concave_and_end_at_one(values):
    share = cumulative_share(values)
    assert share[-1] == pytest.approx(1)
    assert (np.diff(share, n=2) <= 1e-12).all()
    assert share[0] >= 1 / len(values) - 1e-12
