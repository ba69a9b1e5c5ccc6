"""Figures of the chapter on scattering: they show the operator's own filters, coefficients and counts."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from pnpkit.figures import scattering as p
from pnpkit.jtfs import JTFS
from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.cost import operations
from pnpkit.jtfs.frequential import FrequentialBank

MU, ELL = fb.centre_frequencies(13, 1, 2**15)[6], fb.centre_frequencies(6, 1)[1]
BENCHMARK = pd.DataFrame(
    [
        {"operation": "forward", "algorithm": name, "n_samples": n, "calibrations": slope * n}
        for name, slope in (("pnpkit", 1e-5), ("direct", 1e-4))
        for n in (2**13, 2**14, 2**15)
    ]
)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_the_spins_are_mirror_images():
    up, down = (p.joint_wavelet(MU, ELL, spin, samples=2**12, rows=128) for spin in (1, -1))
    np.testing.assert_allclose(up[1:], down[:0:-1], atol=1e-12 * np.abs(up).max())  # row 0 has no mirror image


@pytest.mark.parametrize("spin", [1, -1])
def test_stripes_go_where_a_matching_chirp_goes(spin):
    """Spin +1 is up the rows, towards low frequency: the phase is the same μ/ℓ rows lower a sample later."""
    wave = p.joint_wavelet(MU, ELL, spin, samples=2**12, rows=128)
    phase = np.angle(wave[64, 2048:2100:4] / wave[64, 2048]) / (2 * np.pi)
    np.testing.assert_allclose(phase, MU[0] * np.arange(0, 52, 4), atol=0.02)
    down_one_row = np.angle(wave[65, 2048] / wave[64, 2048]) / (2 * np.pi)
    assert down_one_row == pytest.approx(-spin * ELL[0], abs=0.02)


def test_the_wavelet_along_the_rows_is_the_operators():
    _, waves = FrequentialBank(6, 1, 2).matrices(64)
    ours = p.joint_wavelet(MU, ELL, 1, samples=2**12, rows=128)[32:96, 2048]
    kernel = waves[1][:, 32]  # normalised in energy, hence up to a factor
    assert abs(np.vdot(ours, kernel)) == pytest.approx(np.linalg.norm(ours) * np.linalg.norm(kernel), rel=1e-6)


def test_an_unknown_spin_is_named():
    with pytest.raises(ValueError, match="spin must be 1 or -1, not 0"):
        p.joint_wavelet(MU, ELL, 0, samples=64, rows=64)


def test_maps_of_spin_hold_the_norm_of_the_oriented_paths():
    jtfs = JTFS(8, 4, J_fr=3, T=2**8, n_samples=2**10)
    S = torch.rand(jtfs.n_coefficients, generator=torch.Generator().manual_seed(0))
    maps = p.spin_maps(jtfs.paths, S, 1000.0, fastest=np.inf)
    for spin, strength in maps.items():
        part = jtfs.paths[jtfs.paths.spin == spin]
        block = S[part.offset.min() : part.offset.min() + (part.rows * part.frames).sum()]
        assert np.nansum(strength.to_numpy() ** 2) == pytest.approx(float((block**2).sum()), rel=1e-5)
    slow = p.spin_maps(jtfs.paths, S, 1000.0, fastest=20.0)[1]
    pd.testing.assert_frame_equal(slow, maps[1][[rate for rate in maps[1] if rate <= 20]])


def test_operations_follow_from_lengths():
    """Transforms by N log N; products by no more than N."""
    small, large = (operations(JTFS.reference(n)) for n in (2**13, 2**14))
    assert 2 < large["transforms"] / small["transforms"] < 2.2
    assert 1.5 < large["products"] / small["products"] <= 2


def test_scaling_shows_each_algorithm_and_an_n_log_n_guide():
    ax = p.plot_scaling(BENCHMARK, "forward", plt.subplots()[1])
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(lines["direct"], 1e-4 * np.array([2**13, 2**14, 2**15]))
    assert lines["N log N"][1] == pytest.approx(lines["pnpkit"][1])
    assert lines["N log N"][2] / lines["N log N"][0] == pytest.approx(4 * 15 / 13)
    with pytest.raises(ValueError, match=r"no operation 'backward' in the benchmark, which has \['forward'\]"):
        p.plot_scaling(BENCHMARK, "backward", plt.subplots()[1])
