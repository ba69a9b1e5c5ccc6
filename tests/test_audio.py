"""Sounds in the page: the same bytes, one gain for what is compared, nothing clipped."""

import io
import os
import pathlib
import tracemalloc
from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from pnpkit.audio import BLOCK, common_gain, players, read_sound, require_unclipped, wav_bytes

RATE = 8192
TONE = torch.sin(torch.arange(RATE) * 0.3)


def decoded(wav):
    return soundfile.read(io.BytesIO(wav))


def test_wav_holds_the_sound_to_sixteen_bits():
    x, rate = decoded(wav_bytes(0.5 * TONE, RATE, gain=1.0))
    assert rate == RATE
    np.testing.assert_allclose(x, 0.5 * TONE.numpy(), atol=1 / 32767)


def test_bytes_are_the_same_for_the_same_sound_in_any_precision():
    assert wav_bytes(TONE, RATE) == wav_bytes(TONE.clone(), RATE) == wav_bytes(TONE.double(), RATE)
    assert players({"tone": TONE}, RATE)._repr_html_() == players({"tone": TONE}, RATE)._repr_html_()


def test_players_keep_the_ratio_of_levels():
    tracks = players({"loud": 8 * TONE, "soft": TONE}, RATE).tracks
    loud, soft = (np.abs(decoded(wav)[0]).max() for _, wav in tracks)
    assert loud == pytest.approx(0.9, abs=1e-3)
    assert loud / soft == pytest.approx(8, rel=1e-2)


def placed(start, level, n=4 * RATE):
    """A tenth of a second of sound, somewhere in four seconds of silence."""
    x = torch.zeros(n)
    x[start : start + RATE // 10] = level
    return x


def heard_from(wav):
    x, _ = decoded(wav)
    return int(np.abs(x).argmax()), len(x)


def test_silence_is_trimmed_for_all_alike_and_a_fifth_of_a_second_stays():
    sounds = {"early": placed(2 * RATE, 1.0), "late": placed(3 * RATE, 0.5), "silent": torch.zeros(4 * RATE)}
    early, late, silent = (heard_from(wav) for _, wav in players(sounds, RATE).tracks)
    around = round(0.2 * RATE)
    assert early[0] == around
    assert late[0] - early[0] == RATE  # as far apart as they were
    assert early[1] == late[1] == silent[1] == RATE + RATE // 10 + 2 * around


def test_sounds_that_need_not_stay_aligned_lose_their_own_silence():
    tracks = players({"early": placed(2 * RATE, 1.0), "late": placed(3 * RATE, 0.5)}, RATE, aligned=False).tracks
    assert {heard_from(wav)[0] for _, wav in tracks} == {round(0.2 * RATE)}
    early, late = (np.abs(decoded(wav)[0]).max() for _, wav in tracks)
    assert early == pytest.approx(2 * late, rel=1e-3)  # one level all the same


def test_a_sound_that_begins_at_once_keeps_its_beginning():
    ((_, wav),) = players({"at once": placed(0, 0.5)}, RATE).tracks
    assert heard_from(wav) == (0, RATE // 10 + round(0.2 * RATE))
    ((_, wav),) = players({"silent": torch.zeros(RATE)}, RATE).tracks
    assert len(decoded(wav)[0]) == RATE


def test_one_player_fills_its_range_unless_told_otherwise():
    assert np.abs(decoded(wav_bytes(0.01 * TONE, RATE))[0]).max() == pytest.approx(0.9, abs=1e-3)
    assert common_gain([torch.zeros(4)]) == 1.0


def test_titles_are_escaped_and_bytes_stay_out_of_the_plain_text():
    page = players({"<f & m>": TONE}, RATE)
    assert "&lt;f &amp; m&gt;" in page._repr_html_()
    assert repr(page) == "Player(<f & m>)"


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ValueError, match=r"clips: its peak is 2\.0"):
        wav_bytes(2 * TONE, RATE, gain=1.0)
    with pytest.raises(ValueError, match="finite"):
        wav_bytes(TONE / 0, RATE)
    with pytest.raises(ValueError, match=r"not empty, unlike one of shape \(0,\)"):
        wav_bytes(TONE[:0], RATE)
    with pytest.raises(ValueError, match="at least one"):
        common_gain([])


@pytest.mark.usefixtures("unchecked")
def test_a_batch_is_no_sound():
    with pytest.raises(ValueError, match=r"shape \(2, 8\)"):
        wav_bytes(torch.zeros(2, 8), RATE)


@pytest.mark.parametrize(
    ("suffix", "atol"), [("wav", 1e-4), ("flac", 1e-4), ("aiff", 1e-4), ("ogg", 0.05), ("mp3", 0.05)]
)
def test_every_format_is_read_and_mixed_to_mono(tmp_path, suffix, atol):
    left, right = (0.5 * torch.sin(torch.arange(22050) * k) for k in (0.05, 0.11))
    soundfile.write(tmp_path / f"x.{suffix}", torch.stack([left, right], -1).numpy(), 22050)
    x, rate = read_sound(tmp_path / f"x.{suffix}")
    assert rate == 22050
    assert x.dtype == torch.float32
    inner = slice(2000, 20000)
    assert (x[inner] - (left + right)[inner] / 2).abs().max() < atol


def test_standard_input_is_a_file_too(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(wav_bytes(TONE, RATE))

    monkeypatch.setattr("sys.stdin", Stdin)
    x, rate = read_sound("-")
    assert (len(x), rate) == (RATE, RATE)


def hours(path):
    """A header that promises ten hours, and a file as long, that takes no room."""
    soundfile.write(path, np.zeros(8, np.uint8).astype(np.int16), 8000, subtype="PCM_16")
    size = 10 * 3600 * 8000 * 2
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(content)
        file.truncate(44 + size)


def piped(path):
    """A FLAC whose header has no length, as of one that was written to a pipe."""
    soundfile.write(path, TONE.numpy(), RATE, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def test_a_name_that_is_not_utf_8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(wav_bytes(TONE, RATE))
    assert read_sound(path)[1] == RATE


def cut(form, path):
    soundfile.write(path, np.tile(TONE.numpy(), 20), 8000, format=form)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_header_of_a_stream_that_does_not_know_its_length_is_no_reason_to_refuse(tmp_path):
    content = bytearray(wav_bytes(TONE, RATE))
    content[4:8] = content[40:44] = b"\xff\xff\xff\x7f"
    (tmp_path / "x.wav").write_bytes(content)
    assert len(read_sound(tmp_path / "x.wav")[0]) == len(TONE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such file"),
        (os.mkfifo, "is no regular file"),
        (lambda p: p.mkdir(), "is no regular file"),
        (lambda p: p.write_bytes(b""), "is no sound that can be read"),
        (lambda p: p.write_text("not a sound"), "is no sound that can be read"),
        (partial(cut, "WAV"), r"is cut off: its header tells of \d+ bytes, \d+ are there"),
        (partial(cut, "AIFF"), r"is cut off: its header tells of \d+ bytes, \d+ are there"),
        (partial(cut, "MP3"), r"is cut off: \d+ of its \d+ samples are there"),
        (lambda p: soundfile.write(p, np.zeros(0), RATE), "is empty"),
        (lambda p: soundfile.write(p, np.ones(1), RATE), "has one sample"),
        (hours, "lasts 10.0 hours"),
        (piped, "does not say how long it is"),
        (lambda p: soundfile.write(p, np.zeros(99), RATE), "is silent"),
        (lambda p: soundfile.write(p, np.array([0.0, np.nan, 1.0]), RATE, subtype="FLOAT"), "1 of its 3 samples"),
        (
            lambda p: soundfile.write(p, torch.stack([TONE, -TONE], -1).numpy(), RATE, subtype="FLOAT"),
            "cancel each other",
        ),
        (lambda p: soundfile.write(p, 0.3 * torch.stack([TONE, -TONE], -1).numpy(), RATE), "cancel each other"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_that_names_it(tmp_path, make, message):
    path = tmp_path / "x.wav"
    make(path)
    with pytest.raises(ValueError, match=message) as raised:
        read_sound(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_clipped_is_what_is_clipped_in_the_part_that_is_taken_in_whichever_channel(tmp_path):
    loud = torch.stack([0.1 * TONE, (4 * TONE).clamp(-1, 1)], -1)
    file = tmp_path / "x.wav"
    soundfile.write(file, torch.cat([torch.stack([TONE, TONE], -1), loud]).numpy(), RATE)
    require_unclipped(file, (0.0, 1.0))
    for source in (file, io.BytesIO(file.read_bytes())):
        with pytest.raises(ValueError, match=r"is clipped: [\d.]+ % of its samples are at its peak"):
            require_unclipped(source, (1.0, 9.0))


@pytest.mark.parametrize(("subtype", "step"), [("PCM_16", 2.0**-15), ("PCM_U8", 2.0**-7)])
def test_crests_that_rounding_makes_flat_are_none_that_were_clipped(tmp_path, subtype, step):
    t = torch.arange(88200) / 44100
    for peak in (0.9, 0.25) if step > 1e-3 else (0.9, 0.1, 0.01):
        slow = peak * torch.sin(2 * torch.pi * 110 * t)
        soundfile.write(tmp_path / "x.wav", slow.numpy(), 44100, subtype=subtype)
        require_unclipped(tmp_path / "x.wav", (0.0, 2.0))
        soundfile.write(tmp_path / "x.wav", slow.clamp(-0.7 * peak, 0.7 * peak).numpy(), 44100, subtype=subtype)
        with pytest.raises(ValueError, match="is clipped"):
            require_unclipped(tmp_path / "x.wav", (0.0, 2.0))


def test_a_silent_sound_may_end_before_the_others_begin():
    late = torch.cat([torch.zeros(RATE), TONE])
    titles = [title for title, _ in players({"late": late, "none": torch.zeros(10)}, RATE).tracks]
    assert titles == ["late", "none"]


def test_of_many_channels_no_more_than_the_mix_is_held(tmp_path):
    x = TONE.repeat(64)
    soundfile.write(tmp_path / "x.wav", x.unsqueeze(-1).expand(-1, 8).numpy(), RATE)
    tracemalloc.start()
    read_sound(tmp_path / "x.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes + 4 * 8 * BLOCK * x.itemsize  # all channels of a few blocks


def test_the_recordings_are_read():
    files = sorted((pathlib.Path(__file__).parent / "recordings").glob("*.wav"))
    assert len(files) == 6
    for file in files:
        x, rate = read_sound(file)
        assert rate == 44100
        assert len(x) == soundfile.info(file).frames
