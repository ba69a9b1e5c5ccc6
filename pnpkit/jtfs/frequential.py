"""Filters along log-frequency: how a band is compared with its neighbours."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnpkit.jtfs import filterbank as fb

RANK_TOLERANCE = 1e-6  # singular values below this share of the bank's largest are left out


@dataclass(frozen=True)
class RowFilters:
    """Wavelets and low-pass along the rows as one real matrix, applied after an optional reduction of the rows.

    Args:
        wavelets: how many.
        weights: (2·wavelets·rows + rows of the low-pass, inputs): wavelets' real parts, imaginary parts, low-pass.
        reduction: (inputs, rows), or None where the inputs are the rows themselves.
    """

    wavelets: int
    weights: fb.Array
    reduction: fb.Array | None = None


class FrequentialBank:
    """Wavelets and low-pass along log-frequency, as convolution matrices on a given number of rows.

    Rows are zero-padded to twice the next power of two and convolved circularly there. Wavelets wider than the rows
    they would see are left out; the others are energy-normalised among those of the same padded length.
    """

    def __init__(self, J_fr: int, Q_fr: int, F: int) -> None:
        self.pairs = fb.centre_frequencies(J_fr, Q_fr)
        self.F = F
        self._banks: dict[int, list[fb.Wavelet]] = {}

    def scales(self, rows: int) -> list[float]:
        """Centre frequencies (cycles/row) of the wavelets that ``rows`` rows can hold.

        The width of a wavelet is √2 standard deviations of its envelope, √2/(2πσ).
        """
        return [xi for xi, sigma in self.pairs if math.sqrt(2) / (2 * math.pi * sigma) <= rows]

    def padded_length(self, rows: int) -> int:
        """Twice the next power of two."""
        return 2 ** (math.ceil(math.log2(rows)) + 1)

    def bank(self, length: int) -> list[fb.Wavelet]:
        """The wavelets that the longest block of this padded length can hold, normalised together."""
        if length not in self._banks:
            held = self.pairs[: len(self.scales(length // 2))]
            wavelets = [fb.wavelet(length, *p) for p in held]
            self._banks[length], _ = fb.energy_normalise(wavelets, length, None, target=1)
        return self._banks[length]

    def matrices(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Low-pass (rows, rows), real, and wavelets of spin up (wavelets, rows, rows), complex."""
        length = self.padded_length(rows)
        bank = self.bank(length)[: len(self.scales(rows))]
        lag = (np.arange(rows)[:, None] - np.arange(rows)) % length
        low = np.fft.irfft(fb.low_pass(length, self.F), n=length)
        # Spin up is up the axis of rows, which go from high to low frequency: it answers to sounds that fall
        waves = [np.fft.ifft(np.pad(w.spectrum, (0, length - len(w.spectrum)))).conj() for w in bank]
        return low[lag], np.stack([w[lag] for w in waves]) if waves else np.zeros((0, rows, rows), np.complex128)

    def filters(self, rows: int, kept: int | None = None) -> list[RowFilters]:
        """The same as real matrices: fine wavelets and low-pass on the rows, coarse wavelets on fewer inputs.

        A coarse wavelet hears slow variation along the rows only. All those from the k-th on see the rows through a few
        combinations of them, the leading right singular vectors of their matrices; where to split is what costs least.

        Args:
            rows: how many come in.
            kept: how many of them to give out, and to choose the wavelets by; all if None.
        """
        low, waves = self.matrices(rows)
        low, waves = low[:kept], waves[: len(self.scales(kept or rows)), :kept]

        def stack(chosen: NDArray[np.complex128]) -> fb.Array:
            return np.concatenate([chosen.real.reshape(-1, rows), chosen.imag.reshape(-1, rows)])

        largest = np.linalg.norm(stack(waves), 2) if len(waves) else 0.0
        cost, split, reduction = stack(waves).size, len(waves), low[:0]
        for k in range(len(waves)):
            coarse = stack(waves[k:])
            _, values, vectors = np.linalg.svd(coarse, full_matrices=False)
            rank = int((values > RANK_TOLERANCE * largest).sum())
            split_cost = stack(waves[:k]).size + rank * (rows + len(coarse))
            if split_cost < cost:
                cost, split, reduction = split_cost, k, vectors[:rank]
        filters = [RowFilters(split, np.concatenate([stack(waves[:split]), low]))]
        if split < len(waves):
            filters.append(RowFilters(len(waves) - split, stack(waves[split:]) @ reduction.T, reduction))
        return filters
