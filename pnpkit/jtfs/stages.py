"""The stages of the operator, each on jets (1 + d, items, …): envelopes, their low-pass, and the second order."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pnpkit.jtfs.design import Bands, Modulation
from pnpkit.jtfs.frequential import RowFilters
from pnpkit.jtfs.modulus import mean_modulus, modulus, planes


def keep(module: nn.Module, name: str, constant: NDArray) -> None:
    """Register a constant: it follows the module's device and dtype, and stays out of its state."""
    module.register_buffer(name, torch.from_numpy(constant.copy()).float(), persistent=False)


def fit(spectrum: Tensor, n: int) -> Tensor:
    """The first n bins; absent ones are zero."""
    missing = n - spectrum.shape[-1]
    return nn.functional.pad(spectrum, (0, missing)) if missing > 0 else spectrum[..., :n]


class Envelopes(nn.Module):
    """Fourier transforms of |x * ψ| for the bands of one length."""

    weights: Tensor

    def __init__(self, bands: Bands, padded_length: int) -> None:
        super().__init__()
        self.starts, self.length = bands.starts, bands.length
        keep(self, "weights", bands.weights / padded_length)

    def forward(self, spectrum: Complex[Tensor, "parts items bins"]) -> Complex[Tensor, "parts items bands low"]:
        """Cut out each band, take it to zero frequency, invert, take the modulus, transform."""
        width = self.weights.shape[-1]
        spectrum = fit(spectrum, max(self.starts) + width)  # a band narrower than its group may end at Nyquist
        cut = torch.stack([spectrum[..., start : start + width] for start in self.starts], 2)
        band = torch.fft.ifft(cut * self.weights, n=self.length, norm="forward")
        return torch.fft.rfft(modulus(band), norm="forward")


class LowPass(nn.Module):
    """φ_T in time and sampling every T samples, times √T; for T = None the mean over the N samples, times √N."""

    bins: Tensor

    def __init__(self, bins: NDArray, T: int | None, n_samples: int) -> None:
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


class Rows(nn.Module):
    """Filters along the rows: convolution as a matrix product, on all rows or on a few combinations of them."""

    weights: Tensor
    reduction: Tensor

    def __init__(self, filters: RowFilters, rows: int) -> None:
        super().__init__()
        self.n = filters.wavelets * rows  # rows of the real parts, then as many of the imaginary parts
        self.reduced = filters.reduction is not None
        keep(self, "weights", filters.weights)
        if filters.reduction is not None:
            keep(self, "reduction", filters.reduction)

    def inputs(self, x: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch inputs columns"]:
        """What the weights apply to."""
        return self.reduction @ x if self.reduced else x


class JointFirstOrder(nn.Module):
    """φ_t paths: the averaged first order, filtered along log-frequency."""

    def __init__(self, filters: list[RowFilters], rows: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(Rows(f, rows) for f in filters)

    def forward(self, s1: Float[Tensor, "parts items bands frames"]) -> list[Tensor]:
        """Low-pass and wavelets. One spin serves for both, hence a factor √2 on the latter."""
        lows, psis = [], []
        for rows in self.filters:
            assert isinstance(rows, Rows)
            re, im, low = (rows.weights @ rows.inputs(s1)).tensor_split((rows.n, 2 * rows.n), 2)
            lows.append(low.flatten(2))
            psis.append(modulus(torch.complex(re, im)).flatten(2) * math.sqrt(2))
        return lows + psis


class RowModuli(Rows):
    """Filters along the rows of a plane, the modulus, and its average over time."""

    def __init__(self, filters: RowFilters, rows: int, low_pass: LowPass | None, gain: float) -> None:
        super().__init__(filters, rows)
        self.low_pass = [] if low_pass is None else [low_pass]  # in a list, so as not to own it twice
        self.gain = gain

    def forward(self, z: Complex[Tensor, "parts items rows time"]) -> tuple[Tensor, ...]:
        """Averages of up, down and low-pass rows, each (parts, items, rows, frames)."""
        signals = self.inputs(torch.view_as_real(z).flatten(-2))
        if self.low_pass:
            moduli = modulus(planes(self.weights @ signals, self.n))
            averages = self.low_pass[0](torch.fft.rfft(moduli, norm="forward"))
        else:
            averages = mean_modulus(self.weights, self.n, signals).unsqueeze(-1) * self.gain
        return averages.tensor_split((self.n, 2 * self.n), 2)


class SecondOrder(nn.Module):
    """One second-order wavelet: envelopes in, averages out."""

    weights: Tensor
    gains: Tensor

    def __init__(self, modulation: Modulation, low_pass: LowPass | None, gain: float) -> None:
        super().__init__()
        self.rows, self.start, self.length = len(modulation.gains), modulation.start, modulation.length
        keep(self, "weights", modulation.weights)
        keep(self, "gains", modulation.gains[:, None])
        self.filters = nn.ModuleList(RowModuli(f, self.rows, low_pass, gain) for f in modulation.filters)

    def forward(self, envelopes: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Low-pass along the rows, spin up, spin down: each (parts, items, coefficients)."""
        pieces, missing, width = [], self.rows, self.weights.shape[-1]
        for envelope in envelopes:
            if missing > 0:
                pieces.append(fit(envelope[:, :, :missing, self.start :], width))
                missing -= envelope.shape[2]
        z = torch.fft.ifft(torch.cat(pieces, 2) * (self.gains * self.weights), n=self.length, norm="forward")
        kinds: tuple[list[Tensor], ...] = ([], [], [])
        for stage in self.filters:
            for kind, block in zip(kinds, stage(z), strict=True):
                kind.append(block.flatten(2))
        up, down, low = (torch.cat(kind, -1) for kind in kinds)
        return low, up, down
