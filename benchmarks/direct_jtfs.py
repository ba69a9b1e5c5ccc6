"""Joint time–frequency scattering as its definition reads: full rate, no cutting, no sharing. Slow, hence an oracle.

Every filter is applied by a Fourier transform of the whole padded length, every modulus is taken at full rate, every
band is compared with its neighbours by a Fourier transform along the rows. The filters, their gains and which rows are
kept come from :mod:`pnpkit.jtfs`; :class:`pnpkit.jtfs.JTFS` is tested against this, and timed beside it by
``make bench``.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.design import Sizes, banks
from pnpkit.jtfs.frequential import FrequentialBank


class DirectJTFS(torch.nn.Module):
    """S of a waveform, in the order of :class:`pnpkit.jtfs.JTFS`, for the sizes of one: ``DirectJTFS(jtfs.sizes)``."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.n, self.T, self.length, self.second_in_time = sizes.n_samples, sizes.T, sizes.length, sizes.second_in_time
        self.banks = banks(sizes)
        self.frequential = FrequentialBank(sizes.J_fr, sizes.Q_fr, sizes.F)

    def forward(self, x: Tensor) -> Tensor:
        """(items, n) → (items, K), in the dtype of x."""
        X = torch.fft.fft(x, n=self.length)
        U1 = torch.stack([torch.fft.ifft(X * self._full(w.spectrum, x)).abs() for w in self.banks.first], 1)
        U1_hat = torch.fft.fft(U1)
        S1 = self._average(U1)
        S0 = X[:, :1].real.abs() * (math.sqrt(self.T or self.n) / self.length)
        low, waves = self._along_frequency(S1, max(self.banks.rows))
        blocks = [S0, S1.flatten(1), low.flatten(1), *(math.sqrt(2) * up.abs().flatten(1) for up, _ in waves)]
        lows, ups, downs = [], [], []
        for n, (v, r) in enumerate(zip(self.banks.second, self.banks.rows, strict=True)):
            if r:
                gains = torch.from_numpy(self.banks.gains(n)).to(x)[:, None]
                U2 = torch.fft.ifft(U1_hat[:, :r] * self._full(v.spectrum, x)) * gains
                low, waves = self._along_frequency(U2, r)
                lows.append(self._average_second(low.abs()))
                ups += [self._average_second(up.abs()) for up, _ in waves]
                downs += [self._average_second(down.abs()) for _, down in waves]
        return torch.cat(blocks + [s.flatten(1) for s in lows + ups + downs], -1)

    def _average(self, U: Tensor) -> Tensor:
        """Low-pass and sampling in time of signals at full rate."""
        if self.T is None:
            return U.sum(-1, keepdim=True) / math.sqrt(self.n)
        low = self.banks.low_pass
        both = torch.from_numpy(np.concatenate([low, low[-2:0:-1]])).to(U)
        return torch.fft.ifft(torch.fft.fft(U) * both).real[..., : self.n : self.T] * math.sqrt(self.T)

    def _average_second(self, U: Tensor) -> Tensor:
        if self.T is None or self.second_in_time:
            return self._average(U)
        return U.mean(-1, keepdim=True) * math.sqrt(self.T)

    def _full(self, spectrum: fb.Array, like: Tensor) -> Tensor:
        return torch.from_numpy(np.pad(spectrum, (0, self.length - len(spectrum)))).to(like)

    def _along_frequency(self, rows: Tensor, kept: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Low-pass, and (up, down) of each wavelet that ``kept`` rows hold; the first ``kept`` rows of each."""
        length = self.frequential.padded_length(rows.shape[1])
        spectrum = torch.fft.fft(rows, n=length, dim=1)

        def apply(kernel: np.ndarray) -> Tensor:
            kernel = torch.from_numpy(kernel).to(rows.real)[:, None]
            return torch.fft.ifft(spectrum * kernel, dim=1)[:, :kept]

        low = fb.low_pass(length, self.frequential.F)
        filtered = apply(np.concatenate([low, low[-2:0:-1]]))
        bank = self.frequential.bank(length)[: len(self.frequential.scales(kept))]
        downs = [np.pad(w.spectrum, (0, length - len(w.spectrum))) for w in bank]
        return filtered if rows.is_complex() else filtered.real, [(apply(np.roll(d[::-1], 1)), apply(d)) for d in downs]
