"""The data sets: laws of the draw at any size, then the authors' draw at 30 steps and their folds at 10."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.experiment.dataset import FOLDS, arpeggio_grid, drum_grid, theta_of
from pnpkit.synth import Arpeggio, RectangularDrum

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE, DRUMS = np.load(FOLDER / "arpeggio.npz"), np.load(FOLDER / "drum.npz")
NAMES = list(Arpeggio.parameters.names)
GRID = arpeggio_grid(30)
SPACES = {arpeggio_grid: Arpeggio.parameters, drum_grid: RectangularDrum.parameters}
CORE = {arpeggio_grid: 14 / 30, drum_grid: 6 / 10}  # share of an axis
SIZES = st.sampled_from([(arpeggio_grid, n) for n in range(6, 13)] + [(drum_grid, n) for n in range(4, 8)])


def cells(theta, space, n_steps):
    """The cell of each item along each axis, from its θ alone."""
    u = (space.encode(torch.as_tensor(theta), "logminmax").numpy() + 1) / 2
    return np.floor(u * n_steps).astype(int)


@given(size=SIZES, seed=st.integers(0, 2**32))
def test_there_is_one_item_a_cell_in_the_order_of_the_cells(size, seed):
    make, n_steps = size
    table, space = make(n_steps, seed), SPACES[make]
    assert table.id.tolist() == list(range(n_steps ** len(space)))
    expected = np.indices((n_steps,) * len(space)).reshape(len(space), -1).T
    np.testing.assert_array_equal(cells(theta_of(table, space), space, n_steps), expected)


@given(size=SIZES)
def test_validation_is_the_core_and_a_tenth_is_for_the_test(size):
    make, n_steps = size
    table, space = make(n_steps), SPACES[make]
    width = round(n_steps * CORE[make])
    start = (n_steps - width) // 2
    cell = cells(theta_of(table, space), space, n_steps)
    in_core = ((cell >= start) & (cell < start + width)).all(1)
    assert ((table.fold == "validation") == in_core).all()
    assert (table.fold == "test").sum() == n_steps ** len(space) // 10
    assert tuple(table.fold.cat.categories) == FOLDS
    assert start > 0, "the core has neighbours on both sides"


@pytest.mark.parametrize("make", SPACES, ids=lambda make: make.__name__)
def test_a_seed_is_a_data_set(make):
    names = list(SPACES[make].names)
    assert make(6, 1).equals(make(6, 1))
    assert not np.isclose(make(6, 1)[names], make(6, 2)[names], rtol=1e-6).all(axis=1).any()


def test_folds_are_the_papers():
    assert GRID.fold.value_counts().to_dict() == {"train": 21556, "validation": 2744, "test": 2700}
    core = cells(theta_of(GRID[GRID.fold == "validation"], Arpeggio.parameters), Arpeggio.parameters, 30)
    assert (core.min(), core.max()) == (8, 21)


def test_theta_is_the_authors_draw():
    drawn = GRID.set_index("id").loc[REFERENCE["ids"], NAMES].to_numpy()
    np.testing.assert_allclose(drawn, REFERENCE["theta"], rtol=0, atol=1e-9)


def test_train_statistics_and_the_constant_predictor_are_as_recorded():
    train, test = GRID.loc[GRID.fold == "train", NAMES], GRID.loc[GRID.fold == "test", NAMES]
    np.testing.assert_allclose(train.mean(), [740.18, 8.7249, 1.70828], rtol=1e-5)
    np.testing.assert_allclose(train.std(), [153.5, 3.562, 1.018], rtol=5e-4)
    np.testing.assert_allclose(((test - train.mean()) ** 2).mean(), [23729, 12.29, 1.051], rtol=5e-4)


def test_folds_of_the_drum_are_the_authors():
    table, space = drum_grid(10), RectangularDrum.parameters
    assert table.fold.value_counts().to_dict() == {"train": 82224, "test": 10000, "validation": 7776}
    core = cells(theta_of(table[table.fold == "validation"], space), space, 10)
    assert (core.min(), core.max()) == (2, 7)


def test_ids_of_the_reference_drums_are_those_of_their_cells():
    """Axes, their scales and the order of the cells are the authors'; where in a cell a drum lies is their draw."""
    digits = cells(DRUMS["theta"], RectangularDrum.parameters, 10)
    assert (digits @ 10 ** np.arange(4, -1, -1)).tolist() == DRUMS["ids"].tolist()


def test_the_drums_draw_is_uniform_along_each_axis():
    space = RectangularDrum.parameters
    u = (space.encode(theta_of(drum_grid(6), space), "logminmax").numpy() + 1) / 2
    within = u * 6 % 1
    np.testing.assert_allclose(within.mean(0), 1 / 2, atol=4 / np.sqrt(12 * len(u)))
    np.testing.assert_allclose(within.var(0), 1 / 12, atol=4 / np.sqrt(180 * len(u)))


@pytest.mark.parametrize(
    ("make", "n_steps"), [(arpeggio_grid, 5), (arpeggio_grid, 0), (arpeggio_grid, -1), (drum_grid, 3), (drum_grid, 0)]
)
def test_small_grids_are_refused(make, n_steps):
    smallest = 6 if make is arpeggio_grid else 4
    with pytest.raises(ValueError, match=f"at least {smallest}.*got {n_steps}"):
        make(n_steps)
