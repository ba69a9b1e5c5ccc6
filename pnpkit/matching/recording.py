"""A recording made to fit a synthesiser: its rate, its length, and the beginning where the synthesiser has its own."""

from dataclasses import dataclass

import soxr
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_finite, require_floating
from pnpkit.synth import Synthesiser

FRAME, HOP = 0.010, 0.002  # seconds, of the envelope
AUDIBLE = 10 ** (-30 / 20)  # of the loudest frame: a sound begins
STRONG = 10 ** (-20 / 20)  # of the loudest frame: another one begins, if …
RISE = 2.0  # … it is so many times louder than
HOLD = (0.015, 0.150)  # anything between these many seconds before
FADE = 0.005  # seconds, where a sound is cut off
STEADY = 3.0  # times its deviation: what stands so far from zero is a constant, if it is over …
NOTHING = 1e-6  # … of the peak


@dataclass(frozen=True, eq=False)
class Fitted:
    """A sound of the rate and length of a synthesiser.

    Args:
        x: waveform, float64.
        told: in one line, what was done to it.
        onset: seconds into the recording at which the sound that was taken begins.
        left: how many later ones were not taken.
        part: from which second of the recording to which it was taken; from before 0 where silence was put before it.
    """

    x: Float[Tensor, " n"]
    told: str
    onset: float
    left: int
    part: tuple[float, float]


def fitted(x: Float[Tensor, " m"], rate: float, g: Synthesiser) -> Fitted:
    """Resample a recording, find where its first sound begins, and pad or window it to the length of g's sounds.

    It is placed so that it begins where g's sounds begin; one of their rate and length already stays where it is.
    Where those begin at once, and only once, a second onset ends it.

    Args:
        x: any mono recording.
        rate: of it, in Hz.
        g: the synthesiser.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if its rate is not positive, or it is silent, constant, not finite, not mono, or shorter than a
            hundredth of a second.

    >>> from pnpkit import RectangularDrum
    >>> g = RectangularDrum()
    >>> stroke = torch.exp(-torch.arange(22050.0) / 4000)
    >>> sound = fitted(torch.cat([torch.zeros(11025), stroke]), g.sample_rate, g)
    >>> sound.told
    'begins at 0.500 s, 1.00 of 1.50 s used, padded to 2.97 s'
    """
    require_floating("the recording", x)
    if x.ndim != 1:
        raise ValueError(f"the recording must be mono, (n,), not of shape {tuple(x.shape)}")
    require_finite("the recording", x)
    x = x.detach().cpu().float() if x.itemsize < 4 else x.detach().cpu()
    if not rate > 0:
        raise ValueError(f"the rate of a recording must be positive, not {rate}")
    if len(x) < FRAME * rate:
        raise ValueError(f"the sound lasts {1e3 * len(x) / rate:.2g} ms: {1e3 * FRAME:g} ms are the least")
    if bool((x == x[0]).all()):
        what = f"a constant, {float(x[0]):.3g}" if x[0] else "silent"
        raise ValueError(f"the sound is {what}: there is nothing to match")
    told = []
    if offset := _offset(x, rate):
        x = x - offset
        told += [f"a constant of {offset:.2g} taken off"]
    resampled = x  # in its own precision: an hour is long
    if rate != g.sample_rate:
        resampled = torch.from_numpy(soxr.resample(x.numpy(), rate, g.sample_rate, quality="VHQ"))
    n, begins = g.n_samples, onsets(resampled, g.sample_rate)
    if rate == g.sample_rate and len(x) == n:
        told += ["of the synthesiser's rate and length"]
        return Fitted(x.double(), ", ".join(told), begins[0] / rate, 0, (0.0, n / rate))
    own, struck = _habits(g)
    first = begins[0] - own
    last = first + n
    if struck and len(begins) > 1:
        last = min(last, begins[1] - round(HOLD[0] * g.sample_rate))
    left = sum(b >= last for b in begins[1:])
    lead = max(-first, 0)  # zeros before it, where it begins later than g's
    kept = resampled[max(first, 0) : last].to(torch.float64, copy=True)
    fade = min(len(kept), round(FADE * g.sample_rate))
    if last < len(resampled) or float(kept[-1].abs()) > 1e-3 * float(kept.abs().max()):
        kept[len(kept) - fade :] *= torch.cos(torch.linspace(0, torch.pi / 2, fade, dtype=kept.dtype)).square()
    whole = torch.zeros(n, dtype=torch.float64)
    whole[lead : lead + len(kept)] = kept[: n - lead]
    told += [f"{rate:g} Hz brought to {g.sample_rate}"] if rate != g.sample_rate else []
    told += [f"begins at {begins[0] / g.sample_rate:.3f} s"]
    told += [f"the first of {len(begins)} onsets taken, {left} left"] if left else []
    told += [f"{len(kept) / g.sample_rate:.2f} of {len(resampled) / g.sample_rate:.2f} s used"]
    told += [f"padded to {n / g.sample_rate:.2f} s"] if len(kept) < n else []
    part = first / g.sample_rate, last / g.sample_rate
    return Fitted(whole, ", ".join(told), begins[0] / g.sample_rate, left, part)


def onsets(x: Float[Tensor, " n"], rate: float) -> list[int]:
    """Samples at which something begins: the first that is audible, then every rise over what was there just before.

    >>> pulse = torch.exp(-torch.arange(4000.0) / 200)
    >>> onsets(torch.cat([torch.zeros(1000), pulse, pulse]), 4000.0)
    [1000, 5000]
    """
    frame, hop = max(2, round(FRAME * rate)), max(1, round(HOP * rate))
    padded = torch.nn.functional.pad(x.abs(), (0, frame))
    level = torch.nn.functional.avg_pool1d(padded.square().expand(1, 1, -1), frame, hop)[0, 0].double().sqrt()
    loudest = float(level.max())
    audible = level >= AUDIBLE * loudest
    starts = [int(audible.nonzero()[0])]
    near, far = (round(seconds / HOP) for seconds in HOLD)
    held = torch.nn.functional.max_pool1d(torch.nn.functional.pad(level, (far, 0)).expand(1, 1, -1), far - near + 1, 1)
    rising = (level >= STRONG * loudest) & (level >= RISE * held[0, 0, : len(level)])
    for k in rising.nonzero().flatten().tolist():
        if k - starts[-1] > far:
            starts.append(k)
    return [_attack(padded, k * hop, frame) for k in starts]


def _offset(x: Tensor, rate: float) -> float:
    """A constant in a recording: the mean of its quietest twentieth, if that hardly moves. A sound has a mean, too."""
    frame = max(2, round(FRAME * rate))
    frames = x[: len(x) // frame * frame].reshape(-1, frame)
    if not len(frames):
        return 0.0
    quiet = frames[frames.std(1).argsort()[: max(2, len(frames) // 20)]]
    offset = float(quiet.mean())
    return offset if abs(offset) > max(STEADY * float(quiet.std()), NOTHING * float(frames.norm(torch.inf))) else 0.0


def _attack(magnitude: Tensor, start: int, frame: int) -> int:
    """Where within a frame's reach a sound begins: its first sample above a tenth of its peak there."""
    near = magnitude[start : start + 2 * frame]
    return start + int((near >= near.max() / 10).nonzero()[0])


def _habits(g: Synthesiser) -> tuple[int, bool]:
    """At which sample the sounds of a synthesiser begin, and whether all of them begin at once, and only once."""
    u = torch.linspace(-1, 1, 5, dtype=torch.float64).unsqueeze(-1).expand(-1, len(g.parameters))
    with torch.no_grad():
        begins = [onsets(x, g.sample_rate) for x in g(g.parameters.decode(u, "logminmax")) if x.any()]
    struck = all(len(b) == 1 and b[0] < HOLD[1] * g.sample_rate for b in begins)
    return int(torch.tensor([b[0] for b in begins]).median()), struck
