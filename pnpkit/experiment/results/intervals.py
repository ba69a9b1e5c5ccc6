"""How sure a difference or a ratio of two rows is, over few seeds: the statistics that verdicts follow from."""

import math

import numpy as np

from pnpkit._extras import extra

with extra("experiment", "a verdict"):
    from scipy import stats

PAPER_SEEDS = 3  # if the printed ± is over seeds, of how many is not said; with four or more one run of ours would do


def welch_interval(a: list[float], b: list[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of ``a`` minus that of ``b``, each a few seeds; None if either has fewer than two.

    Source: Welch, 1947.

    >>> low, high = welch_interval([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    >>> round(low, 2), round(high, 2)
    (-12.27, -7.73)
    """
    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(v, ddof=1)) / len(v) for v in (a, b)]
    difference, variance = float(np.mean(a) - np.mean(b)), sum(parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return difference - half, difference + half


def borrowed_quantiles() -> dict[str, float]:
    """By reading of a printed ±, how many of it a difference of single runs must exceed to be seen at 5 %.

    >>> [round(quantile, 2) for quantile in borrowed_quantiles().values()]
    [1.96, 4.3]
    """
    return {
        "a known deviation over seeds": float(stats.norm.ppf(0.975)),
        f"that of {PAPER_SEEDS} seeds": float(stats.t.ppf(0.975, PAPER_SEEDS - 1)),
    }


def ratio(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """a/b of two independent means with standard deviations, to first order."""
    value = a[0] / b[0]
    return value, value * math.hypot(a[1] / a[0], b[1] / b[0])


def over_printed(ours: float, printed: tuple[float, float], spread: float) -> tuple[float, float, float]:
    """Our ratio over a printed one with its ±, and the 90 % interval of that, normal in the logarithm.

    A perfect predictor, whose ratio is 0, is infinitely far from any that was printed. Both spreads are taken as known:
    of three seeds whose own spread dominates such an interval holds the truth in 81 %; here the printed one does.

    Args:
        ours: our ratio.
        printed: the paper's, and its standard deviation.
        spread: standard error of ours, relative to it.

    Source: Schuirmann, 1987 (two one-sided tests at 5 % are one 90 % interval).

    >>> [round(value, 2) for value in over_printed(0.344, (0.41, 0.15), 0.0)]
    [0.84, 0.46, 1.53]
    """
    factor = math.exp(float(stats.norm.ppf(0.95)) * math.hypot(printed[1] / printed[0], spread))
    value = ours / printed[0]
    return value, value / factor, value * factor
