"""The table of scattering paths: what each coefficient of S measures."""

from dataclasses import dataclass

import pandas as pd

PAIRS = ("S0", "S1", "phi_t*phi_f", "phi_t*psi_f", "psi_t*phi_f", "psi_t*psi_f_up", "psi_t*psi_f_dn")


@dataclass(frozen=True)
class Path:
    """One path: a filter in time, a filter along log-frequency, and the block of coefficients that they give.

    Args:
        pair: one of :data:`PAIRS`.
        n_time: index of the wavelet in time (first order for S1, second order else); −1 for a low-pass.
        n_freq: index of the wavelet along log-frequency; −1 for a low-pass or none.
        spin: +1 up, −1 down, 0 where the path has no orientation. Up the rows is down in frequency, as in the
            authors' operator: a sound that rises has spin −1.
        rate: centre frequency of the temporal wavelet, cycles/sample; 0 for a low-pass.
        scale: centre frequency of the frequential wavelet, cycles a row; 0 for a low-pass.
        rows: first-order bands that the block covers (its first axis).
        frames: instants (its second axis).
    """

    pair: str
    n_time: int
    n_freq: int
    spin: int
    rate: float
    scale: float
    rows: int
    frames: int


def path_table(paths: list[Path], Q: int) -> pd.DataFrame:
    """The paths in the order of S, one row each, with the offset of their first coefficient.

    Columns: those of :class:`Path`, with ``scale`` in cycles/octave (``Q`` rows an octave) instead of cycles a row,
    and ``offset``; within a block, time runs fastest.
    """
    table = pd.DataFrame(paths)
    table["scale"] *= Q
    sizes = table.rows * table.frames
    table["offset"] = sizes.cumsum() - sizes
    return table
