"""The paper's claims that no row of its table decides: what training costs, and which distance leads home."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from pnpkit.experiment.artefacts import read_json
from pnpkit.experiment.dataset import arpeggio_grid
from pnpkit.experiment.evaluation.directions import WHEN, kept_cosines
from pnpkit.experiment.evaluation.items import bootstrap_interval
from pnpkit.experiment.profiles import get_profile
from pnpkit.experiment.results.claims import PAPER, Claim, graded

SAME_COST = 0.1  # how far from one a ratio of costs may be and still be called equal
BACKPROPAGATION = 200.0  # of Φ over that of the network; GRETSI 2023, section 4
JTFS = "JTFS"


def kept_claims(root: Path) -> list[Claim]:
    """Claims 5 to 7, from what a folder of artefacts keeps: its benchmark and its studies of directions.

    Raises:
        FileNotFoundError: if it lacks either.
    """
    cosines = {when: kept_cosines(root / "matching", when) for when in WHEN}
    return [*cost_claims(read_json(root / "benchmark.json")), stability_claim(cosines)]


def cost_claims(benchmark: Mapping[str, Any]) -> list[Claim]:
    """Claims 5 and 6, from a benchmark's ``training_step`` (see :func:`step_cost.step_costs`) and ``rows``.

    Claim 5 agrees if both PNP losses cost what P costs, to 10 %; partly if one does. Claim 6 agrees if the ratio is
    within a factor of two of the printed one, and is not decided otherwise: it is a property of an implementation of Φ
    and of the machine.
    """
    step = benchmark["training_step"]
    ratios = {name: step["steps"][name] / step["steps"]["p"] for name in ("pnp", "pnp-mean")}
    same = [abs(ratio - 1) <= SAME_COST for ratio in ratios.values()]
    training = Claim(
        5, "training with PNP costs what training with P costs", graded(same),
        f"a step of PNP {ratios['pnp']:.2f}, of regularised PNP {ratios['pnp-mean']:.2f} times one of P",
        "1.5 h each", f"same means within {100 * SAME_COST:.0f} %, metrics at hand; steps in turns in one process",
    )  # fmt: skip
    ratio = step["phi"] / step["network"]
    near = BACKPROPAGATION / 2 <= ratio <= BACKPROPAGATION * 2
    ours = f"network {1e3 * step['network']:.1f}, Φ {1e3 * step['phi']:.0f} ms an item"
    network, phi = paper_costs()
    backpropagation = Claim(
        6, "backpropagation through Φ costs about 200 times the network's", "agrees" if near else "not decided",
        f"{ratio:.1f} times, on one thread of a CPU: {ours}",
        f"≈ {BACKPROPAGATION:.0f}; its hours make {1e3 * network:.1f} and {1e3 * phi:.0f} ms, on a GPU",
        f"a property of the implementation and of the machine: {_speed(benchmark)}",
    )  # fmt: skip
    return [training, backpropagation]


def paper_costs() -> tuple[float, float]:
    """Seconds an item that the paper's hours make: of its network, and of Φ on the way there and back.

    >>> [round(1e3 * seconds, 1) for seconds in paper_costs()]
    [3.6, 666.1]
    """
    run = get_profile("paper").training
    train_items = int((arpeggio_grid(run.grid.n_steps).fold == "train").sum())
    items = run.epochs * (train_items // run.batch_size) * run.batch_size
    p, sp = (3600 * float(PAPER[loss]["hours"].strip("≈ ")) for loss in ("p", "sp"))
    return p / items, (sp - p) / items


def stability_claim(cosines: Mapping[str, Mapping[str, Float[np.ndarray, " guesses"]]]) -> Claim:
    """Claim 7, from how well the steepest descent of each distance points home from the same guesses.

    The claim has two halves for each other distance and each way the sounds may begin, together or not: the descent of
    the JTFS points home better (mean cosine), and more often (share of positive cosines). A half holds if a 95 %
    bootstrap interval of the paired difference lies above zero. Agrees if all halves hold; partly if some do; disagrees
    if none does and one interval lies below zero.

    Args:
        cosines: by when the target begins and by distance, of :func:`pnpkit.landscape.home_cosines`; ``"JTFS"`` and
            another.

    Raises:
        ValueError: if there is nothing to compare, or a cosine is not finite.

    Source: GRETSI 2023, section 3.
    """
    for found in cosines.values():
        if found.keys() <= {JTFS} or JTFS not in found or not all(np.isfinite(c).all() for c in found.values()):
            raise ValueError(f"finite cosines of {JTFS!r} and of another distance are needed, not {sorted(found)}")
    differences = {
        f"{when}, {half} JTFS − {name}": measure(found[JTFS]) - measure(c)
        for when, found in cosines.items()
        for half, measure in (("cosine", np.asarray), ("home", lambda c: (c > 0).astype(float)))
        for name, c in found.items()
        if name != JTFS
    }
    intervals = {name: bootstrap_interval(d) or (-math.inf, math.inf) for name, d in differences.items()}
    above, below = [i[0] > 0 for i in intervals.values()], [i[1] < 0 for i in intervals.values()]
    verdict = graded(above, "disagrees" if any(below) else "not decided")
    ours = []
    for when, found in cosines.items():
        means = (f"{name} {c.mean():.1f} ({100 * (c > 0).mean():.0f} % home)" for name, c in found.items())
        ours += [f"{when}: {', '.join(means)}"]
    guesses = {len(c) for found in cosines.values() for c in found.values()}
    reason = "; ".join(f"{name} [{low:.2f}, {high:.2f}]" for name, (low, high) in intervals.items())
    return Claim(
        7, "the spectrogram's loss is unstable where that of the JTFS is not", verdict,
        f"cosine of steepest descent and the way home, mean over {max(guesses)} guesses; {'; '.join(ours)}",
        "said, no number", reason,
    )  # fmt: skip


def _speed(benchmark: Mapping[str, Any]) -> str:
    """How much longer the direct algorithm takes for the longest sound that both were timed with, forward only."""
    forward = pd.DataFrame(benchmark["rows"]).query("operation == 'forward'")
    seconds = forward.pivot_table("seconds", "n_samples", "algorithm").reindex(columns=["direct", "pnpkit"]).dropna()
    if seconds.empty:
        return "the benchmark has no other to compare it with"
    n, (direct, ours) = seconds.index[-1], seconds.iloc[-1]
    return f"computed directly, Φ of {n} samples takes {direct / ours:.0f} times as long as here"
