"""What is in a recording besides the sound: its noise, and a mask that keeps where the sound is."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

FRAMES = 32  # windows a sound's length holds, without overlap
OVERLAP = 4  # hops a window: squared Hann windows then add up to a constant, 3/2
QUIET = 0.25  # quantile over time at which a bin's noise is read: a sound may fill three quarters of the time
LEAST = 0.5  # share of the time a recording must fill for a quiet part to be sought in it
BROAD = 65  # bins of the running median over frequency: a partial that never stops is no noise
OWN = 2023  # beside the seed, of a match's own chance
FAINT = 1e-5  # a noise whose amplitude is below this share of the sound's, −100 dB, is rounding


def stream(seed: int) -> torch.Generator:
    """Chance of a match's own: whoever made its sound, or the noise in it, may have used a generator of that seed."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, OWN)).generate_state(1)[0]))


@dataclass(frozen=True, eq=False)
class Noise:
    """Stationary Gaussian noise.

    Args:
        power: its power spectrum at the bins of :func:`stft`, the variance of a sample if it is white.
        n: length of the sounds that it is in.
    """

    power: Float[Tensor, " bins"]
    n: int

    @classmethod
    def white(cls, deviation: float, n: int, device: torch.device | None = None) -> "Noise":
        """White noise of a standard deviation."""
        return cls(torch.full((OVERLAP * hop_of(n) // 2 + 1,), deviation**2, dtype=torch.float64, device=device), n)

    @classmethod
    def estimate(cls, x: Float[Tensor, " n"]) -> "Noise":
        """From the quiet frames: a low quantile over time of each bin, then a running median over frequency.

        In noise alone the power of a bin is exponentially distributed, and its q-quantile −log(1 − q) times its mean.
        Frames of digital silence, and those at the ends, which zeros were joined to, do not count. A recording that is
        mostly digital silence is taken to be all sound: no noise is read off its decay.
        """
        power = stft(x.double()).abs().square()[OVERLAP:-OVERLAP]
        sounding = power.sum(-1) > 0
        if sounding.double().mean() < LEAST:
            return cls.white(0.0, x.shape[-1])
        power = power[sounding]
        window = _window(x.shape[-1]).square().sum()
        level = power.quantile(QUIET, 0) / (-math.log1p(-QUIET) * window)
        width = min(BROAD, (len(level) - 1) // 2 * 2 + 1)
        wide = pad(level.expand(1, 1, -1), (width // 2, width // 2), mode="reflect")[0, 0]
        return cls(wide.unfold(0, width, 1).median(-1).values, x.shape[-1])

    @property
    def deviation(self) -> float:
        """Standard deviation of a sample."""
        return math.sqrt(float(self.power.mean()))

    def scaled(self, gain: float) -> "Noise":
        """This noise, so many times louder."""
        return Noise(self.power * gain**2, self.n)

    def amplitude(self, bins: int) -> Float[Tensor, " bins"]:
        """Root of its power at so many equally spaced frequencies, zero to Nyquist."""
        fine = torch.nn.functional.interpolate(self.power.expand(1, 1, -1), bins, mode="linear", align_corners=True)
        return fine[0, 0].sqrt()

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count n"]:
        """So many samples of it, float64."""
        white = torch.randn(count, self.n, generator=generator, dtype=torch.float64)
        return torch.fft.irfft(torch.fft.rfft(white.to(self.power)) * self.amplitude(self.n // 2 + 1), n=self.n)


@dataclass(frozen=True, eq=False)
class Mask:
    """A linear filter that varies in time: the short-time spectrum times a gain between 0 and 1.

    Args:
        gain: of each frame and bin of :func:`stft`.
    """

    gain: Float[Tensor, "frames bins"]

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """x where the mask lets it through, in its dtype."""
        hop = hop_of(n := x.shape[-1])
        frames = torch.fft.irfft(stft(x) * self.gain.to(x), n=OVERLAP * hop) * _window(n).to(x)
        pieces = frames.unflatten(-1, (OVERLAP, hop)).unbind(-2)
        whole = sum(pad(p.flatten(-2), (i * hop, (OVERLAP - 1 - i) * hop)) for i, p in enumerate(pieces))
        assert isinstance(whole, Tensor)
        return whole[..., (OVERLAP - 1) * hop :][..., :n] / 1.5

    @classmethod
    def of_sound(cls, x: Float[Tensor, " n"], noise: Noise) -> "Mask":
        """Where a noisy sound stands out: Wiener's gain of its smoothed spectrogram, twice the noise taken off."""
        power = stft(x.double()).abs().square()
        power = avg_pool2d(power.expand(1, 1, -1, -1), 5, 1, 2, count_include_pad=False)[0, 0]
        return cls((power - 2 * _floor(noise)).clamp_min(0) / power.clamp_min(1e-300))

    @classmethod
    def of_model(cls, x: Float[Tensor, " n"], noise: Noise) -> "Mask":
        """Where a clean sound is louder than a noise: Wiener's gain."""
        power = stft(x.double()).abs().square()
        return cls(power / (power + _floor(noise)).clamp_min(1e-300))


def noise_in(x: Tensor, noise: str | float | None) -> Noise | None:
    """The noise assumed; None where it is rounding."""
    if noise is None:
        return None
    if isinstance(noise, str):
        if noise != "estimate":
            raise ValueError(f"noise must be 'estimate', a number or None, not {noise!r}")
        assumed = Noise.estimate(x)
    else:
        if not 0 <= noise < math.inf:
            raise ValueError(f"the noise's standard deviation must be finite and not negative, not {noise}")
        assumed = Noise.white(noise, x.shape[-1], x.device)
    power = float(x.double().square().mean())
    if assumed.deviation**2 > power / 2:
        raise ValueError(
            f"the noise ({assumed.deviation:.3g} rms) is louder than the sound ({power**0.5:.3g} rms, both together)"
        )
    return assumed if assumed.deviation > FAINT * power**0.5 else None


def stft(x: Float[Tensor, "*batch n"]) -> Tensor:
    """Spectra of windows of n/32 samples, four a window's length; (…, frames, bins), plain enough for jets."""
    hop = hop_of(n := x.shape[-1])
    blocks = pad(x, ((OVERLAP - 1) * hop, (OVERLAP - 1) * hop + -n % hop)).unflatten(-1, (-1, hop))
    count = blocks.shape[-2] - OVERLAP + 1
    frames = torch.cat([blocks[..., i : i + count, :] for i in range(OVERLAP)], -1)
    return torch.fft.rfft(frames * _window(n).to(x))


def hop_of(n: int) -> int:
    """Samples between two windows of :func:`stft`."""
    return max(1, n // FRAMES // OVERLAP)


def _window(n: int) -> Tensor:
    return torch.hann_window(OVERLAP * hop_of(n), dtype=torch.float64)


def _floor(noise: Noise) -> Tensor:
    """Mean power of the noise in a bin of :func:`stft`."""
    return noise.power * _window(noise.n).square().sum()
