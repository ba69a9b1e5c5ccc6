"""Where a sound's spectrum has its peaks, and which drums have their partials there."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pnpkit.synth.parameters import ParameterSpace

STRONG = 10 ** (-10 / 20)  # of the highest peak of a spectrum
CELL = 0.006  # of a frequency: how exactly a partial's place is asked for
AROUND = 51  # cells: what is a peak stands out from so many
FLOOR = 1e-4  # of the highest peak
TRIED = (200, 160)  # values of α and of D
LIKELY = 24  # of the drums tried


def likely_drums(
    x: Float[Tensor, " n"], rate: float, space: ParameterSpace, modal: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
) -> dict[str, Float[Tensor, " likely"]]:
    r"""Drums whose partials are where the spectrum of a sound has its peaks, the likeliest first: ω, D and α by name.

    ω is that of the lowest strong peak. D and α are local maxima, over a grid, of how far the spectrum at the partials
    stands out from what is around, each partial with the weight that its amplitude has at the blow:

    .. math:: \sum_m \sqrt{a_m}\, \ell(\omega_m) \Big/ \sqrt{\textstyle\sum_m a_m}, \qquad
              \ell = \log|\hat x| - \langle\log|\hat x|\rangle

    How partials decay is not asked.

    Args:
        x: the sound, at any level, however late.
        rate: in Hz.
        space: of the drum's θ.
        modal: frequency in rad/s, decay and amplitude of each of its modes.
    """
    low, high = ({n: float(v) for n, v in zip(space.names, end, strict=True)} for end in (space.low, space.high))
    f0 = lowest_peak(x, rate, low["omega"] / (2 * math.pi), high["omega"] / (2 * math.pi))
    first = 0.9 * f0
    stands_out = _peaks(x, rate, first)
    alpha = torch.linspace(max(low["alpha"], 0.01), high["alpha"], TRIED[0], dtype=torch.float64).unsqueeze(-1)
    D = low["D"] + (high["D"] - low["D"]) * torch.linspace(0, 1, TRIED[1], dtype=torch.float64).square()
    omega = 2 * math.pi * f0
    known = {"omega": omega, "tau": high["tau"], "p": low["p"], "D": D, "alpha": alpha}
    columns = [torch.as_tensor(known[n], dtype=torch.float64).expand(TRIED) for n in space.names]
    frequency, _, amplitude = modal(torch.stack(columns, -1))
    cell = ((frequency / (2 * math.pi * first)).log() / math.log1p(CELL)).long()
    weight = amplitude.sqrt() * (cell < len(stands_out))
    score = (weight * stands_out[cell.clamp_max(len(stands_out) - 1)]).sum(-1) / weight.square().sum(-1).sqrt()
    highest = F.max_pool2d(score[None, None], 5, 1, 2)[0, 0]
    at = torch.where(score == highest, score, -math.inf).flatten().argsort(descending=True)[:LIKELY]
    i, j = at // TRIED[1], at % TRIED[1]
    return {"omega": torch.full((len(at),), omega, dtype=D.dtype), "D": D[j], "alpha": alpha[i, 0]}


def lowest_peak(x: Float[Tensor, " n"], rate: float, low: float, high: float) -> float:
    """Frequency of the lowest local maximum of the spectrum that is within 10 dB of the highest, both in a range, Hz.

    >>> t = torch.arange(4096, dtype=torch.float64) / 4096
    >>> round(lowest_peak(torch.sin(2 * torch.pi * 65 * t) + torch.sin(2 * torch.pi * 300 * t), 4096, 40, 1000))
    65
    """
    x = x.double().cpu()
    spectrum = torch.fft.rfft(x * torch.linspace(1, 0, len(x), dtype=torch.float64), n=2 * len(x)).abs()
    f = torch.fft.rfftfreq(2 * len(x), 1 / rate)
    inner = spectrum[1:-1]
    peaks = (inner >= spectrum[:-2]) & (inner >= spectrum[2:]) & (f[1:-1] >= low) & (f[1:-1] <= high)
    strong = peaks & (inner >= STRONG * inner[(f[1:-1] >= low) & (f[1:-1] <= high)].max())
    at = strong.nonzero()
    return float(f[1 + int(at[0])]) if len(at) else (low * high) ** 0.5


def _peaks(x: Float[Tensor, " n"], rate: float, first: float) -> Float[Tensor, " cells"]:
    """By how much the logarithm of the spectrum stands out, in cells of equal ratio from a frequency, in Hz, on."""
    x = x.double().cpu()
    n = 2 ** math.ceil(math.log2(max(len(x), rate / (CELL * first))))  # a bin a cell, at least
    spectrum = torch.fft.rfft(x, n=n).abs()
    f = torch.arange(1, len(spectrum), dtype=torch.float64) * rate / n
    cells = int(math.log(rate / 2 / first) / math.log1p(CELL))
    cell = ((f / first).log() / math.log1p(CELL)).floor().long()
    there = (cell >= 0) & (cell < cells)
    level = torch.zeros(cells, dtype=torch.float64).scatter_reduce(0, cell[there], spectrum[1:][there], "amax")
    level = (level / level.max().clamp_min(1e-300) + FLOOR).log()[None]
    near = F.max_pool1d(level, 3, 1, 1)
    return (near - F.avg_pool1d(near, AROUND, 1, AROUND // 2, count_include_pad=False))[0]
