r"""The modulus and its time average: the only non-linearity of Φ before the logarithm.

Signals come as *jets*: a value and its derivatives along d directions, stacked along the first axis, (1 + d, …). What
is linear treats all parts alike; the modulus is where they meet, d|z| = Re(z̄ dz)/|z|. ``torch.abs`` on complex tensors
is slow (it guards against overflow) and its derivative is undefined at zero; here a vanishing modulus has a zero
gradient, so that silence differentiates to zero.

:func:`mean_modulus` is where nearly all the time of a second-order scattering goes. It never stores the plane of
coefficients: a tile is multiplied, taken the modulus of and summed while it is in cache, and the gradient computes it
again rather than remember it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd import Function

from pnpkit.jtfs import kernels

TILE = 2**19  # floats of one tile of products: what a core's share of the last-level cache holds
TINY = 1e-37  # squared modulus below which a direction is taken to be zero; the smallest normal float32 is 1.2e-38


def modulus(z: Complex[Tensor, "parts items ..."]) -> Float[Tensor, "parts items ..."]:
    """|z| of a jet; reverse-mode gradients for a jet of one part, a value alone."""
    return _Modulus.apply(z)


def mean_modulus(
    weights: Float[Tensor, "out rows"], n: int, signals: Float[Tensor, "parts items rows interleaved"]
) -> Float[Tensor, "parts items out"]:
    r"""Time averages :math:`\langle |\mathbf{A} z| \rangle_t` for both spins and the low-pass, of a jet.

    Args:
        weights: convolution matrices of ``n`` wavelet rows, real parts a then imaginary parts b, and of the low-pass.
        n: number of wavelet rows (wavelets × rows).
        signals: z, one a row, real and imaginary parts interleaved along time.

    Returns:
        ⟨|(a + ib)z|⟩ (n values: up), ⟨|(a − ib)z|⟩ (n: down), ⟨|φz|⟩ (the others).
    """
    return _MeanModulus.apply(weights, n, signals)


def _direction(z: Tensor) -> Tensor:
    """z/|z|, and 0 at zero."""
    re, im = z.real, z.imag
    inverse = torch.addcmul(re * re, im, im).clamp_min(TINY).rsqrt()
    return torch.complex(re * inverse, im * inverse)


def _modulus_jet(z: Tensor) -> Tensor:
    """:func:`kernels.modulus_jet` in plain PyTorch."""
    slopes = (torch.view_as_real(_direction(z[:1])) * torch.view_as_real(z[1:])).sum(-1)
    return torch.cat([torch.addcmul(z[:1].real ** 2, z[:1].imag, z[:1].imag).sqrt(), slopes])


def planes(products: Tensor, n: int) -> Tensor:
    """Up, down and low-pass planes, complex, from the real products of the weights with z, along dimension −2."""
    a, b, low = torch.view_as_complex(products.unflatten(-1, (-1, 2))).tensor_split((n, 2 * n), -2)
    return torch.cat([a + 1j * b, a - 1j * b, low], -2)


def _add_moduli(products: Tensor, n: int, out: Tensor) -> None:
    if products.device.type == "cpu":
        kernels.add_moduli(products.numpy(), n, _tiny(products), out.numpy())
    else:
        out += _modulus_jet(planes(products, n)).sum(-1)


def _pull_back(products: Tensor, n: int, gradient: Tensor) -> Tensor:
    if products.device.type == "cpu":
        kernels.pull_back(products.numpy(), n, _tiny(products), gradient.numpy())
        return products
    return _pull_back_torch(products, n, gradient)


def _pull_back_torch(products: Tensor, n: int, gradient: Tensor) -> Tensor:
    """:func:`kernels.pull_back` in plain PyTorch."""
    up, down, low = (gradient.unsqueeze(-1) * _direction(planes(products, n))).tensor_split((n, 2 * n), -2)
    return torch.view_as_real(torch.cat([up + down, -1j * (up - down), low], -2)).flatten(-2)


def _tiny(like: Tensor) -> Any:
    """A scalar of numpy, so that the compiled loops stay in the precision of the signals."""
    return np.float32(TINY) if like.dtype == torch.float32 else np.float64(TINY)


def _tiles(rows: int, length: int) -> Iterator[slice]:
    """Slices of an interleaved time axis of that length, whose products with so many rows fit a tile."""
    step = length
    while rows * step > TILE and step % 4 == 0 and step > 16:
        step //= 2
    for t in range(0, length, step):
        yield slice(t, t + step)


def fold(z: Tensor, dim: int | None, size: int, items: int) -> Tensor:
    """A mapped dimension (or, if None, ``size`` copies) folded into dimension ``items``."""
    z = z.unsqueeze(items).expand(*z.shape[:items], size, *z.shape[items:]) if dim is None else z.movedim(dim, items)
    return z.flatten(items, items + 1)


class _Modulus(Function):
    @staticmethod
    def forward(z: Tensor) -> Tensor:
        if z.device.type != "cpu":
            return _modulus_jet(z)
        interleaved = torch.view_as_real(z.contiguous()).reshape(len(z), -1)
        out = interleaved.new_empty(z.shape)
        kernels.modulus_jet(interleaved.numpy(), _tiny(interleaved), out.view(len(z), -1).numpy())
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad * _direction(z)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], z: Tensor) -> tuple[Tensor, int]:
        return modulus(fold(z, in_dims[0], info.batch_size, 1)).unflatten(1, (info.batch_size, -1)), 1


class _MeanModulus(Function):
    @staticmethod
    def forward(weights: Tensor, n: int, signals: Tensor) -> Tensor:
        parts, items, _, length = signals.shape
        out = signals.new_zeros(items, parts, len(weights))
        for i in range(items):
            for t in _tiles(parts * len(weights), length):
                products = signals.new_empty(parts, len(weights), t.stop - t.start)
                for p in range(parts):
                    torch.mm(weights, signals[p, i, :, t], out=products[p])
                _add_moduli(products, n, out[i])
        return out.movedim(0, 1) * (2 / length)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, Tensor], output: Tensor) -> None:
        weights, ctx.n, signals = inputs
        ctx.save_for_backward(weights, signals)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        weights, signals = ctx.saved_tensors
        return None, None, _Gradient.apply(weights, ctx.n, signals, grad)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], weights: Tensor, n: int, signals: Tensor) -> tuple[Tensor, int]:
        out = mean_modulus(weights, n, fold(signals, in_dims[2], info.batch_size, 1))
        return out.unflatten(1, (info.batch_size, -1)), 1


class _Gradient(Function):
    """Reverse mode of :class:`_MeanModulus`, for one part: gradient of the signals from that of the averages."""

    @staticmethod
    def forward(weights: Tensor, n: int, signals: Tensor, grad: Tensor) -> Tensor:
        length = signals.shape[-1]
        grad, out = grad.contiguous() * (2 / length), torch.empty_like(signals)
        for i in range(signals.shape[1]):
            for t in _tiles(len(weights), length):
                torch.mm(weights.mT, _pull_back(weights @ signals[0, i, :, t], n, grad[0, i]), out=out[0, i, :, t])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to save: second derivatives are not defined."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise NotImplementedError("JTFS is differentiable once: its gradient has no derivative of its own")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], weights: Tensor, n: int, signals: Tensor, grad: Tensor
    ) -> tuple[Tensor, int]:
        folded = [fold(v, d, info.batch_size, 1) for v, d in ((signals, in_dims[2]), (grad, in_dims[3]))]
        return _Gradient.apply(weights, n, *folded).unflatten(1, (info.batch_size, -1)), 1
