"""Public differentiable functions have finite gradients where sounds are silent, equal, constant, tiny or huge."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from pnpkit.analyser.network import Analyser
from pnpkit.analyser.scalogram import Scalogram
from pnpkit.distances import ddsp_mss_distance, jtfs_distance, mss_distance
from pnpkit.jtfs import Phi
from pnpkit.landscape import LinearisedListening
from pnpkit.losses import ParameterLoss, PNPLoss, SpectralLoss, WaveformLoss, WeightedParameterLoss, quadratic_form
from pnpkit.synth import Arpeggio, RectangularDrum, Synthesiser

N = 2**13
PHI = Phi.reference(N)
SCALOGRAM = Scalogram(8192, octaves=4, f_min=130.8)
NOISE = torch.randn(2, N, generator=torch.Generator().manual_seed(0))
HALF_SILENT = NOISE * torch.tensor([[1.0], [0.0]])
HALF_TIME = NOISE * (torch.arange(N) < N // 2)

SOUNDS = {
    "noise": NOISE,
    "silence": torch.zeros(2, N),
    "constant": torch.full((2, N), 0.25),
    "denormal": 1e-40 * NOISE,
    "tiny": 1e-22 * NOISE,  # whose squares are denormal
    "huge": 1e18 * NOISE,
    "half silent": HALF_SILENT,
    "silent from the middle on": HALF_TIME,
    "one sample": torch.nn.functional.one_hot(torch.tensor([0, N // 2]), N).float(),
}
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "jtfs": lambda x, y: jtfs_distance(x, y, PHI.jtfs),
    "mss": mss_distance,
    "mss, pooled": lambda x, y: mss_distance(x, y, pooled=True),
    "ddsp": ddsp_mss_distance,
}
MAPS: dict[str, Callable[[Tensor], Tensor]] = {"scalogram": SCALOGRAM, "phi": PHI}


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    value = function(x)
    assert bool(torch.isfinite(value).all()), "the value itself"
    (found,) = torch.autograd.grad(value.sum(), x)
    return found


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_has_a_finite_gradient_and_none_between_equals(name: str, sound: str) -> None:
    x, distance = SOUNDS[sound], DISTANCES[name]
    assert not gradient(lambda a: distance(a, x), x).any(), "zero at zero"
    for y in (NOISE.flip(-1), torch.zeros_like(x)):
        assert bool(torch.isfinite(gradient(lambda a, y=y: distance(a, y), x)).all())
        assert bool(torch.isfinite(gradient(lambda b, y=y: distance(y, b), x)).all())
    pair = torch.stack([x[0], NOISE[1]])  # one equal pair must not poison its batch
    alone = gradient(lambda a: distance(a, NOISE.flip(-1)[1:]), NOISE[1:])
    if name != "mss, pooled":
        together = gradient(lambda a: distance(a, torch.stack([x[0], NOISE.flip(-1)[1]])), pair)
        assert not together[0].any()
        if sound != "huge" or name == "jtfs":  # which MSS computes in float64, with its whole batch
            torch.testing.assert_close(together[1:], alone)


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("name", MAPS)
def test_a_map_has_a_finite_gradient(name: str, sound: str) -> None:
    found = gradient(MAPS[name], SOUNDS[sound])
    assert bool(torch.isfinite(found).all())
    if sound == "silence":
        assert not found.any()


@pytest.mark.parametrize("training", [True, False])
def test_the_network_has_finite_gradients(training: bool) -> None:
    """With respect to what it sees and to its weights."""
    analyser = Analyser(2).train(training)
    for sound in SOUNDS.values():
        found = gradient(lambda x: analyser(x).square(), SCALOGRAM(sound).detach())
        assert bool(torch.isfinite(found).all())
        slopes = torch.autograd.grad(analyser(SCALOGRAM(sound)).square().sum(), list(analyser.parameters()))
        assert all(bool(torch.isfinite(slope).all()) for slope in slopes)


SYNTHS: dict[str, Synthesiser] = {
    "arpeggio": Arpeggio(n_samples=N),
    "arpeggio as printed": Arpeggio("paper", n_samples=N),
    "arpeggio, gain attached": Arpeggio(detach_gain=False, n_samples=N),
    "drum": RectangularDrum(n_samples=N),
    "drum, displacement": RectangularDrum(normalise_peak=False, n_samples=N),
}


@pytest.mark.filterwarnings("ignore:silence:UserWarning")
@pytest.mark.parametrize("name", SYNTHS)
def test_a_synthesiser_has_a_finite_gradient(name: str) -> None:
    """In the corners and the middle of its box, and with each parameter 0, denormal or huge.

    Not with a huge γ of the arpeggio: its phase is infinite, and evaluations record what that gives as not finite.
    """
    g = SYNTHS[name]
    low, high = g.parameters.low, g.parameters.high
    corners = torch.cartesian_prod(*torch.stack([low, high], -1))
    middle = g.parameters.decode(torch.zeros(len(low), dtype=torch.float64), "logminmax")
    refused = {"omega", "tau"} | ({"gamma"} if g == SYNTHS["arpeggio as printed"] else set())  # no sound has them at 0
    extremes = [
        middle.index_fill(0, torch.tensor(k), value)
        for k, parameter in enumerate(g.parameters.names)
        for value in (0, 1e-40, 1e18)
        if (value or parameter not in refused) and (value, parameter) != (1e18, "gamma")
    ]
    for theta in (*corners, *extremes):
        found = gradient(lambda th: g(th[None]).square(), theta)
        assert bool(torch.isfinite(found).all()), theta


def test_the_scalogram_of_an_arpeggio_has_a_finite_gradient() -> None:
    """Whole frames of it are silent."""
    g = Arpeggio()
    grids = torch.cartesian_prod(torch.tensor([512.0, 1024.0]), torch.tensor([4.0, 16.0]), torch.tensor([0.5, 4.0]))
    sounds = g(grids[:6].double()).float()
    assert bool(torch.isfinite(gradient(Scalogram(g.sample_rate), sounds)).all())


def test_loud_sounds_are_scaled_exactly() -> None:
    """What is scaled and back has the bits of what is not; so has a coefficient without the root's mended slope."""
    quiet, loud = SCALOGRAM(NOISE[:1] * 2.0**30), SCALOGRAM(NOISE[:1] * 2.0**60)
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, 30 * torch.log(torch.tensor(2.0)).item()))
    plain = torch.log1p(SCALOGRAM.cqt(NOISE) / SCALOGRAM.eps)
    assert torch.equal(SCALOGRAM(NOISE), plain)


THETA = Arpeggio.parameters.low.float()[None].repeat(3, 1)
M = torch.eye(3).repeat(3, 1, 1) * torch.tensor([1.0, 0.0, 1e18])[:, None, None]


@pytest.mark.parametrize(
    "guess", [THETA, THETA * 0, THETA + 1e-40, THETA * 1e12], ids=["equal", "zero", "tiny", "huge"]
)
def test_a_loss_has_a_finite_gradient(guess: Tensor) -> None:
    low, high = Arpeggio.parameters.low, Arpeggio.parameters.high
    spectral = SpectralLoss(lambda theta: torch.log1p(theta.abs()), box=(low, high))
    g = Arpeggio(n_samples=N)
    tangents = LinearisedListening(THETA, THETA.log(), torch.diag_embed(1 / THETA))
    for loss in (
        ParameterLoss(),
        WeightedParameterLoss(torch.tensor([1.0, 0.0, 1e9])),
        PNPLoss(),
        PNPLoss(torch.eye(3)),
        spectral,
        SpectralLoss(tangents, box=(low, high)),
        WaveformLoss(ddsp_mss_distance, g, box=(low, high)),
        WaveformLoss(partial(jtfs_distance, jtfs=PHI.jtfs), g, box=(low, high)),
        WaveformLoss(mss_distance, g, box=(low, high)),
    ):
        found = gradient(lambda g, loss=loss: loss(g, THETA, M).reshape(1), guess)
        assert bool(torch.isfinite(found).all())
        if guess is THETA:
            assert not found.any()
    assert bool(torch.isfinite(gradient(lambda g: quadratic_form(g - THETA, M), guess)).all())
