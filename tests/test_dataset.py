"""The data set: laws of the draw at any size, then the authors' draw at 30 steps."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.dataset import FOLDS, arpeggio_grid, theta_of
from pnpkit.synth import Arpeggio

REFERENCE = np.load(Path(__file__).parent / "reference" / "arpeggio.npz")
NAMES = list(Arpeggio.parameters.names)
GRID = arpeggio_grid(30)


def cells(table, n_steps):
    """The cell of each item along each axis, from its θ alone."""
    theta = theta_of(table, Arpeggio.parameters)
    u = (Arpeggio.parameters.encode(theta, "logminmax").numpy() + 1) / 2
    return np.floor(u * n_steps).astype(int)


@given(n_steps=st.integers(6, 12), seed=st.integers(0, 2**32))
def test_there_is_one_item_a_cell_in_the_order_of_the_cells(n_steps, seed):
    table = arpeggio_grid(n_steps, seed)
    assert table.id.tolist() == list(range(n_steps**3))
    np.testing.assert_array_equal(cells(table, n_steps), np.indices((n_steps,) * 3).reshape(3, -1).T)


@given(n_steps=st.integers(6, 12))
def test_validation_is_the_core_and_a_tenth_is_for_the_test(n_steps):
    table = arpeggio_grid(n_steps)
    width = round(n_steps * 14 / 30)
    start = (n_steps - width) // 2
    in_core = ((cells(table, n_steps) >= start) & (cells(table, n_steps) < start + width)).all(1)
    assert ((table.fold == "validation") == in_core).all()
    assert (table.fold == "test").sum() == n_steps**3 // 10
    assert tuple(table.fold.cat.categories) == FOLDS


def test_a_seed_is_a_data_set():
    assert arpeggio_grid(7, 1).equals(arpeggio_grid(7, 1))
    assert not np.isclose(arpeggio_grid(7, 1)[NAMES], arpeggio_grid(7, 2)[NAMES]).any()


def test_folds_are_the_papers():
    assert GRID.fold.value_counts().to_dict() == {"train": 21556, "validation": 2744, "test": 2700}
    core = cells(GRID[GRID.fold == "validation"], 30)
    assert (core.min(), core.max()) == (8, 21)


def test_theta_is_the_authors_draw():
    drawn = GRID.set_index("id").loc[REFERENCE["ids"], NAMES].to_numpy()
    np.testing.assert_allclose(drawn, REFERENCE["theta"], rtol=0, atol=1e-9)


def test_train_statistics_and_the_constant_predictor_are_as_recorded():
    train, test = GRID.loc[GRID.fold == "train", NAMES], GRID.loc[GRID.fold == "test", NAMES]
    np.testing.assert_allclose(train.mean(), [740.18, 8.7249, 1.70828], rtol=1e-5)
    np.testing.assert_allclose(train.std(), [153.5, 3.562, 1.018], rtol=5e-4)
    np.testing.assert_allclose(((test - train.mean()) ** 2).mean(), [23729, 12.29, 1.051], rtol=5e-4)


@pytest.mark.parametrize("n_steps", [5, 0, -1])
def test_small_grids_are_refused(n_steps):
    with pytest.raises(ValueError, match=f"at least 6.*got {n_steps}"):
        arpeggio_grid(n_steps)
