"""The metrics of a data set in memory, and what makes each of them a metric."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pnpkit._names import require_known
from pnpkit.metric import spectrum

GAINS = ("detached", "attached")
NEGATIVE = 1e-9  # how negative an eigenvalue may be, relative to the largest


@dataclass(frozen=True)
class MetricTable:
    """The metrics of a data set, all of them, in the order of the ids.

    Args:
        theta: (n, d), raw units.
        provenance: of the store.
    """

    theta: Tensor
    provenance: dict[str, Any]
    _M: Tensor

    def metric(self, gain: str = "detached") -> Tensor:
        """All metrics, (n, d, d), float64, raw units.

        Raises:
            ValueError: if ``gain`` is neither ``"detached"`` nor ``"attached"``.
        """
        require_known("gain", gain, GAINS)
        return self._M[:, GAINS.index(gain)]


def check_metrics(path: Path, table: MetricTable) -> None:
    """Check that each matrix is a metric: symmetric to the last bit, no eigenvalue below −1e-9 of its largest.

    Raises:
        ValueError: if one is not; names the path, the ids and what they break.
    """
    for gain in GAINS:
        M = table.metric(gain)
        eigenvalues = spectrum(M)
        for wrong, what in (
            ((M.mT != M).flatten(1).any(1), "is not symmetric"),
            (~(eigenvalues[:, 0] >= -NEGATIVE * eigenvalues[:, -1]), "has a negative eigenvalue"),
        ):
            if ids := wrong.nonzero().flatten().tolist():
                some = ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
                raise ValueError(f"{path}: M ({gain}) {what} at id {some}")
