"""Joint time–frequency scattering as its definition reads: full rate, no cutting, no sharing. Slow, hence an oracle.

Every filter is applied by a Fourier transform of the whole padded length, every modulus is taken at full rate, every
band is compared with its neighbours by a Fourier transform along the rows. Only the filters come from
:mod:`pnpkit.jtfs`; :class:`pnpkit.jtfs.JTFS` is tested against this, and timed beside it by ``pnpkit bench``.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.frequential import FrequentialBank


class DirectJTFS(torch.nn.Module):
    """S of a waveform, in the order of :class:`pnpkit.jtfs.JTFS`, for the same arguments."""

    def __init__(
        self,
        J: int,
        Q: int,
        *,
        J_fr: int = 6,
        Q_fr: int = 1,
        F: int = 2,
        T: int | None,
        n_samples: int,
        global_second_order: bool = False,
        coarse_quirk: bool = False,
    ) -> None:
        super().__init__()
        self.n, self.T, self.length = n_samples, T, 2 * n_samples
        self.global_second_order = global_second_order
        phi = None if T is None else fb.low_pass(self.length, T)
        in_sum = phi if T is not None and 2**J <= T else None
        self.phi = None if phi is None else np.concatenate([phi, phi[-2:0:-1]])
        self.first, self.second = [], []
        for bank, q in ((self.first, Q), (self.second, 1)):
            made = [fb.wavelet(self.length, *p) for p in fb.centre_frequencies(J, q, n_samples)]
            made, coarse = fb.energy_normalise(made, self.length, in_sum, target=2)
            quirk = coarse if coarse_quirk and bank is self.second else np.ones(len(made))
            bank.extend(zip(made, quirk, strict=True))
        self.frequential = FrequentialBank(J_fr, Q_fr, F)

    @classmethod
    def reference(cls, n_samples: int) -> "DirectJTFS":
        """The authors' operator."""
        return cls(13, 12, T=2**13, n_samples=n_samples, global_second_order=True, coarse_quirk=True)

    def forward(self, x: Tensor) -> Tensor:
        """(items, n) → (items, K), in the dtype of x."""
        X = torch.fft.fft(x, n=self.length)
        U1 = torch.stack([torch.fft.ifft(X * self._full(w.spectrum, x)).abs() for w, _ in self.first], 1)
        U1_hat = torch.fft.fft(U1)
        S1 = self._average(U1)
        S0 = X[:, :1].real.abs() * (math.sqrt(self.T or self.n) / self.length)
        rows = [sum(w.j < v.j for w, _ in self.first) for v, _ in self.second]
        low, waves = self._along_frequency(S1, max(rows))
        blocks = [S0, S1.flatten(1), low.flatten(1), *(math.sqrt(2) * up.abs().flatten(1) for up, _ in waves)]
        lows, ups, downs = [], [], []
        for (v, coarse), r in zip(self.second, rows, strict=True):
            if r:
                gains = torch.tensor([coarse if w.j >= 1 else 1.0 for w, _ in self.first[:r]]).to(x)[:, None]
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
        phi = torch.from_numpy(self.phi).to(U)
        return torch.fft.ifft(torch.fft.fft(U) * phi).real[..., : self.n : self.T] * math.sqrt(self.T)

    def _average_second(self, U: Tensor) -> Tensor:
        if self.global_second_order:
            return U.mean(-1, keepdim=True) * math.sqrt(self.T or self.n)
        return self._average(U)

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
