"""The stages of the operator on jets (1 + d, items, …): envelopes, their low-pass, the second order.

Each stage has a ``forward`` and, for one part, its adjoint ``pull_back``: reverse mode is written out, as an automatic
one would keep a copy of all gradients for each of the many stages that read the same envelopes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pnpkit.jtfs import kernels
from pnpkit.jtfs.design import Bands
from pnpkit.jtfs.frequential import Rows, keep
from pnpkit.jtfs.modulus import compiled, interleaved, mean_modulus, mean_modulus_back, modulus, modulus_back, planes


def fit(spectrum: Tensor, n: int) -> Tensor:
    """The first n bins; absent ones are zero."""
    missing = n - spectrum.shape[-1]
    return nn.functional.pad(spectrum, (0, missing)) if missing > 0 else spectrum[..., :n]


def rfft_back(gradient: Tensor, n: int, norm: str) -> Tensor:
    """Adjoint of ``rfft`` of n samples (even), over n if ``norm`` is "backward"; overwrites what it is given."""
    gradient[..., 1 : n // 2] /= 2  # a bin stands for its mirror image too
    return torch.fft.irfft(gradient, n=n, norm=norm)


class Placement(nn.Module):
    """Bands of spectra, weighted and moved to zero frequency, and the signals they make at their own rate."""

    weights: Tensor

    def __init__(self, bands: Bands) -> None:
        super().__init__()
        self.starts, self.length = np.asarray(bands.starts, dtype=np.int64), bands.length
        keep(self, "weights", bands.weights)

    def sources(self, spectra: Sequence[Tensor]) -> Iterator[tuple[Tensor, int, int]]:
        """Those of the spectra that hold the bands, the first band that each gives, and how many.

        One a channel, from the highest on; all if there is one channel only.
        """
        bands, first = len(self.starts), 0
        for spectrum in spectra:
            count = bands if len(spectra) == 1 and spectrum.shape[2] == 1 else min(spectrum.shape[2], bands - first)
            if count:
                yield spectrum, first, count
            first += count

    def place(self, spectra: Sequence[Complex[Tensor, "parts items _ _"]]) -> Complex[Tensor, "parts items bands n"]:
        """The signals, from spectra of one channel or more, which follow one another."""
        bands, width = self.weights.shape
        out = spectra[0].new_empty(*spectra[0].shape[:2], bands, self.length)
        for spectrum, first, count in self.sources(spectra):
            if compiled(out):
                source, target = (interleaved(s.flatten(0, 1)) for s in (spectrum, out))
                kernels.place(source, self.starts, self.weights.numpy(), first, count, target)
                continue
            for b in range(count):
                band = fit(spectrum[:, :, min(b, spectrum.shape[2] - 1), self.starts[first + b] :], width)
                out[:, :, first + b] = fit(band * self.weights[first + b], self.length)
        return torch.fft.ifft(out, norm="forward")

    def place_back(self, gradient: Tensor, spectra: Sequence[Tensor]) -> None:
        """Add to gradients of the spectra (contiguous) what follows from that of the signals."""
        gradient = torch.fft.fft(gradient)
        for spectrum, first, count in self.sources(spectra):
            if compiled(gradient):
                source, target = (interleaved(s.flatten(0, 1)) for s in (gradient, spectrum))
                kernels.place_back(source, self.starts, self.weights.numpy(), first, count, target)
                continue
            for b in range(count):
                target = spectrum[:, :, min(b, spectrum.shape[2] - 1), self.starts[first + b] :]
                n = min(self.weights.shape[1], target.shape[-1])
                target[..., :n] += gradient[:, :, first + b, :n] * self.weights[first + b, :n]


class Envelopes(Placement):
    """Fourier transforms of ``|x * ψ|`` for the bands of one length."""

    def __init__(self, bands: Bands, padded_length: int) -> None:
        super().__init__(replace(bands, weights=bands.weights / padded_length))

    def bands(self, spectrum: Complex[Tensor, "parts items bins"]) -> Complex[Tensor, "parts items bands time"]:
        """x * ψ, each at zero frequency."""
        return self.place([spectrum.unsqueeze(2)])

    def forward(self, spectrum: Complex[Tensor, "parts items bins"]) -> Complex[Tensor, "parts items bands low"]:
        """Cut out each band, take it to zero frequency, invert, take the modulus, transform."""
        return self.of_bands(self.bands(spectrum))

    def of_bands(self, z: Complex[Tensor, "parts items bands time"]) -> Complex[Tensor, "parts items bands low"]:
        """The transforms of the moduli of what :meth:`bands` gives."""
        return torch.fft.rfft(modulus(z), norm="forward")

    def pull_back(self, z: Tensor, gradient: Tensor, spectrum: Tensor) -> None:
        """Add to the gradient of the spectrum; uses that of the envelopes up."""
        moduli = rfft_back(gradient, self.length, "backward")
        self.place_back(modulus_back(z, moduli), [spectrum.unsqueeze(2)])


class LowPass(nn.Module):
    """φ_T in time and sampling every T samples, times √T; for T = None the mean over the N samples, times √N."""

    bins: Tensor

    def __init__(self, bins: NDArray[np.floating], T: int | None, n_samples: int) -> None:
        super().__init__()
        self.gain = math.sqrt(n_samples if T is None else T)
        self.frames = 1 if T is None else n_samples // T
        # All frequencies of φ_T fit twice the frame rate; over the padded time that is four samples a frame
        self.length = 4 * self.frames
        # A mean over the N samples of the sound is twice one over the padded time
        self.mean_gain = 2 * self.gain if T is None else self.gain
        keep(self, "bins", bins * self.mean_gain)

    def forward(self, spectrum: Complex[Tensor, "*batch low"]) -> Float[Tensor, "*batch frames"]:
        """Frames, from the non-negative bins of an envelope over the padded time, in units of its mean."""
        filtered = fit(spectrum, len(self.bins)) * self.bins
        return torch.fft.irfft(filtered, n=self.length, norm="forward")[..., : 2 * self.frames : 2]


class SecondOrder(Placement):
    """One second-order wavelet: envelopes in, averages out."""

    filters: Sequence[Rows]

    def __init__(self, bands: Bands, filters: list[Rows], low_pass: LowPass | None, gain: float) -> None:
        super().__init__(bands)
        self.rows, self.gain = len(bands.starts), gain
        self.low_pass = [] if low_pass is None else [low_pass]  # in a list, so as not to own it twice
        self.filters = nn.ModuleList(filters)  # type: ignore[assignment]
        self.outputs = sum(f.wavelets for f in filters) * self.rows  # of one spin
        frames = 1 if low_pass is None else low_pass.frames
        self.sizes = (self.rows * frames, self.outputs * frames, self.outputs * frames)  # low-pass, up, down

    def forward(self, z: Complex[Tensor, "parts items rows time"]) -> tuple[Tensor, Tensor, Tensor]:
        """Averages of a plane: low-pass along the rows, spin up, spin down; each (parts, items, coefficients)."""
        if self.low_pass:
            moduli = modulus(torch.cat(planes(self.filters, z), -2))
            averages = self.low_pass[0](torch.fft.rfft(moduli, norm="forward"))
        else:
            averages = mean_modulus(self.filters, z).unsqueeze(-1) * self.gain
        up, down, low = (part.flatten(2) for part in averages.tensor_split((self.outputs, 2 * self.outputs), 2))
        return low, up, down

    def pull_back(self, z: Tensor, gradients: tuple[Tensor, ...], envelopes: Sequence[Tensor]) -> None:
        """Add to the gradients of the envelopes."""
        if self.low_pass:
            with torch.enable_grad():
                leaf = z.detach().requires_grad_()
                averages = self(leaf)
            (gradient,) = torch.autograd.grad(averages, leaf, gradients)
        else:
            low, up, down = gradients
            gradient = mean_modulus_back(self.filters, z, torch.cat([up, down, low], -1) * self.gain)
        self.place_back(gradient, envelopes)
