"""Sizes of an operator, and what they may be."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_whole(name: str, value: Any, least: int) -> int:
    """The value, if it is a whole number (True is none) of at least so much; else ``ValueError``."""
    if not _is_whole(value):
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return int(value)


def one_quality(Q: Any) -> Any:
    """Q of the first order; the field writes (Q, 1), the second order having one wavelet an octave."""
    if not isinstance(Q, tuple | list):
        return Q
    if len(Q) != 2 or Q[1] != 1:
        raise ValueError(f"Q must be a whole number, or a pair (Q, 1): the second order has one, not {tuple(Q)}")
    return Q[0]


@dataclass(frozen=True)
class Sizes:
    """Arguments of :class:`pnpkit.jtfs.operator.JTFS`, where they are explained; ``n_samples`` is a power of two here.

    Raises:
        ValueError: if one is of another kind or out of range; the message names it.
    """

    J: int
    Q: int
    J_fr: int
    Q_fr: int
    F: int
    T: int | None
    n_samples: int
    global_second_order: bool
    coarse_quirk: bool

    def __post_init__(self) -> None:
        for name in ("J", "Q", "J_fr", "Q_fr", "F"):
            require_whole(name, getattr(self, name), 1)
        n, J, T = self.n_samples, self.J, self.T
        if n.bit_length() <= J:
            raise ValueError(f"J = {J} needs at least 2^{J} samples; n_samples is {n}")
        if T is not None and (not _is_whole(T) or not 1 <= T <= n or T & (T - 1)):
            raise ValueError(f"T must be None or a power of two from 1 to n_samples = {n}, not {T!r}")

    @property
    def length(self) -> int:
        """Samples of the padded waveform."""
        return 2 * self.n_samples

    @property
    def frames(self) -> int:
        """Instants that first-order paths keep."""
        return 1 if self.T is None else self.n_samples // self.T

    @property
    def second_in_time(self) -> bool:
        """Whether second-order paths keep as many."""
        return self.T is not None and not self.global_second_order
