"""What the spectrum of a stroke says of its drum: where its partials are."""

import pytest
import torch

from pnpkit.synth import RectangularDrum
from pnpkit.synth.partials import LIKELY, lowest_peak

DRUM = RectangularDrum(n_samples=2**15)
DRUMS = torch.tensor(
    [
        [300.0, 0.5, 0.01, 0.001, 0.8],
        [600.0, 0.4, 0.02, 0.2, 0.35],
        [1900.0, 0.3, 0.05, 0.05, 0.5],
        [5000.0, 0.2, 0.003, 0.0001, 0.65],
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("omega", [400.0, 1900.0, 5000.0])
def test_the_lowest_strong_peak_is_the_fundamental(omega):
    x = DRUM(torch.tensor([omega, 0.3, 0.05, 0.01, 0.7], dtype=torch.float64))
    assert lowest_peak(x, DRUM.sample_rate, 40.0, 1000.0) == pytest.approx(omega / (2 * torch.pi), abs=2.0)


@pytest.mark.parametrize("deviation", [0.0, 0.01])
@pytest.mark.parametrize("theta", DRUMS, ids=lambda t: f"{t[0]:g} rad/s")
def test_one_of_the_likely_drums_has_the_partials_of_the_stroke(theta, deviation):
    x = DRUM(theta) + deviation * torch.randn(DRUM.n_samples, generator=torch.Generator().manual_seed(0))
    likely = DRUM.hint(x)
    assert set(likely) == {"omega", "D", "alpha"}
    assert 1 < len(likely["D"]) <= LIKELY
    guesses = theta.repeat(len(likely["D"]), 1)
    for name, values in likely.items():
        guesses[:, DRUM.parameters.names.index(name)] = values
    assert bool(((guesses >= DRUM.parameters.low) & (guesses <= DRUM.parameters.high)).all())
    low = DRUM.modal(theta).frequency < 2 * torch.pi * 4000
    off = (DRUM.modal(guesses).frequency / DRUM.modal(theta).frequency - 1).abs()[:, low].amax(-1)
    assert off.min() < 0.02
    middle = theta.clone()
    middle[3:] = torch.tensor([0.002, 0.5])
    assert off.min() < 0.2 * (DRUM.modal(middle).frequency / DRUM.modal(theta).frequency - 1).abs()[low].amax()


def test_neither_level_nor_delay_matters():
    x = DRUM(DRUMS[2])
    later = torch.cat([torch.zeros(500, dtype=x.dtype), 0.01 * x[:-500]])
    first, second = (DRUM.hint(s) for s in (x, later))
    assert first["omega"][0].item() == pytest.approx(second["omega"][0].item(), rel=2e-3)
    nearest = [(d["alpha"] - 0.5).abs().min().item() for d in (first, second)]
    assert max(nearest) < 0.02
