"""Layers with fewer passes over memory: the same as timm's, to rounding, there and back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from pnpkit.analyser.cpu_kernels import _exp
from pnpkit.analyser.cpu_layers import DepthwiseConv, NormSiLU, SqueezeExcite, in_fewer_passes, in_more_passes
from pnpkit.analyser.network import Analyser
from pnpkit.experiment.machine import torch_threads


def layers(channels: int, seed: int = 0) -> tuple[NormSiLU, BatchNormAct2d]:
    """Ours in float32 and torch's in float64, with the same weights."""
    generator = torch.Generator().manual_seed(seed)
    ours = NormSiLU(channels, act_layer=nn.SiLU)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(channels, generator=generator))
        ours.bias.copy_(torch.randn(channels, generator=generator))
    theirs = BatchNormAct2d(channels, act_layer=nn.SiLU)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.double()


def gates(channels: int) -> tuple[SqueezeExcite, TimmSqueezeExcite]:
    """Ours in float32 and timm's in float64, with the same weights."""
    torch.manual_seed(8)
    ours = SqueezeExcite(channels, rd_channels=2, act_layer=nn.SiLU)
    theirs = TimmSqueezeExcite(channels, rd_channels=2, act_layer=nn.SiLU)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.double()


def kernels(channels: int) -> tuple[DepthwiseConv, nn.Conv2d]:
    """Ours in float32 and torch's in float64, with the same weights."""
    torch.manual_seed(9)
    ours = DepthwiseConv(channels, channels, 5, 2, 2, groups=channels, bias=False)
    theirs = nn.Conv2d(channels, channels, 5, 2, 2, groups=channels, bias=False)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.double()


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (3, 5, 4, 7), (4, 33, 9, 17), (16, 96, 5, 9)])
@pytest.mark.parametrize("last", [True, False])
def test_it_is_the_layer_of_torch(shape: tuple[int, ...], last: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x, dy = torch.randn(2, *shape, generator=generator)
    x = 3 * x + torch.randn(shape[1], 1, 1, generator=generator)
    form = torch.channels_last if last else torch.contiguous_format
    ours, theirs = layers(shape[1])
    exact = x.double().requires_grad_()
    mine = x.contiguous(memory_format=form).requires_grad_()
    y, y_exact = ours(mine), theirs(exact)
    torch.testing.assert_close(y.double(), y_exact, rtol=1e-5, atol=2e-6)
    y.backward(dy)
    y_exact.backward(dy.double())
    for mine_, exact_ in [(mine, exact), (ours.weight, theirs.weight), (ours.bias, theirs.bias)]:
        assert mine_.grad is not None
        assert exact_.grad is not None
        assert (mine_.grad - exact_.grad).abs().max() < 2e-5 * (1 + exact_.grad.abs().max())
    for name, wanted in theirs.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name].to(wanted.dtype), wanted, rtol=1e-5, atol=1e-6)


def test_a_large_mean_costs_no_digits() -> None:
    x = 1000 + torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    ours, theirs = layers(4)
    torch.testing.assert_close(ours(x).double(), theirs(x.double()), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.running_var.double(), theirs.running_var, rtol=1e-5, atol=0)


def test_a_constant_image_is_its_bias() -> None:
    ours, _ = layers(3)
    x = torch.full((2, 3, 4, 4), 7.0, requires_grad=True)
    y = ours(x)
    torch.testing.assert_close(y, nn.functional.silu(ours.bias).detach().reshape(3, 1, 1).expand_as(y))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() < 1e-3  # 1/√ε is 316: rounding of a zero


def test_far_arguments() -> None:
    ours, theirs = layers(1)
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.fill_(1e3)
            layer.bias.fill_(0)
    x = torch.tensor([-1.0, 1.0, 0.0, 0.5]).reshape(1, 1, 2, 2)
    mine, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    y, y_exact = ours(mine), theirs(exact)
    torch.testing.assert_close(y.double(), y_exact, rtol=1e-5, atol=1e-5)
    y.sum().backward()
    y_exact.sum().backward()
    assert mine.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-3, atol=2e-2)


def test_what_is_not_finite_stays_so() -> None:
    ours, _ = layers(2)
    x = torch.zeros(1, 2, 2, 2)
    x[0, 0, 0, 0] = torch.nan
    y = ours(x)
    assert y[0, 0].isnan().all()
    assert y[0, 1].isfinite().all()


@pytest.mark.parametrize("last", [True, False])
def test_a_gate_is_that_of_timm(last: bool) -> None:
    ours, theirs = gates(6)
    x, dy = torch.randn(2, 4, 6, 5, 7, generator=torch.Generator().manual_seed(7))
    mine = x.clone(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    exact = x.double().requires_grad_()
    y, y_exact = ours(mine), theirs(exact)
    torch.testing.assert_close(y.double(), y_exact, rtol=1e-5, atol=1e-6)
    y.backward(dy)
    y_exact.backward(dy.double())
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)
    for name, wanted in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad.double(), wanted.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [1, 3, 8])  # the first two are smaller than a kernel
def test_a_depthwise_kernel_has_the_gradient_of_torch(size: int, stride: int, height: int) -> None:
    torch.manual_seed(10)
    theirs = nn.Conv2d(6, 6, size, stride, size // 2, groups=6, bias=False)
    ours = nn.Conv2d(6, 6, size, stride, size // 2, groups=6, bias=False)
    ours.load_state_dict(theirs.state_dict())
    theirs.double()
    assert isinstance(in_fewer_passes(ours), DepthwiseConv)
    x = torch.randn(9, 6, height, 9)
    mine, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    y, y_exact = ours(mine), theirs(exact)
    torch.testing.assert_close(y.double(), y_exact, rtol=1e-5, atol=1e-5)
    dy = torch.randn(y.shape)
    y.backward(dy)
    y_exact.backward(dy.double())
    for mine_, exact_ in [(mine, exact), (ours.weight, theirs.weight)]:
        assert mine_.grad is not None
        assert exact_.grad is not None
        torch.testing.assert_close(mine_.grad.double(), exact_.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_size": 3, "padding": 1},
        {"groups": 1},
        {"groups": 2},
        {"bias": True},
        {"padding": 0},
        {"padding": "same"},
        {"padding_mode": "circular"},
        {"dilation": 2},
        {"kernel_size": (5, 7)},
        {"stride": (1, 2)},
    ],
)
def test_other_convolutions_stay(other: dict[str, Any]) -> None:
    usual = {"kernel_size": 5, "padding": 2, "groups": 4, "bias": False}
    assert type(in_fewer_passes(nn.Conv2d(4, 4, **(usual | other)))) is nn.Conv2d


@pytest.mark.parametrize("make", [layers, gates, kernels])
def test_threads_share_the_work(make: Callable[[int], tuple[nn.Module, nn.Module]]) -> None:
    x = torch.randn(5, 6, 7, 3, generator=torch.Generator().manual_seed(4))
    results = []
    for n in (1, 2, 2, 7):  # the last leaves some threads without an item
        ours, _ = make(6)
        image = x.clone().requires_grad_()
        with torch_threads(n):
            y = ours(image)
            y.square().sum().backward()
        results.append([y.detach(), image.grad, *(p.grad for p in ours.parameters()), *ours.buffers()])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))


def test_exponential() -> None:
    x = np.linspace(-86, 87, 10_001, dtype=np.float32)
    got = np.array([_exp(value) for value in x], dtype=np.float64)
    assert np.abs(got / np.exp(x.astype(np.float64)) - 1).max() < 3e-7
    assert _exp(np.float32(0)) == 1


@pytest.mark.parametrize("make", [layers, gates, kernels])
def test_elsewhere_it_is_the_layer_of_timm(make: Callable[[int], tuple[nn.Module, nn.Module]]) -> None:
    ours, theirs = make(3)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    ours.double()
    assert torch.equal(ours(x.double()), theirs(x.double()))
    ours.float().eval()
    theirs.float().eval()
    assert torch.equal(ours(x), theirs(x))


def test_one_pixel_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layers(3)[0](torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("make", [layers, gates, kernels])
def test_second_derivatives_are_refused(make: Callable[[int], tuple[nn.Module, nn.Module]]) -> None:
    ours, _ = make(2)
    x = torch.randn(2, 2, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_analyser_has_them() -> None:
    """Normalisations with SiLU: one after the stem, two in each of 16 blocks but the first, one before the pool; 5 × 5
    depthwise kernels: 2, 3 and 4 in stages three, five and six."""
    kinds = [type(module) for module in Analyser(3).modules()]
    assert kinds.count(NormSiLU) == 1 + (2 * 16 - 1) + 1
    assert kinds.count(SqueezeExcite) == 16
    assert kinds.count(BatchNormAct2d) == 16
    assert kinds.count(DepthwiseConv) == 9
    kinds = [type(module) for module in in_more_passes(Analyser(3)).modules()]
    assert (kinds.count(BatchNormAct2d), kinds.count(TimmSqueezeExcite)) == (49, 16)
    assert DepthwiseConv not in kinds


def test_the_analyser_learns_the_same() -> None:
    """Loss, gradients and statistics of a batch, in training mode, beside those of timm's own layers."""
    images = 8 * torch.rand(4, 72, 129, generator=torch.Generator().manual_seed(5))
    found = []
    for analyser in (Analyser(3), in_more_passes(Analyser(3))):
        torch.manual_seed(6)  # of dropout
        loss = analyser(images).square().mean()
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in analyser.parameters() if p.grad is not None])
        found.append((loss.detach(), gradient, dict(analyser.named_buffers())))
    (loss, gradient, buffers), (stock_loss, stock_gradient, stock_buffers) = found
    torch.testing.assert_close(loss, stock_loss, rtol=1e-4, atol=0)
    assert (gradient - stock_gradient).norm() < 1e-3 * stock_gradient.norm()
    for name, value in stock_buffers.items():
        torch.testing.assert_close(buffers[name], value, rtol=1e-3, atol=1e-4)
