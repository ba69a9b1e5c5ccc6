"""Three distances between two sounds: scattering, and the multi-scale spectra of the paper's code and of its text."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_floating, require_same_shape, somewhere
from pnpkit.jtfs import log_compress
from pnpkit.jtfs.operator import LOUD

MSS_RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window
DDSP_SIZES = (2048, 1024, 512, 256, 128, 64)


def jtfs_distance(
    x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"], jtfs: Callable[[Tensor], Tensor]
) -> Float[Tensor, "*batch"]:
    r"""Distance of two sounds in the space of their log-compressed scattering, :math:`\|\Phi(x) - \Phi(y)\|_2`.

    Args:
        x, y: waveforms of equal shape.
        jtfs: scattering operator, waveform → S, or a Φ that has one as ``jtfs``; Φ = log(1 + S/10⁻³).

    Returns:
        One number an item, float64.

    Raises:
        ValueError: if the shapes differ.

    Source: GRETSI 2023, section 4 and Eq (9).

    >>> jtfs_distance(torch.zeros(2), torch.full((2,), 1e-3), lambda x: x)  # log 2 in both coefficients
    tensor(0.9803, dtype=torch.float64)
    """
    require_same_shape(x, y)
    jtfs = getattr(jtfs, "jtfs", jtfs)
    return (log_compress(jtfs(x)) - log_compress(jtfs(y))).double().norm(dim=-1)


def mss_distance(
    x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"], pooled: bool = False
) -> Float[Tensor, "..."]:
    r"""Multi-scale spectral distance as the authors' code computed it: auraloss's defaults.

    .. math:: \tfrac13 \sum_{\text{sizes}} \Big(\frac{\|Y - X\|_F}{\|Y\|_F} + \operatorname{mean}|\ln X - \ln Y|\Big)

    X, Y are magnitudes under Hann windows, not less than 10⁻⁴. The first term is not symmetric; y is the target.

    Args:
        x: reconstruction.
        y: target, of equal shape.
        pooled: take both norms over the whole batch, as auraloss does; the value then depends on the batch.

    Returns:
        One number an item, or a single one if ``pooled``; in the dtype of x. Its gradient is zero where the sounds are
        equal.

    Raises:
        ValueError: if the shapes differ, or the sounds have no more than 1 024 samples or are not floating-point; if
            none are pooled.

    Source: Steinmetz and Reiss, 2020 (``auraloss.freq.MultiResolutionSTFTLoss``); Yamamoto et al., 2019.

    >>> x = torch.sin(torch.arange(4096.0))
    >>> mss_distance(x, x)
    tensor(0.)
    """
    dtype = x.dtype
    x, y = _checked(x, y, 1 + max(MSS_RESOLUTIONS)[0] // 2)  # reflected at their ends
    if pooled and not x.numel():
        raise ValueError("a pooled distance needs at least one sound")
    axes = None if pooled else (-2, -1)
    total = torch.zeros(() if pooled else x.shape[:-1], dtype=x.dtype, device=x.device)
    for n_fft, hop, length in MSS_RESOLUTIONS:
        window = torch.hann_window(length, dtype=x.dtype, device=x.device)
        X, Y = (_power(s, n_fft, hop, window, center=True).clamp_min(1e-8).sqrt() for s in (x, y))
        convergence = root((Y - X).square().sum(axes)) / Y.square().sum(axes).sqrt()
        total = total + convergence + (X.log() - Y.log()).abs().mean(axes)
    return (total / len(MSS_RESOLUTIONS)).to(dtype)


def ddsp_mss_distance(x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Multi-scale spectral distance as the paper's text describes it: that of DDSP.

    .. math:: \sum_{\text{sizes}} \big(\operatorname{mean}|X - Y| + \operatorname{mean}|\ln X - \ln Y|\big)

    Six FFT sizes, 2048 … 64, Hann windows, 75 % overlap, the end padded with zeros so that each sample is in a frame;
    magnitudes under 10⁻⁵ count as 10⁻⁵ in the logarithm, as in DDSP.

    Args:
        x, y: waveforms of equal shape.

    Returns:
        One number an item, in the dtype of x.

    Raises:
        ValueError: if the shapes differ, or the sounds have no sample or are not floating-point.

    Source: Engel et al., 2020, Eq (4), with α = 1.

    >>> x = torch.sin(torch.arange(4096.0))
    >>> ddsp_mss_distance(x, x)
    tensor(0.)
    """
    dtype = x.dtype
    x, y = _checked(x, y, 1)
    total = torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
    for size in DDSP_SIZES:
        hop = size // 4
        window = torch.hann_window(size, dtype=x.dtype, device=x.device)
        tail = (-(-x.shape[-1] // hop) - 1) * hop + size - x.shape[-1]
        X, Y = (_power(torch.nn.functional.pad(s, (0, tail)), size, hop, window, center=False) for s in (x, y))
        X, Y = (power.clamp_min(1e-30).sqrt() for power in (X, Y))  # a root has no slope at zero
        log = (X.clamp_min(1e-5).log() - Y.clamp_min(1e-5).log()).abs()
        total = total + (X - Y).abs().mean((-2, -1)) + log.mean((-2, -1))
    return total.to(dtype)


def root(square: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Square root whose slope at zero is zero, as a norm's may be taken to be; elsewhere the square root to the bit."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _checked(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Two sounds of at least so many samples; in float32 at least, in float64 if one is so loud that it overflows."""
    require_same_shape(x, y)
    for sound in (x, y):
        require_floating("a sound", sound)
    if x.ndim == 0 or x.shape[-1] < least:
        raise ValueError(f"a sound of shape {tuple(x.shape)} is too short: its last dimension must be at least {least}")
    x, y = (sound.float() if sound.itemsize < 4 else sound for sound in (x, y))
    return (x.double(), y.double()) if somewhere((x.abs() > LOUD) | (y.abs() > LOUD)) else (x, y)


def _power(x: Tensor, n_fft: int, hop: int, window: Tensor, center: bool) -> Tensor:
    """Power spectrogram, (*batch, bins, frames)."""
    if not x.numel():  # which FFTs do not take
        return x.reshape(*x.shape[:-1], 1, 1)
    flat = x.reshape(-1, x.shape[-1])
    z = torch.stft(flat, n_fft, hop, len(window), window, center=center, return_complex=True)
    return (z.real.square() + z.imag.square()).reshape(*x.shape[:-1], *z.shape[-2:])
