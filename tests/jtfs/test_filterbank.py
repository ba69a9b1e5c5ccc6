"""Filters against those of the authors' period: where they sit, how loud they are, and what they sum to."""

import json

import numpy as np
import pytest
from kymatio.scattering1d import filter_bank as peer

from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.frequential import FrequentialBank
from tests.oracle import REFERENCE

META = json.loads((REFERENCE / "arpeggio_filters.json").read_text())
N = 2**15
LENGTH = 2 * N
LOW_PASS = fb.low_pass(LENGTH, 2**13)


@pytest.fixture(scope="module")
def stored():
    """Reads a reference filter by name: its Fourier transform on all bins."""
    with np.load(REFERENCE / "arpeggio_filters.npz") as file:
        arrays = {name: file[name] for name in file}

    def read(name):
        start, length = META["offsets"][name]
        full = np.zeros(length)
        full[start + np.arange(len(arrays[name]))] = arrays[name]
        return full

    return read


def bank(Q):
    pairs = fb.centre_frequencies(13, Q, N)
    return fb.energy_normalise([fb.wavelet(LENGTH, *pair) for pair in pairs], LENGTH, LOW_PASS, target=2)


def full(w):
    return np.pad(w.spectrum, (0, LENGTH - len(w.spectrum)))


@pytest.mark.parametrize(("name", "Q"), [("psi1", 12), ("psi2", 1)])
def test_centres_widths_and_scales_equal_the_reference(name, Q):
    ours = fb.centre_frequencies(13, Q, N)
    assert len(ours) == len(META[name])
    np.testing.assert_allclose(ours, [(w["xi"], w["sigma"]) for w in META[name]], rtol=1e-12)
    assert [fb.wavelet(LENGTH, *pair).j for pair in ours] == [w["j"] for w in META[name]]


@pytest.mark.parametrize(("name", "Q"), [("psi1", 12), ("psi2", 1)])
def test_spectra_equal_the_reference(stored, name, Q):
    for n, w in enumerate(bank(Q)[0]):
        theirs = stored(f"{name}_{n}")
        assert np.linalg.norm(full(w) - theirs) <= 2e-6 * np.linalg.norm(theirs), n


def test_low_pass_equals_the_reference(stored):
    np.testing.assert_allclose(LOW_PASS, stored("phi")[: len(LOW_PASS)], atol=1e-7)


@pytest.mark.parametrize("Q", [1, 12])
def test_littlewood_paley_sum_stays_under_its_target_and_leaves_no_hole(Q):
    total = LOW_PASS**2 + sum(full(w)[: N + 1] ** 2 for w in bank(Q)[0]) / 2
    hertz = np.arange(N + 1) / LENGTH * 8192
    assert total[1:].max() < 1.005
    assert total[(hertz > 20) & (hertz < 3800)].min() > 0.75


def test_gains_of_the_quirk_equal_the_reference():
    _, coarse = bank(1)
    theirs = np.array(META["psi2_gain_rows_with_j1_ge_1"])
    met = theirs != 1  # a second-order filter with no slower band to meet has no gain in the file
    np.testing.assert_allclose(coarse[met], theirs[met], atol=2e-6)
    assert met.sum() == 10


@pytest.mark.parametrize(("level", "rows"), [(4, 14), (3, 26), (2, 62), (1, 122), (0, 131)])
def test_frequential_matrices_convolve_with_the_reference_filters(stored, level, rows):
    low, waves = FrequentialBank(6, 1, 2).matrices(rows)
    length = 512 >> level
    lag = (np.arange(rows)[:, None] - np.arange(rows)) % length
    np.testing.assert_allclose(low, np.fft.ifft(stored(f"phi_fr.{level}.0")[:length]).real[lag], atol=1e-6)
    for k, wave in enumerate(waves):
        up, down = (np.fft.ifft(stored(f"psi_fr_{spin}.{k}.{level}"))[lag] for spin in ("up", "down"))
        np.testing.assert_allclose(wave, up, atol=1e-6)
        np.testing.assert_allclose(wave.conj(), down, atol=1e-6)  # the other spin


# kymatio, an independent hand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("Q", [1, 2, 8, 12, 24])
def test_widths_and_subsamplings_are_kymatios(Q):
    for xi in (0.4, 0.21, 0.03, 1e-4):
        sigma = peer.compute_sigma_psi(xi, Q)
        assert fb.width(xi, Q) == pytest.approx(sigma, rel=1e-14)
        assert fb.subsampling(xi, sigma) == peer.get_max_dyadic_subsampling(xi, sigma, alpha=fb.ALPHA)


@pytest.mark.parametrize("length", [64, 2**12, 3 * 2**9])
def test_shapes_are_kymatios_to_rounding(length):
    for J, Q in ((5, 1), (4, 12), (3, 4)):
        for xi, sigma in fb.centre_frequencies(J, Q):
            np.testing.assert_allclose(fb.morlet(length, xi, sigma), peer.morlet_1d(length, xi, sigma), atol=2e-15)
    for scale in (1, 2, 16):
        gauss = peer.gauss_1d(length, fb.SIGMA_LOWPASS / scale)
        np.testing.assert_allclose(fb.low_pass(length, scale), gauss[: length // 2 + 1], atol=1e-15)


def test_a_wavelet_has_no_mean_and_unit_norm():
    spectrum = fb.morlet(LENGTH, 0.1, 0.01)
    assert spectrum[0] == 0
    assert np.abs(np.fft.ifft(spectrum)).sum() == pytest.approx(1, rel=1e-12)


def test_the_cheap_wavelet_is_the_full_one():
    """A narrow wavelet is computed at a lower sampling rate: the same bins."""
    for xi, sigma in fb.centre_frequencies(13, 12, N)[::15]:
        direct = peer.morlet_1d(LENGTH, xi, sigma)[:N]
        ours = full(fb.wavelet(LENGTH, xi, sigma))[:N]
        np.testing.assert_allclose(ours, direct, atol=2e-7 * direct.max())
