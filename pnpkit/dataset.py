"""The data set: one random point in each cell of a grid over θ, split into three folds."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pnpkit.synth import Arpeggio, ParameterSpace

FOLDS = ("train", "validation", "test")
ARPEGGIO_SEED = 960602


def arpeggio_grid(n_steps: int = 30, seed: int = ARPEGGIO_SEED) -> pd.DataFrame:
    """The arpeggio's data set: ``n_steps``³ cells, geometric along each axis, one uniform point a cell.

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
    core_width = round(n_steps * 14 / 30)
    start = (n_steps - core_width) // 2
    return _grid(Arpeggio.parameters, n_steps, range(start, start + core_width), seed, n_steps**3 // 10)


def theta_of(table: pd.DataFrame, parameters: ParameterSpace) -> Tensor:
    """The table's θ as a float64 tensor of shape (items, parameters)."""
    return torch.tensor(table[list(parameters.names)].to_numpy(dtype=np.float64))


def _grid(space: ParameterSpace, n_steps: int, core: range, seed: int, n_test: int) -> pd.DataFrame:
    """One point a cell, drawn in the order of the cells; folds by core and by shuffled periphery."""
    if n_steps < 6:
        raise ValueError(f"n_steps must be at least 6, so that every fold has items; got {n_steps}")
    edges = [_edges(p.low, p.high, p.scale, n_steps) for p in space.parameters]
    generator = random.Random(seed)
    cells = np.indices((n_steps,) * len(space)).reshape(len(space), -1).T
    theta = np.array([_draw(generator.random, edges, cell) for cell in cells])
    in_core = ((cells >= core.start) & (cells < core.stop)).all(axis=1)
    periphery = [int(i) for i in np.flatnonzero(~in_core)]
    generator.shuffle(periphery)
    fold = np.full(len(cells), "train", dtype=object)
    fold[in_core] = "validation"
    fold[periphery[:n_test]] = "test"
    table = pd.DataFrame(theta, columns=list(space.names))
    table.insert(0, "id", np.arange(len(cells)))
    table["fold"] = pd.Categorical(fold, categories=FOLDS)
    return table


def _edges(low: float, high: float, scale: str, n_steps: int) -> np.ndarray:
    if scale == "log":
        return np.logspace(np.log10(low), np.log10(high), n_steps + 1)
    return np.linspace(low, high, n_steps + 1)


def _draw(uniform: Callable[[], float], edges: Sequence[np.ndarray], cell: np.ndarray) -> list[float]:
    return [e[i] + uniform() * (e[i + 1] - e[i]) for e, i in zip(edges, cell, strict=True)]
