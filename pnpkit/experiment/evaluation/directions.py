"""Claim 7's studies: from guesses at random, how well the steepest descent of each distance points at the truth."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pnpkit.distances import ddsp_mss_distance, jtfs_distance, mss_distance
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.evaluation.study import Study, read_study
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.profiles import get_profile
from pnpkit.landscape import home_cosines

# By when the target begins: the study, and s
WHEN = {"together": ("directions", 0.0), "300 ms late": ("directions-late", 0.3)}
PAIRS, SEED = 40, 0


@cache
def problem() -> Problem:
    """The paper's, derivatives following the gain."""
    return get_problem(get_profile("paper").training.grid).with_gain("attached")


def judges(when: str = "together") -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The distances that are compared, by name, the target so late."""
    jtfs, samples = problem().jtfs, round(WHEN[when][1] * problem().synth.sample_rate)
    known = {"JTFS": lambda x, y: jtfs_distance(x, y, jtfs), "MSS": mss_distance, "MSS, text": ddsp_mss_distance}
    return {name: partial(_late, distance, samples) for name, distance in known.items()}


def _late(distance: Callable[[Tensor, Tensor], Tensor], samples: int, x: Tensor, y: Tensor) -> Tensor:
    return distance(x, y.roll(samples, -1))


@cache
def pairs() -> tuple[Float[Tensor, "pairs d"], Float[Tensor, "pairs d"]]:
    """Sounds of the test fold, and the parameters of train sounds as guesses for them, drawn from the seed."""
    rng, table, space = np.random.default_rng(SEED), problem().table, problem().space
    folds = [theta_of(table[table.fold == fold], space) for fold in ("test", "train")]
    truth, guess = (theta[rng.choice(len(theta), PAIRS, replace=False)] for theta in folds)
    return truth, guess


def direction(when: str, item: int) -> list[dict[str, Any]]:
    """The cosine of each distance for one pair."""
    truth, guess = (theta[item : item + 1] for theta in pairs())
    return [{name: c[0] for name, c in home_cosines(problem().synth, judges(when), truth, guess).items()}]


def studies() -> list[Study]:
    """All pairs, together and not."""
    config = {"gain": "attached", "seed": SEED, "pairs": PAIRS, "coordinates": "logminmax"}
    return [
        Study(name, config | ({"late": late} if late else {}), tuple(range(PAIRS)), partial(direction, when))
        for when, (name, late) in WHEN.items()
    ]


def kept_cosines(folder: Path, when: str = "together") -> dict[str, Float[np.ndarray, " pairs"]]:
    """The cosines of a study in a folder of studies, by distance.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a file is not what was written; names it.
    """
    rows = read_study(folder / WHEN[when][0]).set_index("item")
    return {name: rows[name].to_numpy() for name in judges()}
