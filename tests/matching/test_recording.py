"""A recording is brought to the synthesiser's rate, length and beginning, whatever stands around it."""

import pytest
import torch
from bell import Bell, drawn

from pnpkit.matching.recording import fitted, onsets
from pnpkit.synth import Arpeggio, RectangularDrum

DRUM = RectangularDrum(n_samples=2**14)
STROKE = DRUM(torch.tensor([1900.0, 0.15, 0.02, 0.01, 0.5], dtype=torch.float64))
RATE = 22050


def silence(seconds, rate=RATE):
    return torch.zeros(round(seconds * rate), dtype=torch.float64)


def test_what_has_its_rate_and_length_stays_as_it_is():
    assert torch.equal(fitted(STROKE, RATE, DRUM).x, STROKE)


@pytest.mark.parametrize("offset", [1e-4, -0.03])
@pytest.mark.parametrize("seconds", [0.0, 0.7])
def test_a_constant_is_taken_off_and_told(offset, seconds):
    x = torch.cat([silence(seconds), STROKE, silence(0.5)])
    found, plain = fitted(x + offset, RATE, DRUM), fitted(x, RATE, DRUM)
    assert f"a constant of {offset:.2g} taken off" in found.told
    assert "constant" not in plain.told
    torch.testing.assert_close(found.x, plain.x, atol=1e-3 * abs(offset), rtol=0)


def test_what_moves_is_no_constant():
    g = RectangularDrum()
    u = 2 * torch.rand(24, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    for theta in g.parameters.decode(u, "logminmax"):
        x = g(theta)
        assert torch.equal(fitted(x, RATE, g).x, x)


@pytest.mark.parametrize("seconds", [0.05, 0.7, 3.0])
def test_silence_in_front_of_a_stroke_changes_nothing(seconds):
    found = fitted(torch.cat([silence(seconds), STROKE]), RATE, DRUM)
    assert found.onset == pytest.approx(seconds, abs=1e-3)
    assert found.left == 0
    late = (found.x - STROKE).norm() / STROKE.norm()
    assert late < 0.05


def test_of_several_strokes_the_first_is_taken_and_ends_where_the_second_begins():
    found = fitted(torch.cat([silence(0.2), STROKE[:8000], STROKE[:8000], STROKE]), RATE, DRUM)
    assert found.left == 2
    assert "the first of 3 onsets taken, 2 left" in found.told
    assert (found.x[:7000] - STROKE[:7000]).norm() < 0.05 * STROKE.norm()
    assert found.x[8000:].abs().max() == 0


@pytest.mark.parametrize("f_m", [4.0, 7.0, 16.0])
def test_the_notes_of_an_arpeggio_are_no_strokes(f_m):
    g = Arpeggio()
    x = g(torch.tensor([700.0, f_m, 2.0], dtype=torch.float64))
    found = fitted(torch.cat([silence(0.7, 8192), x]), 8192, g)
    assert found.left == 0
    assert found.x.norm() == pytest.approx(float(x.norm()), rel=0.01)


def test_a_recording_much_longer_than_the_synthesiser_s_sounds_is_windowed():
    x = torch.cat([Bell()(t) for t in drawn(3)])
    found = fitted(x, 4096, Bell())
    assert found.x.shape == (4096,)
    assert found.left == 2


def test_where_it_was_taken_from_is_said_and_what_it_was_taken_from_stays():
    x = torch.cat([silence(0.2), STROKE[:8000], STROKE]).float()
    before = x.clone()
    first, last = fitted(x, RATE, DRUM).part
    assert (first, last) == pytest.approx((0.2, 0.2 + 8000 / RATE), abs=0.02)
    assert torch.equal(x, before)


def test_onsets_are_where_strokes_begin_however_they_beat():
    pairs = [(0.1, 0.9), (0.3, 0.5)]
    for a, b in pairs:
        x = torch.cat([silence(a), STROKE[:4000], silence(b), 0.5 * STROKE])
        assert [k / RATE for k in onsets(x, RATE)] == pytest.approx([a, a + 4000 / RATE + b], abs=2e-3)
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    beating = torch.exp(-3 * t) * (torch.sin(2 * torch.pi * 80 * t) + torch.sin(2 * torch.pi * 95 * t))
    assert len(onsets(beating, RATE)) == 1


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (silence(1.0), "the sound is silent"),
        (torch.where(torch.arange(len(STROKE)) == 5, torch.nan, STROKE), "the recording must be finite: 1 of its"),
        (silence(1.0) + 0.5, "the sound is a constant, 0.5"),
        (STROKE[:10], "the sound lasts 0.23 ms: 10 ms are the least"),
        (STROKE[:0], "the sound lasts 0 ms"),
    ],
)
def test_what_is_no_sound_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        fitted(x, 44100, DRUM)


@pytest.mark.usefixtures("unchecked")
def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"the recording must be mono, \(n,\), not of shape \(2, 16384\)"):
        fitted(STROKE.expand(2, -1), RATE, DRUM)


@pytest.mark.parametrize("x", [STROKE.half(), STROKE.bfloat16(), STROKE.clone().requires_grad_()])
def test_a_recording_of_any_precision_is_resampled(x):
    found = fitted(x, 2 * RATE, DRUM)
    assert not found.x.requires_grad
    assert float((found.x - fitted(STROKE, 2 * RATE, DRUM).x).norm() / found.x.norm()) < 0.01
