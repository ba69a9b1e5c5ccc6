"""The descriptor Φ: scattering coefficients, compressed by a logarithm."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pnpkit.jtfs.operator import JTFS

EPS = 1e-3  # ε of Φ: GRETSI 2023, Eq (9)


def log_compress(S: Float[Tensor, "*batch k"], eps: float = EPS) -> Float[Tensor, "*batch k"]:
    r"""Perceptual descriptor Φ from scattering coefficients: :math:`\Phi = \log(1 + S/\varepsilon)`.

    Args:
        S: coefficients, not negative up to rounding.
        eps: ε > 0, in the unit of S; the authors' is about the median of S over the data set.

    Raises:
        ValueError: if ε is not positive.

    Source: GRETSI 2023, Eq (9).

    >>> log_compress(torch.tensor([0.0, 1e-3]))
    tensor([0.0000, 0.6931])
    """
    _require_positive(eps)
    return torch.log1p(S / eps)


class Phi(nn.Module):
    r"""Perceptual descriptor of a waveform in one object: scattering, then compression.

    .. math:: \Phi(x) = \log(1 + S(x)/\varepsilon)

    Args:
        jtfs: the scattering operator, x → S.
        eps: ε > 0, in the unit of S, as in :func:`log_compress`.

    Raises:
        ValueError: if ε is not positive.

    Source: GRETSI 2023, Eq (9).

    >>> phi = Phi.reference(2**15)
    >>> phi(torch.zeros(2, 2**15)).shape, len(phi.paths)
    (torch.Size([2, 16018]), 288)
    """

    def __init__(self, jtfs: JTFS, eps: float = EPS) -> None:
        super().__init__()
        if not callable(jtfs):
            raise TypeError(f"jtfs is an operator, x → S, not {jtfs!r}: Phi.reference(n_samples) has the authors'")
        _require_positive(eps)
        self.jtfs, self.eps = jtfs, eps

    @classmethod
    def reference(cls, n_samples: int) -> "Phi":
        """The authors' Φ, for waveforms of that length: :meth:`JTFS.reference` and ε = 10⁻³."""
        return cls(JTFS.reference(n_samples))

    @property
    def paths(self) -> pd.DataFrame:
        """What each coefficient measures, as in :attr:`JTFS.paths`."""
        return self.jtfs.paths

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
        """Φ of each waveform; takes and refuses what :meth:`JTFS.forward` does."""
        return log_compress(self.jtfs(x), self.eps)


def _require_positive(eps: float) -> None:
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}")
