"""A synthesiser in the world: at some level, some time late."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.synth import Parameter, ParameterSpace, Synthesiser


@dataclass(frozen=True)
class Placed:
    r"""The sounds of a synthesiser, at a level and a delay that are parameters too.

    .. math:: x(t) = 10^{L/20} \, g(\theta)(t - \tau)

    The delay is a phase ramp over twice the length, so it takes any fraction of a sample, either sign, and what
    leaves the window is lost, not wrapped around. θ has the synthesiser's parameters first, then L, then τ.

    Args:
        g: the synthesiser, its gain's gradient attached.
        level: L, whether it is a parameter, and the largest in either direction, in dB; 0 for none.
        delay: τ, likewise, in seconds, at most the length of the sounds; 0 for none.

    Raises:
        ValueError: if a range is negative, or the delay is longer than the sounds: they would wrap around.

    >>> from pnpkit.synth import Arpeggio
    >>> Placed(Arpeggio(), level=20.0, delay=0.5).parameters.names
    ('f_c', 'f_m', 'gamma', 'level', 'delay')
    """

    g: Synthesiser
    level: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        longest = self.n_samples / self.sample_rate
        for name, value, most in (("level", self.level, math.inf), ("delay", self.delay, longest)):
            if not 0 <= value <= most:
                raise ValueError(f"the range of the {name} must be from 0 to {most:g}, not {value}")

    @property
    def parameters(self) -> ParameterSpace:
        """Those of the synthesiser, ``level`` in dB, ``delay`` in seconds."""
        extra = [Parameter("level", "L", "dB", -self.level, self.level)] if self.level else []
        extra += [Parameter("delay", r"\tau", "s", -self.delay, self.delay)] if self.delay else []
        return ParameterSpace((*self.g.parameters.parameters, *extra))

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.g.sample_rate

    @property
    def n_samples(self) -> int:
        """Length of x."""
        return self.g.n_samples

    def __call__(self, theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch n"]:
        """The waveform of each θ, placed."""
        d = len(self.g.parameters)
        x, rest = self.g(theta[..., :d]), list(theta[..., d:].unbind(-1))
        if self.level:
            x = x * torch.exp(rest.pop(0) * (math.log(10) / 20)).unsqueeze(-1)
        return delayed(x, rest.pop(0) * self.sample_rate) if self.delay else x

    def parts(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, " d"], float, float]:
        """θ of the synthesiser, level and delay; those that are no parameters are 0."""
        d, rest = len(self.g.parameters), theta[len(self.g.parameters) :].tolist()
        return theta[:d], rest.pop(0) if self.level else 0.0, rest.pop(0) if self.delay else 0.0

    def whole(self, theta: Float[Tensor, " d"], level: float, delay: float) -> Float[Tensor, " p"]:
        """The θ that has these :meth:`parts`; without those that are no parameters."""
        return torch.cat([theta, theta.new_tensor([level] * bool(self.level) + [delay] * bool(self.delay))])


def after_silence(x: Float[Tensor, " n"], samples: int) -> Float[Tensor, " m"]:
    """x with so many zeros before it; of a negative number, without as many samples."""
    return torch.nn.functional.pad(x, (samples, 0))


def delayed(x: Float[Tensor, "*batch n"], samples: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch n"]:
    """x so many samples later, by a phase ramp; zeros come in at the side it leaves."""
    n = x.shape[-1]
    ramp = torch.fft.rfftfreq(2 * n, dtype=x.dtype, device=x.device) * (-2 * math.pi)
    spectrum = torch.fft.rfft(x, n=2 * n) * torch.polar(torch.ones_like(ramp), samples.unsqueeze(-1) * ramp)
    return torch.fft.irfft(spectrum, n=2 * n)[..., :n]
