r"""The modulus and its time average: the only non-linearity of Φ before the logarithm.

Signals come as *jets*: a value and its derivatives along d directions, stacked along the first axis, (1 + d, …). What
is linear treats all parts alike; the modulus is where they meet, ``d|z| = Re(z̄ dz)/|z|``. ``torch.abs`` on complex
tensors is slow (it guards against overflow) and its derivative is undefined at zero; here a vanishing modulus has a
zero gradient, so that silence differentiates to zero.

:func:`mean_modulus` is where most of the time of a second-order scattering goes. It never stores the plane of
coefficients: a tile is multiplied, taken the modulus of and summed while it is in cache, and the gradient computes it
again rather than remember it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd import Function

from pnpkit.jtfs import kernels
from pnpkit.jtfs.frequential import Rows

Jet = Complex[Tensor, "parts items ..."]
Plane = Complex[Tensor, "parts items rows time"]  # a jet of envelopes filtered in time, a row a band
TILE = 2**19  # floats of one tile of products: what a core's share of the last-level cache holds
TINY = 1e-37  # squared modulus below which a direction is taken to be zero; the smallest normal float32 is 1.2e-38


def compiled(signals: Tensor) -> bool:
    """Whether the loops of :mod:`pnpkit.jtfs.kernels` run on a tensor; plain PyTorch does otherwise."""
    return signals.device.type == "cpu"


def tiny(like: Tensor) -> Any:
    """TINY as a scalar of numpy, so that the compiled loops stay in the precision of the signals."""
    return np.float32(TINY) if like.dtype in (torch.float32, torch.complex64) else np.float64(TINY)


def interleaved(z: Complex[Tensor, "*batch n"]) -> Any:
    """A complex tensor as an array of floats, (…, 2·n), of the same memory if it is contiguous."""
    return torch.view_as_real(z.contiguous()).flatten(-2).numpy()


def modulus(z: Jet) -> Float[Tensor, "parts items ..."]:
    """``|z|`` of a jet; reverse-mode gradients for a jet of one part, a value alone."""
    return _Modulus.apply(z)


def modulus_back(z: Jet, gradient: Float[Tensor, "parts items ..."]) -> Jet:
    """Gradient with respect to z of Σ gradient · ``|z|``."""
    if not compiled(z):
        return gradient * _direction(z)
    out = torch.empty_like(z, memory_format=torch.contiguous_format)
    flat, share = interleaved(z).reshape(-1), gradient.contiguous().view(-1).numpy()
    kernels.modulus_back(flat, share, tiny(z), interleaved(out).reshape(-1))
    return out


def mean_modulus(filters: Iterable[Rows], z: Plane) -> Float[Tensor, "parts items out"]:
    r"""Time averages :math:`\langle |\mathbf{A} z| \rangle_t` for both spins and the low-pass, of a jet.

    Args:
        filters: along the rows, a low-pass among them.
        z: a plane.

    Returns:
        ``⟨|(a + ib)z|⟩`` (wavelets × rows values: up), ``⟨|(a − ib)z|⟩`` (as many: down), ``⟨|φz|⟩`` (rows).
    """
    parts, items, rows, time = z.shape
    wavelets = sum(group.wavelets for group in filters)
    out = z.real.new_zeros(items, parts, (2 * wavelets + 1) * rows)
    if not compiled(z):
        for i, tile in _tiles(filters, z):
            out[i] += modulus(torch.cat(planes(filters, z[:, i : i + 1, :, tile]), -2))[:, 0].sum(-1)
    else:
        for i, _, groups in _tiles_of_products(filters, z):
            for first, _, (_, even), (_, odd) in groups:
                kernels.add_moduli(even, odd, rows, first, wavelets, tiny(z), out[i].numpy())
    return out.movedim(0, 1) / time


def mean_modulus_back(filters: Iterable[Rows], z: Plane, gradient: Float[Tensor, "1 items out"]) -> Plane:
    """Gradient by z, of one part, of Σ gradient · :func:`mean_modulus`; the products are computed again."""
    rows, wavelets = z.shape[2], sum(group.wavelets for group in filters)
    shares, out = (gradient[0] / z.shape[-1]).contiguous(), torch.empty_like(z)
    if not compiled(z):
        for i, tile in _tiles(filters, z):
            with torch.enable_grad():
                leaf = z[:, i : i + 1, :, tile].clone().requires_grad_()
                moduli = modulus(torch.cat(planes(filters, leaf), -2)).sum(-1)
            (out[:, i : i + 1, :, tile],) = torch.autograd.grad(moduli, leaf, shares[None, i : i + 1])
        return out
    target = interleaved(out)
    for i, tile, groups in _tiles_of_products(filters, z):
        sums: list[Tensor] = []
        for first, group, (even_flat, even), (odd_flat, odd) in groups:
            kernels.pull_back(even, odd, rows, first, wavelets, tiny(z), shares[i].numpy())
            pulled = group.pull(even_flat, odd_flat)
            sums = [a.add_(b) for a, b in zip(sums, pulled, strict=True)] if sums else list(pulled)
        even, odd = (part.view(len(part), 1, 2, tile.stop - tile.start).numpy() for part in sums)
        kernels.unfold(even, odd, i, tile.start, target)
    return out


def planes(filters: Iterable[Rows], z: Plane) -> tuple[Tensor, Tensor, Tensor]:
    """Up, down and low-pass planes of a signal, whole: differentiable, for short ones and for other devices."""
    ups, downs, lows = [], [], []
    for group in filters:
        parts = group(torch.view_as_real(z.resolve_conj()).flatten(-2))
        a, b, low = (torch.view_as_complex(part.unflatten(-1, (-1, 2)).contiguous()) for part in parts)
        ups.append(a + 1j * b)
        downs.append(a - 1j * b)
        lows.append(low)
    return torch.cat(ups, -2), torch.cat(downs, -2), torch.cat(lows, -2)


def _tiles(filters: Iterable[Rows], z: Tensor) -> Iterator[tuple[int, slice]]:
    """Items, and stretches of time of one length whose products fit a tile."""
    parts, items, _, time = z.shape
    outputs, step = max(2 * len(group.even) for group in filters), time
    while 2 * parts * outputs * step > TILE and step % 4 == 0 and step > 16:
        step //= 2
    for i in range(items):
        for begin in range(0, time, step):
            yield i, slice(begin, begin + step)


Buffer = tuple[Tensor, Any]  # (n, parts · 2 · tile), and the same memory as an array (n, parts, 2, tile)


def _tiles_of_products(
    filters: Iterable[Rows], z: Tensor
) -> Iterator[tuple[int, slice, Iterator[tuple[int, Rows, Buffer, Buffer]]]]:
    """For each tile the groups of filters one after the other: index of their first wavelet, and what they make of it.

    On the CPU; all tiles share their buffers, which the caller may overwrite.
    """
    parts, _, rows, _ = z.shape
    source = interleaved(z)

    def buffer(n: int, tile: slice) -> Buffer:
        flat = z.real.new_empty(n, parts * 2 * (tile.stop - tile.start))
        return flat, flat.view(n, parts, 2, tile.stop - tile.start).numpy()

    def products() -> Iterator[tuple[int, Rows, Buffer, Buffer]]:
        first = 0
        for group, (even, odd) in zip(filters, made, strict=True):
            group.products(sums[0], differences[0], out=(even[0], odd[0]))
            yield first, group, even, odd
            first += group.wavelets

    made: list[tuple[Buffer, Buffer]] = []
    for i, tile in _tiles(filters, z):
        if not made:
            sums, differences = buffer((rows + 1) // 2, tile), buffer(rows // 2, tile)
            made = [(buffer(len(group.even), tile), buffer(len(group.odd), tile)) for group in filters]
        kernels.fold(source, i, tile.start, sums[1], differences[1])
        yield i, tile, products()


def _direction(z: Tensor) -> Tensor:
    """``z/|z|``, and 0 at zero."""
    re, im = z.real, z.imag
    inverse = torch.addcmul(re * re, im, im).clamp_min(TINY).rsqrt()
    return torch.complex(re * inverse, im * inverse)


def _modulus_jet(z: Tensor) -> Tensor:
    """:func:`kernels.modulus_jet` in plain PyTorch."""
    slopes = (torch.view_as_real(_direction(z[:1])) * torch.view_as_real(z[1:])).sum(-1)
    return torch.cat([torch.addcmul(z[:1].real ** 2, z[:1].imag, z[:1].imag).sqrt(), slopes])


class _Modulus(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        if not compiled(z):
            return _modulus_jet(z)
        out = z.real.new_empty(z.shape)
        kernels.modulus_jet(interleaved(z).reshape(len(z), -1), tiny(z), out.view(len(z), -1).numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return modulus_back(z, gradient)
