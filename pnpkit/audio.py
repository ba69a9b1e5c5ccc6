"""Sounds read from any file, and written for the page and for disk: the same bytes at every execution."""

import base64
import html
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_finite, require_not_flat

PEAK = 0.9  # of full scale: room for the resampling of the browser
UNKNOWN = 2**63 - 1  # frames, says libsndfile of a header without a length
STREAMED = 0x7FFF0000  # bytes, or more, says the header of a stream, whose writer did not know
SLACK = 16  # bytes by which writers miscount
LONGEST = 3600  # seconds: what is longer is no sound to be matched
BLOCK = 2**14  # frames read at once
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "ALAC_16": 16}  # that samples are rounded to; more are as good as none
QUIET = 1e-3  # of its own peak: what is below, before and after, is silence
AROUND = 0.2  # seconds of silence that a player keeps


Source = Path | str | io.BytesIO


def read_sound(source: Source) -> tuple[Float[Tensor, " n"], int]:
    """Read a sound, mixed to mono: WAV, FLAC, OGG, MP3 or AIFF of any rate, depth and number of channels.

    The header is checked before anything is read, as a file may claim ten hours; more than one is refused. Then it is
    read block by block, and no more than the mix is held.

    Args:
        source: a file, the bytes of one, or ``-`` for standard input.

    Returns:
        Waveform, float32, full scale at 1; and its sample rate in Hz.

    Raises:
        ValueError: in one line naming the file, if it is no regular file, no sound, cut off, empty, one sample, longer
            than an hour, silent or not finite.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "x.wav")
    ...     _ = path.write_bytes(wav_bytes(torch.tensor([0.0, 0.5, -1.0]), 8192))
    ...     read_sound(path)
    (tensor([ 0.0000,  0.4500, -0.9000]), 8192)
    """
    with _opened(source) as (name, sound):
        frames, rate = sound.frames, sound.samplerate
        if frames == UNKNOWN:
            raise ValueError(f"{name} does not say how long it is, as one written to a pipe: convert it again")
        if frames > LONGEST * rate:
            raise ValueError(f"{name} lasts {frames / rate / 3600:.1f} hours: an hour is the most that is read")
        mix, n, wrong, peak = np.empty(frames, np.float32), 0, 0, 0.0
        while len(block := sound.read(min(BLOCK, frames - n), dtype="float32", always_2d=True)):
            wrong += int((~np.isfinite(block)).sum())
            peak = max(peak, float(np.abs(block).max()))
            mix[n : n + len(block)] = 0 if wrong else block.mean(1)
            n += len(block)
        samples, step = n * sound.channels, _step(sound)
    if 0 < n < 0.9 * frames:  # of an MP3 they may be estimated
        raise ValueError(f"{name} is cut off: {n} of its {frames} samples are there")
    if n < 2:
        raise ValueError(f"{name} is empty" if not n else f"{name} has one sample: that is no sound")
    if wrong:
        raise ValueError(f"{name} must be finite: {wrong} of its {samples} samples are NaN or infinite")
    if not peak:
        raise ValueError(f"{name} is silent: there is nothing to match")
    if max(mix[:n].max(), -mix[:n].min()) < max(1e-6 * peak, min(1.01 * step, peak / 4)):  # x and −x may round apart
        raise ValueError(f"{name}: its channels cancel each other, mixed to mono it is silent")
    return torch.from_numpy(mix[:n]), rate


def resolution_of(source: Source) -> float:
    """Step between the values that samples of a file can take, full scale at 1; 0 for 20 bits and more."""
    with _opened(source) as (_, sound):
        return _step(sound)


def _step(sound: soundfile.SoundFile) -> float:
    return 2.0 ** (1 - BITS[sound.subtype]) if sound.subtype in BITS else 0.0


def require_unclipped(source: Source, part: tuple[float, float]) -> None:
    """Raise ``ValueError`` if a channel of a sound is clipped between two times, in seconds."""
    with _opened(source) as (name, sound):
        first, last = (min(max(round(t * sound.samplerate), 0), sound.frames) for t in part)
        sound.seek(first)
        channels, step = torch.from_numpy(sound.read(last - first, dtype="float32", always_2d=True)), _step(sound)
    require_not_flat(name, *channels.T, step=step)


class _Stream(soundfile.SoundFile):
    """Read from front to back: the library seeks behind every block, where the decoder of an MP3 would begin anew."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(source: Source) -> Iterator[tuple[str, _Stream]]:
    """A file to be read, and what it is called; what the library cannot read of it is said in one line."""
    name = "standard input" if isinstance(source, io.BytesIO) or str(source) == "-" else str(source)
    if str(source) == "-":
        source = io.BytesIO(sys.stdin.buffer.read())
    if isinstance(source, io.BytesIO):
        source.seek(0)
    elif not Path(source).is_file():
        raise ValueError(f"{name} is no regular file" if Path(source).exists() else f"{name}: there is no such file")
    _require_whole_file(name, source)
    try:
        with _Stream(source if isinstance(source, io.BytesIO) else os.fsencode(source)) as sound:
            yield name, sound
    except (soundfile.LibsndfileError, TypeError) as error:
        reason = getattr(error, "error_string", "") or "its format is unknown"
        raise ValueError(f"{name} is no sound that can be read: {reason.strip().rstrip('.')}") from error


def _require_whole_file(name: str, source: Path | str | io.BytesIO) -> None:
    """Raise ``ValueError`` for a WAV or AIFF file shorter than its header says: libsndfile would read what is left."""
    if isinstance(source, io.BytesIO):
        head, there = source.getvalue()[:8], len(source.getvalue())
    else:
        with Path(source).open("rb") as file:
            head, there = file.read(8), Path(source).stat().st_size
    order: Any = {b"RIFF": "little", b"FORM": "big"}.get(head[:4])
    told = int.from_bytes(head[4:], order) if order else 0
    if there + SLACK < told < STREAMED:
        raise ValueError(f"{name} is cut off: its header tells of {told + 8} bytes, {there} are there")


def common_gain(sounds: Sequence[Tensor]) -> float:
    """The gain that brings the loudest peak of several sounds to 0.9, so that ears can compare them; 1 for silence.

    Raises:
        ValueError: if there is no sound, or one is not finite.

    >>> import torch
    >>> round(common_gain([torch.tensor([0.0, -4.5]), torch.tensor([1.0])]), 3)
    0.2
    """
    if not sounds:
        raise ValueError("a gain needs at least one sound")
    for sound in sounds:
        require_finite("the sound", sound)
    peak = max(float(sound.detach().abs().max()) for sound in sounds)
    return PEAK / peak if peak > 0 else 1.0


def wav_bytes(x: Float[Tensor, " n"], sample_rate: int, gain: float | None = None) -> bytes:
    """A 16-bit mono WAV file, the same bytes for the same sound.

    Args:
        x: waveform.
        sample_rate: Hz.
        gain: factor on x; None brings the peak to 0.9.

    Raises:
        ValueError: if x is not one finite waveform, is empty, or clips at that gain.
    """
    if x.ndim != 1 or not len(x):
        raise ValueError(f"a sound has one dimension and is not empty, unlike one of shape {tuple(x.shape)}")
    require_finite("the sound", x)
    scaled = x.detach().cpu().double().numpy() * (common_gain([x]) if gain is None else gain)
    peak = float(np.abs(scaled).max(initial=0.0))
    if peak > 1:
        raise ValueError(f"the sound clips: its peak is {peak:.2f} at gain {gain}; see common_gain")
    buffer = io.BytesIO()
    # Rounded here, so that no library's own choice of rounding or dither can change a byte.
    soundfile.write(buffer, np.round(scaled * 32767).astype(np.int16), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@dataclass(frozen=True)
class Player:
    """Sounds that a notebook shows as players, each under its title, the bytes inside the page.

    IPython's own ``Audio`` normalises each clip by default, and a comparison by ear would be lost.

    Args:
        tracks: title and WAV file of each.
    """

    tracks: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        return f"Player({', '.join(title for title, _ in self.tracks)})"

    def _repr_html_(self) -> str:
        return "\n".join(_figure(html.escape(title), wav) for title, wav in self.tracks)


def players(sounds: Mapping[str, Float[Tensor, " n"]], sample_rate: int, aligned: bool = True) -> Player:
    """Players of sounds, by title, at one gain, what is louder sounding louder; a fifth of a second before they begin.

    Args:
        sounds: waveforms; a title is printed above, and is the player's accessible name.
        sample_rate: Hz; browsers take 8192 as it is.
        aligned: whether all lose the same silence, and stay where they are to one another; else each loses its own.
    """
    gain = common_gain(list(sounds.values()))
    parts = {title: _heard(x, sample_rate) for title, x in sounds.items()}
    if aligned:
        ends = [parts[title] for title, x in sounds.items() if bool(x.any())] or list(parts.values())
        first = min(min(e.start for e in ends), min(map(len, sounds.values())) - 1)
        parts = dict.fromkeys(parts, slice(first, max(e.stop for e in ends)))
    return Player(tuple((title, wav_bytes(x[parts[title]], sample_rate, gain)) for title, x in sounds.items()))


def _heard(x: Float[Tensor, " n"], sample_rate: int) -> slice:
    """Where a sound is heard, and the silence that is kept around that; all of it if it is silent."""
    loud = (x.detach().abs() > QUIET * x.detach().abs().max()).nonzero()
    around = round(AROUND * sample_rate)
    if not len(loud):
        return slice(0, len(x))
    return slice(max(0, int(loud[0]) - around), int(loud[-1]) + 1 + around)


def _figure(title: str, wav: bytes) -> str:
    source = "data:audio/wav;base64," + base64.b64encode(wav).decode("ascii")
    audio = f'<audio controls preload="metadata" aria-label="{title}" src="{source}"></audio>'
    return f'<figure class="player"><figcaption>{title}</figcaption>{audio}</figure>'
