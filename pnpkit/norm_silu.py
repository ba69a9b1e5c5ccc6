"""Batch normalisation and SiLU of the analyser in one layer, compiled by numba for training on a CPU.

A training step at batch 256 is bound by memory: activations are larger than any cache, and torch reads or writes them
fifteen times for each normalisation and its SiLU, there and back. Eight are enough, since the backward pass can compute
the normalised activation again faster than it could read it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, no_type_check

import numpy as np
import torch
from numba import njit
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

# No reassociation: the exponential rounds by adding a large number and taking it away again
EXACT = {"contract", "arcp", "nsz"}
BLOCK = 64  # rows summed in float32 before they are added to a float64 total

_ONE, _LOWEST, _HIGHEST = np.float32(1), np.float32(-87), np.float32(88)  # of the arguments: exp stays a normal float32
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2
_ROUNDER = np.float32(1.5 * 2**23)  # x + this − this is x to the nearest integer, and x + this ends in its bits
_EXPONENT_BIAS, _FRACTION_BITS = np.int32(127), np.int32(23)
# e^r = 1 + r + r²/2 + …, |r| ≤ ln 2 / 2: the minimax polynomial of Cephes, highest degree first
_A, _B, _C = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_D, _E, _F = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@no_type_check
@njit(inline="always", fastmath=EXACT, error_model="numpy")
def _exp(x):
    """e^x to 2e-7 relative, from operations that vectorise: numba's own exp is a call for each number."""
    x = min(max(x, _LOWEST), _HIGHEST)
    shifted = np.float32(x * _LOG2_E + _ROUNDER)
    n = shifted - _ROUNDER
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    series = (((((_A * r + _B) * r + _C) * r + _D) * r + _E) * r + _F) * r * r + r + _ONE
    power = np.int32((np.float32(shifted).view(np.int32) + _EXPONENT_BIAS) << _FRACTION_BITS)
    return series * power.view(np.float32)


@no_type_check
@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def _sum_differences(x, about, plain, squared):
    """Over the rows: Σ (x − about) and Σ (x − about)²."""
    rows, channels = x.shape
    a, b = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - about[c]
            a[c] += difference
            b[c] += difference * difference
        if i % BLOCK == BLOCK - 1 or i == rows - 1:
            for c in range(channels):
                plain[c] += a[c]
                squared[c] += b[c]
                a[c], b[c] = 0, 0


@no_type_check
@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def _activate(x, mean, scale, bias, y):
    """y = z σ(z), z = scale (x − mean) + bias."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            z = (x[i, c] - mean[c]) * scale[c] + bias[c]
            y[i, c] = z / (_ONE + _exp(-z))


@no_type_check
@njit(inline="always", fastmath=EXACT, error_model="numpy")
def _silu_slope(z):
    s = _ONE / (_ONE + _exp(-z))
    return s * (_ONE + z * (_ONE - s))


@no_type_check
@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def _sum_gradients(x, dy, mean, scale, bias, plain, centred):
    """Over the rows: Σ g and Σ g (x − mean), where g = dy · dy/dz."""
    rows, channels = x.shape
    a, b = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - mean[c]
            g = dy[i, c] * _silu_slope(difference * scale[c] + bias[c])
            a[c] += g
            b[c] += g * difference
        if i % BLOCK == BLOCK - 1 or i == rows - 1:
            for c in range(channels):
                plain[c] += a[c]
                centred[c] += b[c]
                a[c], b[c] = 0, 0


@no_type_check
@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def _pull_back(x, dy, mean, scale, bias, slope, offset, dx):
    """dx = scale g + slope (x − mean) + offset, where g = dy · dy/dz."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - mean[c]
            g = dy[i, c] * _silu_slope(difference * scale[c] + bias[c])
            dx[i, c] = scale[c] * g + (slope[c] * difference + offset[c])


def _rows(x: Tensor) -> np.ndarray:
    """A channels-last image as a matrix of its pixels, a column a channel; no copy."""
    return x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).numpy()


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n)


def _split(task: Callable[[slice, int], None], rows: int) -> None:
    """Run ``task`` on some rows in each of torch's threads; it is told which rows, and which part they are."""
    n = torch.get_num_threads()
    parts = [slice(rows * k // n, rows * (k + 1) // n) for k in range(n)]
    for _ in _threads(n).map(task, parts, range(n)) if n > 1 else map(task, parts, range(n)):
        pass  # taking the results is what raises a thread's error


def _sums(kernel: Callable[..., None], images: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]) -> Tensor:
    """The two sums of a kernel over all rows, in float64, shape (2, channels): the same for as many threads."""
    parts = np.zeros((torch.get_num_threads(), 2, images[0].shape[1]))

    def add(rows: slice, part: int) -> None:
        kernel(*(image[rows] for image in images), *columns, *parts[part])

    _split(add, len(images[0]))
    return torch.from_numpy(parts.sum(0))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float, eps: float
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        pixels, y = _rows(x), torch.empty_like(x)
        n, out, about = len(pixels), _rows(y), x[0, :, 0, 0].detach().clone()
        # From differences to a pixel, so that a large mean costs no digits
        shift, spread = _sums(_sum_differences, (pixels,), (about.numpy(),)) / n
        mean, variance = (about + shift).float(), (spread - shift.square()).clamp(min=0).float()
        running[0].lerp_(mean, momentum)
        running[1].lerp_(variance * (n / (n - 1)), momentum)  # unbiased there, and only there
        precision = torch.rsqrt(variance + eps)
        scale = weight * precision
        columns = mean.numpy(), scale.numpy(), bias.detach().numpy()
        _split(lambda rows, _: _activate(pixels[rows], *columns, out[rows]), n)
        ctx.save_for_backward(x, mean, scale, bias, precision)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, bias, precision = ctx.saved_tensors
        dx = torch.empty_like(x)
        pixels, out, above = _rows(x), _rows(dx), _rows(dy.contiguous(memory_format=torch.channels_last))
        columns = mean.numpy(), scale.numpy(), bias.detach().numpy()
        plain, centred = _sums(_sum_gradients, (pixels, above), columns)
        d_weight, d_bias = (centred * precision).float(), plain.float()
        terms = [(-scale * d / len(pixels)).numpy() for d in (precision * d_weight, d_bias)]
        _split(lambda rows, _: _pull_back(pixels[rows], above[rows], *columns, *terms, out[rows]), len(pixels))
        return dx, d_weight, d_bias, None, None, None


class NormSiLU(BatchNormAct2d):  # type: ignore[misc]  # timm has no types
    r"""A batch normalisation of timm with its SiLU, the same function and the same weights, in fewer passes.

    .. math:: y = z\,\sigma(z), \qquad z = w\,\frac{x - \bar x}{\sqrt{\operatorname{var} x + \varepsilon}} + b

    In training, in float32 and on a CPU. Elsewhere it is timm's own layer.

    Source: Ioffe and Szegedy, *Batch normalization*, 2015; Elfwing et al., *Sigmoid-weighted linear units*, 2018.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same; gradients of first order only where it is in fewer passes."""
        one_pixel = x.shape[0] * x.shape[2] * x.shape[3] == 1  # has no variance: torch has a message for that
        if not self.training or x.device.type != "cpu" or x.dtype != torch.float32 or one_pixel:
            return super().forward(x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = (self.running_mean, self.running_var)
        return _Function.apply(x, self.weight, self.bias, running, self.momentum, self.eps)  # type: ignore[no-untyped-call]


def in_fewer_passes(network: nn.Module) -> nn.Module:
    """The network with every normalisation that a SiLU follows as :class:`NormSiLU`; weights and their names stay."""
    for module in network.modules():
        if type(module) is BatchNormAct2d and isinstance(module.act, nn.SiLU):
            module.__class__ = NormSiLU
    return network
