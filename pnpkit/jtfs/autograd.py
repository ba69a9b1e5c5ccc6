"""How the operator takes part in automatic differentiation: forward mode, reverse mode, and both under ``vmap``."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

SIGNALS = 8  # that a jet carries through at once: more leave the cache, fewer cost calls


Operator = Any  # a JTFS: ``scatter`` on jets (parts, items, …), and ``pull_back``, its adjoint


def fold(z: Tensor, dim: int | None, size: int, items: int) -> Tensor:
    """A mapped dimension (or, if None, ``size`` copies) folded into dimension ``items``."""
    z = z.unsqueeze(items).expand(*z.shape[:items], size, *z.shape[items:]) if dim is None else z.movedim(dim, items)
    return z.flatten(items, items + 1)


class _Once(Function):
    """Differentiable once: nothing is saved, as second derivatives are not defined."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError("JTFS is differentiable once: its derivatives have none of their own")


class Scatter(Function):
    """S of waveforms (items, n); and, if asked to keep it, what reverse mode needs."""

    @staticmethod
    def forward(jtfs: Operator, x: Tensor, keep: bool) -> tuple[Tensor, ...]:
        kept: list[Tensor] | None = [] if keep else None
        with torch.autocast(x.device.type, enabled=False):
            return jtfs.scatter(x.unsqueeze(0), kept)[0], *(kept or ())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.jtfs = inputs[0]
        x, kept = inputs[1], output[1:]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(x, *kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: Any) -> Any:
        return None, None if gradient is None else _Gradient.apply(ctx.jtfs, gradient, *ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], jtfs: Operator, x: Tensor, keep: bool) -> Any:
        S, *kept = Scatter.apply(jtfs, fold(x, in_dims[1], info.batch_size, 0), keep)
        outputs = S.unflatten(0, (info.batch_size, -1)), *(k.unflatten(1, (info.batch_size, -1)) for k in kept)
        return outputs, (0, *[1] * len(kept))


class _Gradient(_Once):
    """Gradient of waveforms x (items, n) from that of S (items, k); what was not kept is computed again."""

    @staticmethod
    def forward(jtfs: Operator, gradient: Tensor, x: Tensor, *kept: Tensor) -> Tensor:
        ways = list(kept)
        with torch.autocast(gradient.device.type, enabled=False):
            if not ways:  # as nobody can tell within vmap whether a gradient will be asked for
                jtfs.scatter(x.unsqueeze(0), ways)
            return jtfs.pull_back(gradient.unsqueeze(0), ways)[0]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], jtfs: Operator, *tensors: Tensor) -> Any:
        items = (0, 0, *[1] * (len(tensors) - 2))  # where they are counted: in the gradient, x, and what was kept
        folded = [fold(t, d, info.batch_size, n) for t, d, n in zip(tensors, in_dims[1:], items, strict=True)]
        out = _Gradient.apply(jtfs, *folded)
        return out.unflatten(0, (info.batch_size, -1)), 0


class PushForward(_Once):
    """S and its derivatives along d directions at once: x (items, n), dx (d, items, n).

    Under ``torch.func.vmap``, as in :func:`pnpkit.metric.jacobian`, the mapped dimension joins d, so that what depends
    on x alone is computed once for all directions.
    """

    @staticmethod
    def forward(jtfs: Operator, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            jets = torch.cat([x.unsqueeze(0), dx])
            S = torch.cat([jtfs.scatter(some) for some in jets.split(max(1, SIGNALS // len(jets)), 1)], 1)
        return S[0], S[1:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], jtfs: Operator, x: Tensor, dx: Tensor) -> Any:
        b, (_, x_dim, dx_dim) = info.batch_size, in_dims
        if x_dim is None:  # directions at common points
            S, slope = PushForward.apply(jtfs, x, fold(dx, dx_dim, b, 0))
            return (S, slope.unflatten(0, (b, -1))), (None, 0)
        S, slope = PushForward.apply(jtfs, fold(x, x_dim, b, 0), fold(dx, dx_dim, b, 1))  # a batch of points
        return (S.unflatten(0, (b, -1)), slope.unflatten(1, (b, -1))), (0, 1)
