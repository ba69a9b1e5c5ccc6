"""Filters along log-frequency: how a band is compared with its neighbours."""

import math

import numpy as np
from numpy.typing import NDArray

from pnpkit.jtfs import filterbank as fb


class FrequentialBank:
    """Wavelets and low-pass along log-frequency, as convolution matrices on a given number of rows.

    Rows are zero-padded to twice the next power of two and convolved circularly there. Wavelets wider than the rows
    they would see are left out; the others are energy-normalised among those of the same padded length.
    """

    def __init__(self, J_fr: int, Q_fr: int, F: int) -> None:
        self.pairs = fb.centre_frequencies(J_fr, Q_fr)
        self.F = F

    def scales(self, rows: int) -> list[float]:
        """Centre frequencies (cycles/row) of the wavelets that ``rows`` rows can hold.

        The width of a wavelet is √2 standard deviations of its envelope, √2/(2πσ).
        """
        return [xi for xi, sigma in self.pairs if math.sqrt(2) / (2 * math.pi * sigma) <= rows]

    def matrices(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Low-pass (rows, rows), real, and wavelets of spin up (wavelets, rows, rows), complex."""
        length = 2 ** (math.ceil(math.log2(rows)) + 1)
        bank = self._bank(length)[: len(self.scales(rows))]
        lag = (np.arange(rows)[:, None] - np.arange(rows)) % length
        low = np.fft.irfft(fb.low_pass(length, self.F), n=length)
        # Spin up is up the axis of rows, which go from high to low frequency: it answers to sounds that fall.
        waves = [np.fft.ifft(np.pad(w.spectrum, (0, length - len(w.spectrum)))).conj() for w in bank]
        return low[lag], np.stack([w[lag] for w in waves])

    def _bank(self, length: int) -> list[fb.Wavelet]:
        """The wavelets that the longest block of this padded length can hold, normalised together."""
        held = self.pairs[: len(self.scales(length // 2))]
        bank, _ = fb.energy_normalise([fb.wavelet(length, *p) for p in held], length, None, target=1)
        return bank
