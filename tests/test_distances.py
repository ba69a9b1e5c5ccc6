"""Distances by their laws and their reference programs."""

import auraloss
import numpy as np
import pytest
import torch

from pnpkit.distances import DDSP_SIZES, ddsp_mss_distance, jtfs_distance, mss_distance
from pnpkit.jtfs import JTFS, Phi
from tests.oracle import load


def spectrum(x):
    """A toy scattering: fast, insensitive to the sign."""
    return torch.fft.rfft(x).abs()


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


ALL = {
    "jtfs": lambda x, y: jtfs_distance(x, y, spectrum),
    "mss": mss_distance,
    "ddsp": ddsp_mss_distance,
}


@pytest.mark.parametrize("distance", ALL.values(), ids=list(ALL))
class TestEveryDistance:
    def test_has_a_finite_gradient_where_a_sound_is_silent(self, distance):
        """Frames of digital silence are common: a window's tails, a note that has not begun."""
        x = torch.cat([torch.zeros(1, 2048), noise(7, 1, 2048)], -1).requires_grad_()
        distance(x, noise(8, 1, 4096)).sum().backward()
        assert torch.isfinite(x.grad).all()
        assert (x.grad[:, 2048:] != 0).any()

    def test_is_zero_between_a_sound_and_itself_or_its_opposite(self, distance):
        x = noise(0, 3, 4096)
        assert torch.equal(distance(x, x).double(), torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(distance(x, -x).double(), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-5)

    def test_is_positive_and_grows_with_a_perturbation(self, distance):
        x, other = noise(1, 2, 4096)
        small, large = (distance(x + size * other, x) for size in (0.01, 0.1))
        assert 0 < small < large

    def test_batch_is_loop(self, distance):
        x, y = noise(2, 2, 2, 3, 2048)
        loop = torch.stack([distance(a, b) for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)])
        torch.testing.assert_close(distance(x, y), loop.reshape(2, 3))

    @pytest.mark.usefixtures("unchecked")
    def test_refuses_other_shapes(self, distance):
        with pytest.raises(ValueError, match=r"\(2, 2048\) and \(1, 2048\)"):
            distance(torch.zeros(2, 2048), torch.zeros(1, 2048))


@pytest.mark.parametrize("distance", [mss_distance, ddsp_mss_distance])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_and_given_back(distance, dtype):
    x, y = noise(3, 2, 1, 2048)
    found = distance(x.to(dtype), y.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), distance(x, y).float(), rtol=0.05, atol=0.01)


def test_jtfs_and_ddsp_distances_are_symmetric():
    x, y = noise(3, 2, 2, 4096)
    for name in ("jtfs", "ddsp"):
        torch.testing.assert_close(ALL[name](x, y), ALL[name](y, x))


def test_jtfs_distance_is_that_of_the_reference_coefficients():
    reference = load("arpeggio")
    x, phi = reference["x"], torch.log1p(1000 * reference["S"][:4].double())
    wanted = (phi - phi.roll(1, 0)).norm(dim=-1)
    torch.testing.assert_close(jtfs_distance(x, x.roll(1, 0), JTFS.reference(2**15)), wanted, rtol=1e-3, atol=0)


def test_jtfs_distance_takes_a_phi_for_its_operator():
    phi, (x, y) = Phi(JTFS(6, 2, J_fr=2, T=None, n_samples=512)), torch.randn(2, 512, generator=torch.manual_seed(0))
    assert jtfs_distance(x, y, phi) == jtfs_distance(x, y, phi.jtfs) > 0


def test_mss_distance_is_auralosss():
    x, y = noise(4, 2, 3, 8192) * torch.tensor([1.0, 0.1, 10.0]).unsqueeze(-1)
    oracle = auraloss.freq.MultiResolutionSTFTLoss()
    each = torch.stack([oracle(a[None, None], b[None, None]) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(mss_distance(x, y), each)
    torch.testing.assert_close(mss_distance(x, y, pooled=True), oracle(x[:, None], y[:, None]))


def test_pooling_changes_the_value():
    x, y = noise(4, 2, 3, 8192) * torch.tensor([1.0, 0.1, 10.0]).unsqueeze(-1)
    y[1] += 5
    assert (mss_distance(x, y).mean() - mss_distance(x, y, pooled=True)).abs() > 1e-2


def test_ddsp_distance_is_its_definition():
    n = 3000  # no multiple of a hop: the last frames are padded
    x, y = noise(5, 2, n).double()
    total = 0.0
    for size in DDSP_SIZES:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        frames = []
        for sound in (x.numpy(), y.numpy()):
            padded = np.concatenate([sound, np.zeros(2 * size)])
            starts = range(0, n, size // 4)
            frames.append(np.abs(np.fft.rfft([padded[s : s + size] * window for s in starts])))
        X, Y = frames
        logs = [np.log(np.maximum(m, 1e-5)) for m in frames]
        total += np.abs(X - Y).mean() + np.abs(logs[0] - logs[1]).mean()
    torch.testing.assert_close(ddsp_mss_distance(x, y), torch.tensor(total))


def test_silence_is_at_a_finite_distance():
    silent, loud = torch.zeros(4096), noise(6, 4096)
    for distance in ALL.values():
        assert torch.isfinite(distance(silent, loud))


@pytest.mark.usefixtures("unchecked")
def test_sounds_that_are_too_short_or_no_numbers_are_refused_and_an_empty_batch_is_empty():
    for distance in (mss_distance, ddsp_mss_distance):
        assert distance(torch.zeros(0, 2000), torch.zeros(0, 2000)).shape == (0,)
        with pytest.raises(ValueError, match="a sound must be a floating-point tensor"):
            distance(torch.arange(4096), torch.arange(4096))
        with pytest.raises(ValueError, match=r"shape \(2, 0\) is too short: its last dimension must be at least"):
            distance(torch.zeros(2, 0), torch.zeros(2, 0))
    with pytest.raises(ValueError, match="pooled distance needs at least one sound"):
        mss_distance(torch.zeros(0, 2000), torch.zeros(0, 2000), pooled=True)
    with pytest.raises(ValueError, match="too short: its last dimension must be at least 1025"):
        mss_distance(torch.zeros(1024), torch.zeros(1024))
    assert torch.isfinite(mss_distance(noise(0, 1025), noise(1, 1025)))
    assert torch.isfinite(ddsp_mss_distance(noise(0, 1), noise(1, 1)))
