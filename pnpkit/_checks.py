"""Checks at the library's boundary, shared by synthesisers, Φ and losses; and its own modes of torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

CLIPPED = 0.001  # share of the samples at the peak, several in a row, from which a sound is taken as clipped


@contextmanager
def plain_modes() -> Iterator[None]:
    """Make modules as if the caller had set nothing: in float32, of tensors that can be differentiated."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False):
            yield
    finally:
        torch.set_default_dtype(before)


def somewhere(mask: Tensor) -> bool:
    """Whether a mask holds for an item; False under :func:`torch.func.vmap`, where nobody can tell."""
    try:
        return bool(mask.any())
    except RuntimeError as error:
        if "vmap" in str(error):
            return False
        raise


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise ``ValueError`` if a tensor holds a NaN or an infinity, where :func:`somewhere` can tell."""
    wrong = ~torch.isfinite(tensor)
    if somewhere(wrong):
        raise ValueError(
            f"{name} must be finite: {int(wrong.sum())} of its {tensor.numel()} values are NaN or infinite"
        )


def require_floating(name: str, tensor: Any) -> None:
    """Raise unless something is a tensor (``TypeError``) of a real floating-point type (``ValueError``)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}: see torch.as_tensor")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be a floating-point tensor (float32 or float64), not {tensor.dtype}")


def is_whole(value: Any) -> bool:
    """Whether it is an integer of any library; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_whole(name: str, value: Any, least: int) -> int:
    """The value, if it is a whole number of at least so much; else ``ValueError``."""
    if not is_whole(value):
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return int(value)


def require_same_shape(x: Tensor, y: Tensor, what: str = "the two sounds") -> None:
    """Raise ``ValueError`` if two tensors would have to be broadcast."""
    if x.shape != y.shape:
        raise ValueError(f"{what} must have the same shape, not {tuple(x.shape)} and {tuple(y.shape)}")


def require_not_flat(name: str, *channels: Tensor, step: float = 0.0) -> None:
    """Raise ``ValueError`` if one of the channels of a sound is clipped, its samples rounded to whole steps."""
    if (share := max(clipped_share(x, step) for x in channels)) > CLIPPED:
        raise ValueError(f"{name} is clipped: {100 * share:.1f} % of its samples are at its peak, several in a row")


def clipped_share(x: Tensor, step: float = 0.0) -> float:
    """Share of the samples of one sound that are at its peak, three or more in a row; 0 for silence.

    Crests of a sound rounded to whole steps are flat, too, but have shoulders one step lower; clipped ones have none.
    """
    if len(x) < 3 or not (peak := x.abs().max()) > 0:
        return 0.0
    flat = x.abs() >= peak * (1 - 1e-6)
    if step:
        signed = x * x[x.abs().argmax()].sign()  # x and −x may round apart
        top = signed >= peak * (1 - 1e-6)
        if int(((signed > peak - 1.5 * step) & ~top).sum()) > 0.3 * int(top.sum()):
            return 0.0
    inner = torch.nn.functional.pad(flat[2:] & flat[1:-1] & flat[:-2], (2, 2))  # each middle one of three
    return float((inner[2:] | inner[1:-1] | inner[:-2]).double().mean())
