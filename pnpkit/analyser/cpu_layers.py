"""Layers of the analyser with fewer passes over memory, for training on a CPU: the same functions of the same weights.

A training step at batch 256 is bound by memory: activations are larger than any cache. Torch reads or writes them
fifteen times for a batch normalisation and the SiLU after it, there and back; eight are enough, since the backward pass
can compute the normalised activation again faster than it could read it. Of a channel gate's thirteen, eight. The
gradient of a large depthwise kernel is not bound by memory, but oneDNN's takes five times as long as a plain loop over
channels-last pixels.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pnpkit._extras import extra
from pnpkit.analyser import cpu_kernels as kernels

with extra("analyser", "the analyser"), warnings.catch_warnings():
    warnings.filterwarnings("ignore", "IProgress not found")  # timm asks a notebook for widgets that nobody here draws
    from timm.layers.norm_act import BatchNormAct2d
    from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite


def _images(x: Tensor) -> np.ndarray:
    """A channels-last batch as (items, pixels, channels); no copy."""
    return x.detach().permute(0, 2, 3, 1).flatten(1, 2).numpy()


def _rows(x: Tensor) -> np.ndarray:
    """The pixels of all its items as rows, (items × pixels, channels); no copy."""
    return _images(x).reshape(-1, x.shape[1])


LARGE = (5, 7)  # sizes of depthwise kernels for which a plain loop is faster; for 3 it is slower


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n)


def _split(task: Callable[[slice, int], None], n_rows: int) -> None:
    """Run ``task`` on some rows in each of torch's threads; it is told which rows, and which part they are."""
    n = torch.get_num_threads()
    parts = [slice(n_rows * k // n, n_rows * (k + 1) // n) for k in range(n)]
    for _ in _threads(n).map(task, parts, range(n)) if n > 1 else map(task, parts, range(n)):
        pass  # taking the results is what raises a thread's error


def _sums(kernel: Callable[..., None], images: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]) -> Tensor:
    """The two sums of a kernel over all rows, in float64, shape (2, channels): the same for as many threads."""
    parts = np.zeros((torch.get_num_threads(), 2, images[0].shape[1]))

    def add(rows: slice, part: int) -> None:
        kernel(*(image[rows] for image in images), *columns, *parts[part])

    _split(add, len(images[0]))
    return torch.from_numpy(parts.sum(0))


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float, eps: float
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        pixels, y = _rows(x), torch.empty_like(x)
        n, out, about = len(pixels), _rows(y), x[0, :, 0, 0].detach().clone()
        # From differences to a pixel, so that a large mean costs no digits
        shift, spread = _sums(kernels.sum_differences, (pixels,), (about.numpy(),)) / n
        mean, variance = (about + shift).float(), (spread - shift.square()).clamp(min=0).float()
        running[0].lerp_(mean, momentum)
        running[1].lerp_(variance * (n / (n - 1)), momentum)  # unbiased there, and only there
        precision = torch.rsqrt(variance + eps)
        scale = weight * precision
        columns = mean.numpy(), scale.numpy(), bias.detach().numpy()
        _split(lambda rows, _: kernels.activate(pixels[rows], *columns, out[rows]), n)
        ctx.save_for_backward(x, mean, scale, bias, precision)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, bias, precision = ctx.saved_tensors
        dx = torch.empty_like(x)
        pixels, out, above = _rows(x), _rows(dx), _rows(dy.contiguous(memory_format=torch.channels_last))
        columns = mean.numpy(), scale.numpy(), bias.detach().numpy()
        plain, centred = _sums(kernels.sum_gradients, (pixels, above), columns)
        d_weight, d_bias = (centred * precision).float(), plain.float()
        terms = [(-scale * d / len(pixels)).numpy() for d in (precision * d_weight, d_bias)]
        _split(lambda rows, _: kernels.pull_back(pixels[rows], above[rows], *columns, *terms, out[rows]), len(pixels))
        return dx, d_weight, d_bias, None, None, None


class NormSiLU(BatchNormAct2d):  # type: ignore[misc]  # timm has no types
    r"""A batch normalisation of timm with its SiLU, the same function and the same weights, in fewer passes.

    .. math:: y = z\,\sigma(z), \qquad z = w\,\frac{x - \bar x}{\sqrt{\operatorname{var} x + \varepsilon}} + b

    In training, in float32 and on a CPU. Elsewhere it is timm's own layer.

    Source: Ioffe and Szegedy, *Batch normalization*, 2015; Elfwing et al., *Sigmoid-weighted linear units*, 2018.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same; gradients of first order only where it is in fewer passes."""
        one_pixel = x.numel() == x.shape[1]  # has no variance: torch has a message for that
        if not _fewer_passes(self, x) or one_pixel:
            return super().forward(x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = (self.running_mean, self.running_var)
        return _NormSiLU.apply(x, self.weight, self.bias, running, self.momentum, self.eps)  # type: ignore[no-untyped-call]


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(x, gate)
        return x * gate

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, gate = ctx.saved_tensors
        dx, d_gate = torch.empty_like(x), torch.zeros_like(gate)
        pixels, above, out = (_images(t) for t in (x, dy.contiguous(memory_format=torch.channels_last), dx))
        opened, d_opened = (_images(t)[:, 0] for t in (gate, d_gate))

        def pull_back(part: slice, _: int) -> None:
            kernels.pull_back_gate(pixels[part], above[part], opened[part], out[part], d_opened[part])

        _split(pull_back, len(x))
        return dx, d_gate


class SqueezeExcite(TimmSqueezeExcite):  # type: ignore[misc]  # timm has no types
    r"""Timm's channel gate, the same function and the same weights, with half the passes on the way back.

    .. math:: y = x \cdot \sigma\big(W_2\,\mathrm{SiLU}(W_1 \bar x + b_1) + b_2\big), \qquad
              \bar x \text{ the mean over the pixels of each image}

    In training, in float32 and on a CPU. Elsewhere it is timm's own layer.

    Source: Hu et al., *Squeeze-and-excitation networks*, 2018.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same; gradients of first order only where it has fewer passes."""
        if not _fewer_passes(self, x):
            return super().forward(x)
        # A sum, whose gradient is spread over the pixels without being written there
        mean = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
        gate = self.gate(self.conv_expand(self.act1(self.conv_reduce(mean))))
        return _Gate.apply(x.contiguous(memory_format=torch.channels_last), gate)  # type: ignore[no-untyped-call]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        channels, _, size, _ = weight.shape
        dy = dy.contiguous(memory_format=torch.channels_last)
        how = [ctx.stride] * 2, [size // 2] * 2, [1, 1], False, [0, 0], channels, [True, False, False]
        dx = torch.ops.aten.convolution_backward(dy, x, weight, None, *how)[0]
        images, above = (t.permute(0, 2, 3, 1).numpy() for t in (x, dy))
        parts = np.zeros((torch.get_num_threads(), size, size, channels))

        def add(items: slice, part: int) -> None:
            kernels.sum_taps(images[items], above[items], ctx.stride, parts[part])

        _split(add, len(images))
        return dx, torch.from_numpy(parts.sum(0)).float().permute(2, 0, 1)[:, None], None


class DepthwiseConv(nn.Conv2d):
    r"""A depthwise convolution of torch, the same function and the same weights, with a faster gradient of the kernel.

    .. math:: \frac{\partial\mathcal L}{\partial k_{c,p}} = \sum_{n,i} \frac{\partial\mathcal L}{\partial y_{n,c,i}}\,
              x_{n,c,si+p}, \qquad s \text{ the stride}, \quad p \text{ a tap, counted from the kernel's centre}

    In training, in float32 and on a CPU. Elsewhere it is torch's own layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (…, ⌈height / s⌉, ⌈width / s⌉); gradients of first order only."""
        if not _fewer_passes(self, x):
            return super().forward(x)
        return _Depthwise.apply(x, self.weight, self.stride[0])  # type: ignore[no-untyped-call, no-any-return]


def _fewer_passes(layer: nn.Module, x: Tensor) -> bool:
    return layer.training and x.device.type == "cpu" and x.dtype == torch.float32


def _ours(module: nn.Module) -> type[nn.Module] | None:
    """The layer that can stand for this one, if there is one."""
    if type(module) is BatchNormAct2d and not isinstance(module.act, nn.Identity):
        return NormSiLU
    if type(module) is TimmSqueezeExcite:
        return SqueezeExcite
    if type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels > 1:
        n, size = module.groups, module.kernel_size[0]
        # On no device, so that no weights are drawn and the caller's generator stays as it was
        like = nn.Conv2d(n, n, size, module.stride[0], size // 2, groups=n, bias=False, device="meta")
        if size in LARGE and repr(module) == repr(like):  # which tells all that a convolution was made with
            return DepthwiseConv
    return None


def in_fewer_passes(network: nn.Module) -> nn.Module:
    """The network with these layers where it has those of timm and torch; weights and their names stay."""
    for module in network.modules():
        if (ours := _ours(module)) is not None:
            module.__class__ = ours  # type: ignore[assignment]
    return network


def in_more_passes(network: nn.Module) -> nn.Module:
    """The network as it was before :func:`in_fewer_passes`, to be compared with."""
    for module in network.modules():
        if type(module) in (NormSiLU, SqueezeExcite, DepthwiseConv):
            module.__class__ = type(module).__base__  # type: ignore[assignment]
    return network
