"""The joint time–frequency scattering operator."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pnpkit._checks import require_finite, require_floating
from pnpkit.jtfs import filterbank as fb
from pnpkit.jtfs.frequential import FrequentialBank
from pnpkit.jtfs.modulus import mean_modulus, modulus
from pnpkit.jtfs.paths import Path, path_table


@dataclass(frozen=True)
class _Cut:
    """Bins of a spectrum that one filter keeps: those from ``start`` on, weighted."""

    start: int
    weights: NDArray[np.float64]


class JTFS(nn.Module):
    r"""Joint time–frequency scattering of a waveform: S, 16 018 coefficients for the authors' settings.

    .. math:: S_1[\lambda](t) = |x * \psi_\lambda| * \phi_T, \qquad
              S_2[\lambda, \mu, \ell, \pm] = \big\langle \big| |x * \psi_\lambda| * \psi_\mu(t) *
              \psi_{\ell,\pm}(\log_2\lambda) \big| \big\rangle_t

    The waveform is zero-padded to twice its length. First-order paths keep a frame every T samples; second-order
    paths are averaged over the whole padded time. All are multiplied by √T.

    A modulus does not see a phase ramp, so each band is cut out of the spectrum, moved to zero frequency and inverted
    at about twice its bandwidth; the second order needs only the low bins of each first-order envelope. No full-rate
    inverse transform is ever computed.

    Args:
        J: log2 of the largest temporal scale, in samples.
        Q: wavelets an octave in time; the second order has one.
        J_fr: log2 of the largest scale along log-frequency, in rows.
        Q_fr: wavelets an octave along log-frequency.
        F: scale in rows of the frequential low-pass.
        T: averaging scale of the first order in samples, a power of two.
        n_samples: length of the waveform, a power of two.
        coarse_quirk: reproduce a quirk of the authors' operator. It kept copies of each second-order filter at
            several sampling rates, and energy-normalised the full-rate copy in three passes but the others in the
            last pass only; so bands with j ≥ 1, which met a subsampled copy, came out weaker by about 0.787.

    Raises:
        ValueError: if a size is out of range (the message names it).

    Source: Andén, Lostanlen, Mallat, IEEE TSP 2019; settings of GRETSI 2023.

    >>> jtfs = JTFS.reference(2**15)
    >>> jtfs(torch.zeros(2, 2**15)).shape
    torch.Size([2, 16018])
    """

    paths: pd.DataFrame
    lowpass_cos: Tensor
    lowpass_sin: Tensor
    joint_low: Tensor
    joint_re: Tensor
    joint_im: Tensor

    def __init__(
        self,
        J: int,
        Q: int,
        *,
        J_fr: int = 6,
        Q_fr: int = 1,
        F: int = 2,
        T: int,
        n_samples: int,
        coarse_quirk: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(J, Q, J_fr, Q_fr, F, T, n_samples)
        self.n_samples, self.T = n_samples, T
        self.length = 2 * n_samples  # padded
        self.frames = n_samples // T

        phi = fb.low_pass(self.length, T)
        in_sum = phi if 2**J <= T else None
        first, _ = fb.energy_normalise(self._bank(J, Q), self.length, in_sum, target=2)
        second, coarse = fb.energy_normalise(self._bank(J, 1), self.length, in_sum, target=2)
        self._n_first = len(first)
        self._build_first_order(first, phi)
        rows = [sum(w.j < v.j for w in first) for v in second]  # bands slower than their modulation are left out
        self._n_rows = max(rows)
        frequential = FrequentialBank(J_fr, Q_fr, F)
        self._build_joint_first_order(frequential)
        self._second: list[tuple[int, int, int]] = []  # (rows, first bin, length) of each second-order scale
        for v, r, c in zip(second, rows, coarse, strict=True):
            if r:
                gains = [c if coarse_quirk and w.j >= 1 else 1.0 for w in first[:r]]
                self._build_second_order(v, np.array(gains), frequential)
        self.paths = self._path_table(first, second, rows, frequential, Q)

    @classmethod
    def reference(cls, n_samples: int) -> "JTFS":
        """The authors' operator: J = 13, Q = 12, J_fr = 6, Q_fr = 1, F = 2, T = 2^13, their quirk included."""
        return cls(13, 12, J_fr=6, Q_fr=1, F=2, T=2**13, n_samples=n_samples, coarse_quirk=True)

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients of S."""
        return int((self.paths.rows * self.paths.frames).sum())

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
        """Scattering coefficients S of each waveform, in the dtype and on the device of the module.

        Raises:
            ValueError: if the waveform is not floating-point, not finite, or of another length than ``n_samples``.
        """
        require_floating("x", x)
        if x.ndim == 0 or x.shape[-1] != self.n_samples:
            raise ValueError(f"x has shape {tuple(x.shape)}; its last dimension must be n_samples = {self.n_samples}")
        require_finite("x", x)
        flat = x.reshape(-1, self.n_samples).to(self.lowpass_cos)
        spectrum = torch.fft.rfft(flat, n=self.length)
        envelopes = self._envelopes(spectrum)
        # The authors kept the sign of the mean, which log1p cannot take below −ε; Φ and M of their sounds are the same.
        s0 = spectrum[:, :1].real.abs() * (math.sqrt(self.T) / self.length)
        s1 = self._average(envelopes)
        blocks = [s0, s1.flatten(1), *self._joint_first_order(s1), *self._second_order(envelopes)]
        S = torch.cat(blocks, -1)
        return S.reshape(*x.shape[:-1], S.shape[-1])  # also of one waveform, which has no batch to unflatten

    # First order

    def _bank(self, J: int, Q: int) -> list[fb.Wavelet]:
        pairs = fb.centre_frequencies(J, Q, self.n_samples)
        return [fb.wavelet(self.length, xi, sigma) for xi, sigma in pairs]

    def _build_first_order(self, bank: list[fb.Wavelet], phi: fb.Array) -> None:
        """Group the bands by the length at which their envelopes are computed."""
        cuts = [_cut(w.spectrum, 1e-5) for w in bank]
        lengths = [min(self.length, max(128, _fast_length(4 * len(c.weights)))) for c in cuts]
        # Nyquist cuts the highest bands short: without this they would fall behind lower ones, out of their order.
        lengths = [max(lengths[n:]) for n in range(len(lengths))]
        self._first: list[tuple[int, int]] = []  # (bands, length) of each group
        for length in sorted(set(lengths), reverse=True):
            group = [c for c, n in zip(cuts, lengths, strict=True) if n == length]
            width = max(len(c.weights) for c in group)
            index = np.stack([c.start + np.arange(width) for c in group]).clip(max=self.length // 2)
            weights = np.stack([np.pad(c.weights, (0, width - len(c.weights))) for c in group])
            self._keep(f"index_{len(self._first)}", torch.from_numpy(index))
            self._keep(f"first_{len(self._first)}", torch.from_numpy(weights))
            self._first.append((len(group), length))
        bins = np.arange(min(len(phi), int(6 * fb.SIGMA_LOWPASS / self.T * self.length) + 2))
        angle = 2 * np.pi * np.outer(bins, self.T * np.arange(self.frames)) / self.length
        scale = np.where(bins == 0, 1, 2) * phi[bins] * math.sqrt(self.T) / self.length
        self._keep("lowpass_cos", torch.from_numpy(scale[:, None] * np.cos(angle)))
        self._keep("lowpass_sin", torch.from_numpy(-scale[:, None] * np.sin(angle)))

    def _envelopes(self, spectrum: Tensor) -> list[Tensor]:
        """Fourier transform of each |x * ψ| at its own rate: a group a tensor, (items, bands, length/2 + 1)."""
        groups = []
        for g, (_, length) in enumerate(self._first):
            cut = spectrum[:, self.get_buffer(f"index_{g}")] * self.get_buffer(f"first_{g}")
            groups.append(torch.fft.rfft(modulus(torch.fft.ifft(cut, n=length))))
        return groups

    def _average(self, envelopes: list[Tensor]) -> Tensor:
        """S1, (items, bands, frames): low-pass and sampling of the envelopes, straight from their low bins."""
        n = len(self.lowpass_cos)
        low = torch.cat([_fit(e, n) for e in envelopes], 1)
        return low.real @ self.lowpass_cos + low.imag @ self.lowpass_sin

    # Along log-frequency

    def _build_joint_first_order(self, frequential: FrequentialBank) -> None:
        low, wavelets = frequential.matrices(self._n_first)  # every band is heard, those without second order too …
        kept = wavelets[: len(frequential.scales(self._n_rows)), : self._n_rows]  # … and the others give paths
        self._keep("joint_low", torch.from_numpy(low[: self._n_rows]))
        self._keep("joint_re", torch.from_numpy(math.sqrt(2) * kept.real.reshape(-1, self._n_first)))
        self._keep("joint_im", torch.from_numpy(math.sqrt(2) * kept.imag.reshape(-1, self._n_first)))

    def _joint_first_order(self, s1: Tensor) -> list[Tensor]:
        """φ_t paths: S1 filtered along log-frequency. One spin serves for both, hence a factor √2 on ψ_f."""
        psi = modulus(torch.complex(self.joint_re @ s1, self.joint_im @ s1))
        return [(self.joint_low @ s1).flatten(1), psi.flatten(1)]

    # Second order

    def _build_second_order(self, w: fb.Wavelet, gains: fb.Array, frequential: FrequentialBank) -> None:
        cut = _cut(w.spectrum * (math.sqrt(self.T) / self.length), 1e-4)
        width = len(cut.weights)
        length = max(64, _fast_length(width * (1 if width >= 1024 else 2 if width > 400 else 3)))
        low, wavelets = frequential.matrices(len(gains))
        n = len(self._second)
        stack = [wavelets.real.reshape(-1, len(gains)), wavelets.imag.reshape(-1, len(gains)), low]
        self._keep(f"second_{n}", torch.from_numpy(cut.weights))
        self._keep(f"gain_{n}", torch.from_numpy(gains[:, None]))
        self._keep(f"spin_{n}", torch.from_numpy(np.concatenate(stack)))
        self._second.append((len(gains), cut.start, min(self.length, length)))

    def _second_order(self, envelopes: list[Tensor]) -> list[Tensor]:
        low: list[Tensor] = []
        up: list[Tensor] = []
        down: list[Tensor] = []
        for n, (rows, start, length) in enumerate(self._second):
            weights, spin = self.get_buffer(f"second_{n}"), self.get_buffer(f"spin_{n}")
            pieces, missing = [], rows
            for (bands, _), envelope in zip(self._first, envelopes, strict=True):
                if missing > 0:
                    pieces.append(_fit(envelope[:, : min(bands, missing), start:], len(weights)))
                    missing -= bands
            product = torch.cat(pieces, 1) * (weights * self.get_buffer(f"gain_{n}"))
            z = torch.fft.ifft(product, n=length, norm="forward")
            wavelets = (len(spin) - rows) // 2
            averages = mean_modulus(spin, wavelets, z.real.contiguous(), z.imag.contiguous())
            for blocks, block in zip((up, down, low), averages.tensor_split((wavelets, 2 * wavelets), -1), strict=True):
                blocks.append(block)
        return low + up + down

    # Housekeeping

    def _keep(self, name: str, tensor: Tensor) -> None:
        """Register a constant: it follows the module's device and dtype, and stays out of its state."""
        self.register_buffer(name, tensor.float() if tensor.is_floating_point() else tensor, persistent=False)

    def _path_table(
        self, first: list[fb.Wavelet], second: list[fb.Wavelet], rows: list[int], fr: FrequentialBank, Q: int
    ) -> pd.DataFrame:
        n_rows, frames = self._n_rows, self.frames
        paths = [Path("S0", -1, -1, 0, 0.0, 0.0, 1, 1)]
        paths += [Path("S1", n, -1, 0, w.xi, 0.0, 1, frames) for n, w in enumerate(first)]
        paths += [Path("phi_t*phi_f", -1, -1, 0, 0.0, 0.0, n_rows, frames)]
        scales = fr.scales(n_rows)
        paths += [Path("phi_t*psi_f", -1, k, 0, 0.0, xi, n_rows, frames) for k, xi in enumerate(scales)]
        kept = [(n, v.xi, r) for n, (v, r) in enumerate(zip(second, rows, strict=True)) if r]
        paths += [Path("psi_t*phi_f", n, -1, 0, xi, 0.0, r, 1) for n, xi, r in kept]
        for pair, spin in (("psi_t*psi_f_up", 1), ("psi_t*psi_f_dn", -1)):
            for n, rate, r in kept:
                paths += [Path(pair, n, k, spin, rate, xi, r, 1) for k, xi in enumerate(fr.scales(r))]
        return path_table(paths, Q)


def _cut(spectrum: fb.Array, threshold: float) -> _Cut:
    """The bins of a filter above ``threshold`` of its peak."""
    support = np.flatnonzero(np.abs(spectrum) > threshold * np.abs(spectrum).max())
    return _Cut(int(support[0]), spectrum[support[0] : support[-1] + 1])


def _fit(envelope: Tensor, n: int) -> Tensor:
    """The first n bins; absent ones are zero."""
    kept = envelope[..., :n]
    return kept if kept.shape[-1] == n else nn.functional.pad(kept, (0, n - kept.shape[-1]))


def _fast_length(n: int) -> int:
    """Smallest 2^k or 3·2^k that is at least n."""
    return min(m << k for m in (1, 3) for k in range(2, 40) if m << k >= n)


def _check_sizes(J: int, Q: int, J_fr: int, Q_fr: int, F: int, T: int, n_samples: int) -> None:
    for name, value in (("J", J), ("Q", Q), ("J_fr", J_fr), ("Q_fr", Q_fr), ("F", F)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if n_samples < 2 or n_samples & (n_samples - 1):
        raise ValueError(f"n_samples must be a power of two, not {n_samples}")
    if n_samples < 2**J:
        raise ValueError(f"J = {J} needs at least 2^{J} = {2**J} samples; n_samples is {n_samples}")
    if not 1 <= T <= n_samples or T & (T - 1):
        raise ValueError(f"T must be a power of two from 1 to n_samples = {n_samples}, not {T}")


def log_compress(S: Float[Tensor, "*batch k"], eps: float = 1e-3) -> Float[Tensor, "*batch k"]:
    r"""Perceptual descriptor Φ from scattering coefficients: :math:`\Phi = \log(1 + S/\varepsilon)`.

    Args:
        S: coefficients, not negative up to rounding.
        eps: ε > 0, in the unit of S; the authors' 1e-3 is about the median of S over the data set.

    Raises:
        ValueError: if ε is not positive.

    Source: GRETSI 2023, Eq (9).

    >>> log_compress(torch.tensor([0.0, 1e-3]))
    tensor([0.0000, 0.6931])
    """
    if eps <= 0:
        raise ValueError(f"eps must be positive, not {eps}")
    return torch.log1p(S / eps)
