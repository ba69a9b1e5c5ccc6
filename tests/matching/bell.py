"""A synthesiser of the tests: a decaying partial, short, cheap, and none of the package's own."""

import math
from dataclasses import dataclass
from functools import cache

import torch

from pnpkit.jtfs import JTFS, Phi
from pnpkit.synth import Parameter, ParameterSpace

N = 4096


@dataclass(frozen=True)
class Bell:
    """Struck at a quarter of its length; ``warp`` makes another synthesiser of it."""

    warp: float = 0.0
    sample_rate = 4096
    n_samples = N
    parameters = ParameterSpace(
        (Parameter("f", "f", "Hz", 300.0, 900.0, "log"), Parameter("tau", r"\tau", "s", 0.03, 0.15, "log"))
    )

    def __call__(self, theta):
        f, tau = (p.unsqueeze(-1) for p in theta.unbind(-1))
        t = (torch.arange(N).to(theta) - N // 4) / self.sample_rate
        rising = torch.sigmoid(t * 400)
        return rising * torch.exp(-t.clamp_min(-0.05) / tau) * torch.sin(2 * math.pi * f * (t + self.warp * t**2))

    def log_gain_gradient(self, theta):
        return torch.zeros_like(theta)


@dataclass(frozen=True)
class Square(Bell):
    """Whose samples are at their peak by nature."""

    def __call__(self, theta):
        return super().__call__(theta).clamp(-0.2, 0.2)


class SYSTEM:
    """As the command line takes it: ``bell.py:SYSTEM``."""

    variants = {"code": Bell()}  # noqa: RUF012

    @staticmethod
    def jtfs(_n):
        return operator()


@cache
def operator():
    return JTFS(6, 4, J_fr=3, T=1024, n_samples=N)


phi = Phi(operator())


def drawn(n, seed=0):
    """Parameters in the inner half of the ranges."""
    u = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return Bell.parameters.decode(u, "logminmax")
