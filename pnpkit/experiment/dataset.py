"""The data set: one random point in each cell of a grid over θ, split into three folds."""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnpkit.synth import Arpeggio, ParameterSpace, RectangularDrum

FOLDS = ("train", "validation", "test")
ARPEGGIO_SEED = 960602  # the authors'
DRUM_SEED = 20230829  # ours
CELLS = 5_000_000  # of a grid, at most: as many take gigabytes


def arpeggio_grid(n_steps: int = 30, seed: int = ARPEGGIO_SEED) -> pd.DataFrame:
    """The arpeggio's data set: n³ cells, n = ``n_steps``, geometric along each axis, one uniform point a cell.

    With 30 steps this is the authors' draw, number for number: 21 556 train, 2 744 validation, 2 700 test items.
    Validation is the core of the grid (14 of 30 cells along each axis, in proportion for other sizes), so that it lies
    in a region never trained on; the periphery is shuffled into test (a tenth of the grid) and train.

    Args:
        n_steps: cells an axis, at least 6.
        seed: of Python's own generator.

    Returns:
        Columns ``id`` (0 … n³ − 1; f_c slowest, γ fastest), ``f_c`` and ``f_m`` in Hz, ``gamma`` in octave/s, ``fold``.

    Raises:
        ValueError: if ``n_steps`` < 6.

    Source: GRETSI 2023, section 4; the draw is that of the authors' code.

    >>> arpeggio_grid(30).fold.value_counts().to_dict()
    {'train': 21556, 'validation': 2744, 'test': 2700}
    """
    return _grid(Arpeggio.parameters, n_steps, 6, 14 / 30, "raw", seed)


def drum_grid(n_steps: int = 10, seed: int = DRUM_SEED) -> pd.DataFrame:
    """The drum's data set: n⁵ cells, n = ``n_steps``, a point each, uniform in log ω, log p, log D, in τ and in α.

    With 10 steps the folds have the authors' sizes, 82 224 train, 7 776 validation, 10 000 test items; the draw is
    ours, as theirs is not recorded. Validation is the core of the grid (6 of 10 cells along each axis, in proportion
    for other sizes); the periphery is shuffled into test (a tenth of the grid) and train.

    Args:
        n_steps: cells an axis, at least 4, so that the core has neighbours on all sides.
        seed: of Python's own generator.

    Returns:
        Columns ``id`` (0 … n⁵ − 1; ω slowest, α fastest), ``omega`` in rad/s, ``tau`` in s, ``p``, ``D``, ``alpha``,
        ``fold``.

    Raises:
        ValueError: if ``n_steps`` < 4.

    Source: ranges and folds of the authors' percussion data set.

    >>> drum_grid(5).fold.value_counts().to_dict()
    {'train': 2570, 'test': 312, 'validation': 243}
    """
    return _grid(RectangularDrum.parameters, n_steps, 4, 6 / 10, "log", seed)


def parameter_grid(space: ParameterSpace, n_steps: int, seed: int = 0) -> pd.DataFrame:
    """The data set of a synthesiser that brings none: n^d cells, n = ``n_steps``, a point each, uniform on its scale.

    Validation is the core of the grid, about a tenth of it; the periphery is shuffled into test, a tenth, and train.

    Args:
        space: the synthesiser's parameters.
        n_steps: cells an axis, at least 6; 10 where there is one parameter only.
        seed: of Python's own generator.

    Returns:
        ``id``, the parameters in their units, ``fold``; as :func:`arpeggio_grid`.

    Raises:
        ValueError: if ``n_steps`` is too small.

    >>> parameter_grid(Arpeggio.parameters, 6).fold.value_counts().to_dict()
    {'train': 168, 'validation': 27, 'test': 21}
    """
    return _grid(space, n_steps, 10 if len(space) == 1 else 6, 0.1 ** (1 / len(space)), "log", seed)


def theta_of(table: pd.DataFrame, parameters: ParameterSpace) -> Tensor:
    """The table's θ as a float64 tensor of shape (items, parameters)."""
    return torch.tensor(table[list(parameters.names)].to_numpy(dtype=np.float64))


def _grid(space: ParameterSpace, n_steps: int, smallest: int, core: float, coordinates: str, seed: int) -> pd.DataFrame:
    """One point a cell, uniform in the given coordinates, in the order of the cells; folds by core and by shuffle.

    ``core`` is the share of the cells of an axis that is for validation.
    """
    if n_steps < smallest:
        raise ValueError(f"n_steps must be at least {smallest}, so that every fold has items; got {n_steps}")
    if n_steps ** len(space) > CELLS:
        raise ValueError(f"a grid of {n_steps}^{len(space)} cells is too large: at most {CELLS:,} are made")
    width = round(n_steps * core)
    start = (n_steps - width) // 2
    raw_edges = np.stack([_edges(p.low, p.high, p.scale, n_steps) for p in space.parameters], -1)
    edges, axis = space.encode(torch.from_numpy(raw_edges), coordinates).T.numpy(), np.arange(len(space))
    generator = random.Random(seed)
    cells = np.indices((n_steps,) * len(space)).reshape(len(space), -1).T
    uniform = np.array([generator.random() for _ in range(cells.size)]).reshape(cells.shape)
    low, high = edges[axis, cells], edges[axis, cells + 1]
    theta = space.decode(torch.from_numpy(low + uniform * (high - low)), coordinates).numpy()
    in_core = ((cells >= start) & (cells < start + width)).all(axis=1)
    periphery = [int(i) for i in np.flatnonzero(~in_core)]
    generator.shuffle(periphery)
    fold = np.full(len(cells), "train", dtype=object)
    fold[in_core] = "validation"
    fold[periphery[: len(cells) // 10]] = "test"
    table = pd.DataFrame(theta, columns=list(space.names))
    table.insert(0, "id", np.arange(len(cells)))
    table["fold"] = pd.Categorical(fold, categories=FOLDS)
    return table


def _edges(low: float, high: float, scale: str, n_steps: int) -> np.ndarray:
    if scale == "log":
        return np.logspace(np.log10(low), np.log10(high), n_steps + 1)
    return np.linspace(low, high, n_steps + 1)


def grid_side(n_items: int, d: int = 3) -> int:
    """Cells along each axis of a grid of ``n_items`` cells in d dimensions.

    Raises:
        ValueError: if ``n_items`` is not the d-th power of a whole number.

    >>> grid_side(27_000)
    30
    """
    side = round(n_items ** (1 / d))
    if side**d != n_items:
        raise ValueError(f"{n_items} items do not fill a grid of {d} equal sides")
    return side


def on_grid(values: Tensor, d: int = 3) -> Tensor:
    """Values of all items, (n^d, …), as an array over the cells, (n, …, n, …): ids run along the last axis fastest."""
    return values.unflatten(0, (grid_side(len(values), d),) * d)


def sublattice(side: int, counts: Sequence[int]) -> NDArray[np.int64]:
    """Ids of cells spread evenly over a grid.

    Args:
        side: cells along each axis.
        counts: how many to take along each axis, at most ``side``; a 1 takes the middle.

    Returns:
        Ids, ascending, an array of shape ``counts``.

    Raises:
        ValueError: if a count is less than 1 or more than ``side``.

    >>> sublattice(6, (1, 1, 3)).ravel()
    array([127, 129, 131])
    """
    if not all(1 <= k <= side for k in counts):
        raise ValueError(f"counts must be from 1 to {side}, not {tuple(counts)}")
    axes = [((2 * np.arange(k) + 1) * side) // (2 * k) for k in counts]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), (side,) * len(counts))


def apart(values: Tensor, axis: int, cells: int, d: int = 3) -> tuple[Tensor, Tensor]:
    """Values of all pairs of items that lie ``cells`` cells apart along one axis, the lower ones and the upper ones.

    >>> lower, upper = apart(torch.arange(8), axis=2, cells=1)
    >>> lower.tolist(), upper.tolist()
    ([0, 2, 4, 6], [1, 3, 5, 7])
    """
    grid = on_grid(values, d)
    pairs = grid.shape[axis] - cells
    lower, upper = grid.narrow(axis, 0, pairs), grid.narrow(axis, cells, pairs)
    return lower.flatten(0, d - 1), upper.flatten(0, d - 1)
