"""The AM/FM arpeggio of the GRETSI 2023 paper: an exponential chirp, gated by amplitude modulation."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import is_whole, somewhere
from pnpkit._names import require_known
from pnpkit.synth.parameters import Parameter, ParameterSpace


@dataclass(frozen=True)
class Arpeggio:
    r"""Synthesiser g of the paper, in two variants.

    ``variant="code"``, the headline, is what the authors ran:

    .. math:: x(t) = \gamma \, \sin\!\Big(2\pi f_c \frac{2^{\gamma t}-1}{\gamma\ln 2}\Big)
              \sin(2\pi f_m t) \, \exp\!\Big(-\frac{(t + t_0)^2}{2 (0.2/\gamma)^2}\Big)

    over t = −2 … 2 s, the Gaussian half a sample early (:math:`t_0` = 1/16384 s), as theirs was.

    ``variant="paper"`` is Eqs (6)–(8) as printed, in which the sum over k of half-periods is a half-wave rectified
    sine and the phases telescope to one chirp:

    .. math:: x(t) = \frac{1}{\gamma} \frac{e^{-(\gamma t)^2/2}}{\sqrt{2\pi}}
              \max(0, \sin 2\pi f_m t) \cos\!\Big(2\pi f_c \frac{2^{\gamma t}}{\gamma\ln 2}\Big)

    Args:
        variant: ``"code"`` or ``"paper"``.
        detach_gain: whether derivatives ignore the leading factor γ (or 1/γ), as in the authors' code, where it
            passed through ``float()``.
        n_samples: length of the waveform, centred on t = 0.

    Raises:
        ValueError: if the variant is unknown or ``n_samples`` is not a positive even number.

    Source: GRETSI 2023, Eqs (6)–(8).

    >>> Arpeggio()(torch.tensor([740.0, 8.7, 1.7])).shape
    torch.Size([32768])
    """

    variant: Literal["code", "paper"] = "code"
    detach_gain: bool = True
    n_samples: int = 2**15

    sample_rate: ClassVar[int] = 8192
    parameters: ClassVar[ParameterSpace] = ParameterSpace(
        (
            Parameter("f_c", "f_c", "Hz", 512.0, 1024.0, "log"),
            Parameter("f_m", "f_m", "Hz", 4.0, 16.0, "log"),
            Parameter("gamma", r"\gamma", "octave/s", 0.5, 4.0, "log"),
        )
    )

    def __post_init__(self) -> None:
        require_known("variant", self.variant, ("code", "paper"))
        if not is_whole(self.n_samples) or self.n_samples < 2 or self.n_samples % 2:
            raise ValueError(f"n_samples must be a positive even number, not {self.n_samples}")

    def time(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Instants of the samples in seconds, zero at the sample of index ``n_samples // 2``."""
        half = self.n_samples // 2
        return torch.arange(-half, half, dtype=dtype, device=device) / self.sample_rate

    def log_gain_gradient(self, theta: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Gradient of the logarithm of the gain, γ or 1/γ, per unit of θ; zero unless ``detach_gain`` leaves it out."""
        if not self.detach_gain:
            return torch.zeros_like(theta)
        power = 1 if self.variant == "code" else -1
        return torch.nn.functional.pad(power / theta[..., 2:], (2, 0))

    def __call__(self, theta: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch n"]:
        """Waveform of each θ = (f_c in Hz, f_m in Hz, γ in octave/s), in the dtype and on the device of θ.

        It is computed in float64 whatever θ comes in: the phase reaches 1e5 rad, where float32 keeps two decimals.

        Raises:
            ValueError: if θ is not finite, not of shape (…, 3), or γ = 0 in the paper's variant (which divides by it).
        """
        self.parameters.check(theta)
        f_c, f_m, gamma = (p.unsqueeze(-1) for p in theta.double().unbind(-1))
        t = self.time(device=theta.device)
        gain = gamma.detach() if self.detach_gain else gamma
        phase = 2 * math.pi * f_c * t * _expm1_ratio(gamma * math.log(2) * t)
        if self.variant == "code":
            window = torch.exp(-((t + 0.5 / self.sample_rate) * gamma / 0.2).square() / 2)
            return (gain * torch.sin(phase) * torch.sin(2 * math.pi * f_m * t) * window).to(theta.dtype)
        if somewhere(theta[..., 2] == 0):
            raise ValueError("gamma must not be 0: the paper's Eq (6) divides by it")
        window = torch.exp(-(t * gamma).square() / 2) / math.sqrt(2 * math.pi)
        gate = torch.relu(torch.sin(2 * math.pi * f_m * t))
        # Eq (8) starts its phase at K = 2π f_c/(γ ln 2); expm1 took it away, so it is put back here.
        carrier = torch.cos(phase + 2 * math.pi * f_c / (gamma * math.log(2)))
        return (window / gain * gate * carrier).to(theta.dtype)


def _expm1_ratio(a: Tensor) -> Tensor:
    """(eᵃ − 1)/a, with its limit 1 + a/2 at a = 0 so that value and derivatives hold there too."""
    small = a.abs() < 1e-6
    safe = torch.where(small, torch.ones_like(a), a)
    return torch.where(small, 1 + a / 2, torch.expm1(safe) / safe)
