r"""The modulus and its time average: the only non-linearity of Φ before the logarithm.

``torch.abs`` on complex tensors is slow (it guards against overflow) and its derivative is undefined at zero. Here a
vanishing modulus has a zero gradient, so that silence differentiates to zero.

:func:`mean_modulus` is where nearly all the time of a second-order scattering goes. It never stores the plane of
coefficients: a block is multiplied, taken the modulus of and summed while it is in cache, and derivatives compute it
again rather than remember it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

BLOCK = 2**17  # floats of one block of products: with its temporaries, what a core's second-level cache holds
TINY = 1e-37  # squared modulus below which a direction is taken to be zero; the smallest normal float32 is 1.2e-38


def _direction(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """(re, im)/√(re² + im²), and (0, 0) at zero."""
    inverse = torch.addcmul(re * re, im, im).clamp_min(TINY).rsqrt()
    return re * inverse, im * inverse


class _Modulus(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(re: Tensor, im: Tensor) -> Tensor:
        return torch.addcmul(re * re, im, im).sqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        u, v = _direction(*ctx.saved_tensors)
        return grad * u, grad * v

    @staticmethod
    def jvp(ctx: Any, d_re: Tensor, d_im: Tensor) -> Tensor:
        u, v = _direction(*ctx.saved_tensors)
        return torch.addcmul(u * d_re, v, d_im)


def modulus(z: Tensor) -> Tensor:
    """|z| of a complex tensor, with zero gradient where it vanishes."""
    return _Modulus.apply(z.real, z.imag)


def mean_modulus(
    weights: Float[Tensor, "out rows"],
    n: int,
    re: Float[Tensor, "items rows time"],
    im: Float[Tensor, "items rows time"],
) -> Float[Tensor, "items out"]:
    r"""Time averages :math:`\langle |\mathbf{A} z| \rangle_t` for both spins and the low-pass.

    Args:
        weights: convolution matrices of ``n`` wavelet rows, real parts a then imaginary parts b, and of the low-pass;
            out = 2n + rows.
        n: number of wavelet rows (wavelets × rows).
        re, im: the signals z, one a row.

    Returns:
        ⟨|(a + ib)z|⟩ (n values: up), ⟨|(a − ib)z|⟩ (n: down), ⟨|φz|⟩ (rows).
    """
    return _MeanModulus.apply(weights, n, re, im)


def _spins(n: int, re: Tensor, im: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Real and imaginary parts of (a + ib)z, (a − ib)z and φz, from the products of a, b and φ with re z and im z.

    Both spins come from one pair of real products: half the cost of two complex ones.
    """
    a_re, b_re, low_re = re.tensor_split((n, 2 * n), 1)
    a_im, b_im, low_im = im.tensor_split((n, 2 * n), 1)
    return [(a_re - b_im, a_im + b_re), (a_re + b_im, a_im - b_re), (low_re, low_im)]


def _blocks(n_out: int, items: int, time: int) -> Iterator[tuple[slice, slice]]:
    """Slices of items and time whose products with ``n_out`` rows fit a block."""
    step = time
    while n_out * step > BLOCK and step % 2 == 0 and step > 16:
        step //= 2
    together = max(1, BLOCK // (n_out * step)) if step == time else 1
    for i in range(0, items, together):
        for t in range(0, time, step):
            yield slice(i, i + together), slice(t, t + step)


def _products(weights: Tensor, parts: Tensor) -> Tensor:
    """Weights times each row vector: (items, rows, parts, time) → (items, out, parts, time), as one matrix product."""
    items, rows, n_parts, time = parts.shape
    return (weights @ parts.reshape(items, rows, n_parts * time)).unflatten(-1, (n_parts, time))


def _join(sums: dict[int, Tensor], time: int) -> Tensor:
    return torch.cat(list(sums.values()), 0) / time


class _MeanModulus(Function):
    @staticmethod
    def forward(weights: Tensor, n: int, re: Tensor, im: Tensor) -> Tensor:
        sums: dict[int, Tensor] = {}
        parts = torch.stack([re, im], 2)
        for i, t in _blocks(len(weights), re.shape[0], re.shape[-1]):
            planes = _spins(n, *_products(weights, parts[i, :, :, t]).unbind(2))
            part = torch.cat([torch.addcmul(a * a, b, b).sqrt().sum(-1) for a, b in planes], 1)
            sums[i.start] = sums[i.start] + part if i.start in sums else part
        return _join(sums, re.shape[-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, Tensor, Tensor], output: Tensor) -> None:
        weights, ctx.n, re, im = inputs
        ctx.save_for_backward(weights, re, im)
        ctx.save_for_forward(weights, re, im)

    @staticmethod
    def jvp(ctx: Any, d_weights: Any, d_n: Any, d_re: Tensor, d_im: Tensor) -> Tensor:
        weights, re, im = ctx.saved_tensors
        return _Tangents.apply(weights, ctx.n, re, im, d_re.unsqueeze(2), d_im.unsqueeze(2)).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        weights, re, im = ctx.saved_tensors
        n, time = ctx.n, re.shape[-1]
        parts = torch.stack([re, im], 2)
        blocks: dict[int, list[Tensor]] = {}
        for i, t in _blocks(len(weights), re.shape[0], time):
            planes = _spins(n, *_products(weights, parts[i, :, :, t]).unbind(2))
            shares = (grad[i] / time).unsqueeze(-1).tensor_split((n, 2 * n), 1)
            pulled = [tuple(g * w for w in _direction(a, b)) for g, (a, b) in zip(shares, planes, strict=True)]
            (up_re, up_im), (down_re, down_im), (low_re, low_im) = pulled
            g_re = torch.cat([up_re + down_re, up_im - down_im, low_re], 1)
            g_im = torch.cat([up_im + down_im, down_re - up_re, low_im], 1)
            blocks.setdefault(i.start, []).append(_products(weights.mT, torch.stack([g_re, g_im], 2)))
        g = torch.cat([torch.cat(group, -1) for group in blocks.values()], 0)
        return None, None, g[:, :, 0], g[:, :, 1]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], weights: Tensor, n: int, re: Tensor, im: Tensor
    ) -> tuple[Tensor, int]:
        """Fold the mapped dimension into the items."""
        re, im = (_leading(z, d, info.batch_size) for z, d in ((re, in_dims[2]), (im, in_dims[3])))
        out = mean_modulus(weights, n, re.flatten(0, 1), im.flatten(0, 1))
        return out.unflatten(0, (info.batch_size, -1)), 0


class _Tangents(Function):
    """Derivatives of the means along d directions at once: d_re, d_im (items, rows, d, time) → (items, out, d).

    Under ``torch.func.vmap``, as in :func:`pnpkit.metric.jacobian`, the mapped dimension becomes d, so that the
    undifferentiated products are made once for all directions and each block is one matrix product.
    """

    @staticmethod
    def forward(weights: Tensor, n: int, re: Tensor, im: Tensor, d_re: Tensor, d_im: Tensor) -> Tensor:
        d = d_re.shape[2]
        sums: dict[int, Tensor] = {}
        parts = torch.cat([re.unsqueeze(2), im.unsqueeze(2), d_re, d_im], 2)
        for i, t in _blocks((1 + d) * len(weights) // 2, re.shape[0], re.shape[-1]):
            re_, im_, dre_, dim_ = _products(weights, parts[i, :, :, t]).split((1, 1, d, d), 2)
            planes = zip(_spins(n, re_, im_), _spins(n, dre_, dim_), strict=True)
            slopes = []
            for (a, b), (da, db) in planes:
                u, v = _direction(a, b)
                slopes.append(torch.addcmul(u * da, v, db).sum(-1))
            part = torch.cat(slopes, 1)
            sums[i.start] = sums[i.start] + part if i.start in sums else part
        return _join(sums, re.shape[-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to save: second derivatives are not defined."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise NotImplementedError("the forward-mode derivative of JTFS has no derivative of its own")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        weights, n, re, im, d_re, d_im = inputs
        if in_dims[2] is not None or in_dims[3] is not None:  # a batch of points: fold it into the items
            moved = [_leading(z, d, info.batch_size) for z, d in zip(inputs[2:], in_dims[2:], strict=True)]
            out = _Tangents.apply(weights, n, *(z.flatten(0, 1) for z in moved))
            return out.unflatten(0, (info.batch_size, -1)), 0
        d_re, d_im = (_leading(z, d, info.batch_size) for z, d in ((d_re, in_dims[4]), (d_im, in_dims[5])))
        folded = [z.movedim(0, 2).flatten(2, 3) for z in (d_re, d_im)]
        out = _Tangents.apply(weights, n, re, im, *folded)
        return out.unflatten(-1, (info.batch_size, -1)), 2


def _leading(z: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension first; an unmapped tensor is repeated along it."""
    return z.unsqueeze(0).expand(size, *z.shape) if dim is None else z.movedim(dim, 0)
