"""Sounds in the page: the same bytes, one gain for what is compared, nothing clipped."""

import io

import numpy as np
import pytest
import soundfile
import torch

from pnpkit.audio import common_gain, player, players, save_wav, wav_bytes

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
    assert player(TONE, RATE, "tone")._repr_html_() == player(TONE, RATE, "tone")._repr_html_()


def test_players_keep_the_ratio_of_levels():
    tracks = players({"loud": 8 * TONE, "soft": TONE}, RATE).tracks
    loud, soft = (np.abs(decoded(wav)[0]).max() for _, wav in tracks)
    assert loud == pytest.approx(0.9, abs=1e-3)
    assert loud / soft == pytest.approx(8, rel=1e-2)


def test_one_player_fills_its_range_unless_told_otherwise():
    assert np.abs(decoded(wav_bytes(0.01 * TONE, RATE))[0]).max() == pytest.approx(0.9, abs=1e-3)
    assert common_gain([torch.zeros(4)]) == 1.0


def test_titles_are_escaped_and_bytes_stay_out_of_the_plain_text():
    page = player(TONE, RATE, "<f & m>")
    assert "&lt;f &amp; m&gt;" in page._repr_html_()
    assert repr(page) == "Player(<f & m>)"


def test_what_cannot_be_played_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"clips: its peak is 2\.0"):
        save_wav(tmp_path / "x.wav", 2 * TONE, RATE, gain=1.0)
    with pytest.raises(ValueError, match="finite"):
        save_wav(tmp_path / "x.wav", TONE / 0, RATE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="at least one"):
        common_gain([])


@pytest.mark.usefixtures("unchecked")
def test_a_batch_is_no_sound():
    with pytest.raises(ValueError, match=r"shape \(2, 8\)"):
        wav_bytes(torch.zeros(2, 8), RATE)


def test_saved_is_played(tmp_path):
    save_wav(tmp_path / "x.wav", TONE, RATE)
    assert (tmp_path / "x.wav").read_bytes() == wav_bytes(TONE, RATE)
