"""The space in which θ lives: names, units, ranges, and the coordinates a network may use for it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pnpkit._checks import require_finite, require_floating, somewhere
from pnpkit._names import require_known

Coordinates = Literal["raw", "log", "minmax", "logminmax"]
OUTSIDE = 1e-6  # of a range: an answer at a bound may be decoded so far outside


@dataclass(frozen=True)
class Parameter:
    """One physical parameter of a synthesiser.

    Args:
        name: identifier, used as a column name.
        symbol: LaTeX symbol without dollar signs.
        unit: unit as printed on axes; ``"1"`` if there is none.
        low, high: range covered by the data set, in that unit.
        scale: ``"log"`` if equal ratios are equally likely (and audible), ``"linear"`` if equal differences are.

    Raises:
        ValueError: if the range is empty or not finite, or not positive on a log scale, or the scale is unknown.

    >>> Parameter("f_0", "f_0", "Hz", 50.0, 500.0, "log").unit
    'Hz'
    """

    name: str
    symbol: str
    unit: str
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        require_known("scale", self.scale, ("linear", "log"))
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"parameter {self.name}: low = {self.low} must be below high = {self.high}, both finite")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"parameter {self.name}: a log scale needs low > 0, not {self.low}")

    def at_bound(self, value: float) -> bool:
        """Whether a value lies at an end of the range, to rounding."""
        return min(abs(value - self.low), abs(value - self.high)) <= OUTSIDE * (self.high - self.low)


@dataclass(frozen=True)
class ParameterSpace:
    r"""An ordered set of parameters, and its coordinate systems.

    A network does not have to speak hertz. Four coordinate systems :math:`u(\theta)` are offered: ``"raw"`` (units of
    θ), ``"log"`` (log10 of the log-scaled parameters), ``"minmax"`` (range mapped to [−1, 1]) and ``"logminmax"``
    (log10, then range mapped to [−1, 1]). Each parameter is mapped on its own, so the metric follows by

    .. math:: \mathbf{M}_u = \mathbf{A}^\top \mathbf{M}_\theta \mathbf{A}, \qquad
              \mathbf{A} = \operatorname{diag}(\partial\theta_i / \partial u_i).

    >>> space = ParameterSpace((Parameter("f", "f", "Hz", 1.0, 100.0, "log"),))
    >>> space.encode(torch.tensor([[10.0]]), "logminmax")
    tensor([[0.]])
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))  # a list is not equal to what a file gives back
        if len(set(self.names)) < len(self):
            raise ValueError(f"parameters must have different names, not {', '.join(self.names)}")

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in the order of the last dimension of θ."""
        return tuple(p.name for p in self.parameters)

    @property
    def units(self) -> tuple[str, ...]:
        """Units, in the same order."""
        return tuple(p.unit for p in self.parameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """Axis labels: symbol and unit."""
        return tuple(f"${p.symbol}$" + (f" ({p.unit})" if p.unit != "1" else "") for p in self.parameters)

    @property
    def low(self) -> Tensor:
        """Lower ends of the ranges, float64."""
        return torch.tensor([p.low for p in self.parameters], dtype=torch.float64)

    @property
    def high(self) -> Tensor:
        """Upper ends of the ranges, float64."""
        return torch.tensor([p.high for p in self.parameters], dtype=torch.float64)

    def check(self, theta: Tensor) -> None:
        """Raise ``ValueError`` unless θ is floating-point, finite, and has one value a parameter.

        Values outside the ranges are allowed: a network's guess may lie anywhere.
        """
        require_floating("theta", theta)
        self._check_width(theta)
        require_finite("theta", theta)

    def inside(self, theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """θ in float64, clamped to the ranges if rounding alone has led it outside; ``ValueError`` if more has."""
        self.check(theta)
        theta = theta.double()
        low, high = self.low.to(theta), self.high.to(theta)
        out = ~self.in_range(theta).all(-1)
        if bool(out.any()):
            raise ValueError(f"theta = {theta[out][0].tolist()} lies outside {low.tolist()} … {high.tolist()}")
        return torch.clamp(theta, low, high)

    def in_range(self, theta: Float[Tensor, "*batch d"]) -> Bool[Tensor, "*batch d"]:
        """Of each parameter, whether it is in its range, or outside by rounding alone; False where it is NaN."""
        low, high = self.low.to(theta), self.high.to(theta)
        slack = OUTSIDE * (high - low)
        return (theta >= low - slack) & (theta <= high + slack)

    def _check_width(self, theta: Tensor) -> None:
        if theta.ndim == 0 or theta.shape[-1] != len(self):
            raise ValueError(
                f"theta has shape {tuple(theta.shape)}; its last dimension must be {len(self)}: {', '.join(self.names)}"
            )

    def _columns(self, theta: Tensor, coordinates: str) -> Iterator[tuple[Parameter, Tensor, bool, float, float]]:
        """Each parameter, its values, whether their logarithm is taken, offset and half-width that map them to u."""
        self._check_width(theta)
        require_known("coordinates", coordinates, get_args(Coordinates))
        for parameter, value in zip(self.parameters, theta.unbind(-1), strict=True):
            log = parameter.scale == "log" and coordinates in ("log", "logminmax")
            low, high = (math.log10(end) if log else end for end in (parameter.low, parameter.high))
            offset, width = ((low + high) / 2, (high - low) / 2) if "minmax" in coordinates else (0.0, 1.0)
            yield parameter, value, log, offset, width

    def box(self, coordinates: str) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Lower and upper ends of the ranges, in coordinates u."""
        return self.encode(self.low, coordinates), self.encode(self.high, coordinates)

    def encode(self, theta: Float[Tensor, "*batch d"], coordinates: str) -> Float[Tensor, "*batch d"]:
        """Coordinates u of θ.

        Raises:
            ValueError: if the coordinate system is unknown, a value has no logarithm, or there is not one a parameter.
        """
        columns = []
        for parameter, value, log, offset, width in self._columns(theta, coordinates):
            if log:
                if somewhere(value <= 0):
                    raise ValueError(f"{parameter.name} must be positive in coordinates {coordinates!r}")
                value = value.log10()
            columns.append((value - offset) / width)
        return torch.stack(columns, -1)

    def decode(self, u: Float[Tensor, "*batch d"], coordinates: str) -> Float[Tensor, "*batch d"]:
        """Parameters θ of the coordinates u: the inverse of :meth:`encode`."""
        scaled = ((value * width + offset, log) for _, value, log, offset, width in self._columns(u, coordinates))
        return torch.stack([10**value if log else value for value, log in scaled], -1)

    def change_coordinates(
        self, M: Float[Tensor, "*batch d d"], theta: Float[Tensor, "*batch d"], coordinates: str
    ) -> Float[Tensor, "*batch d d"]:
        """Metric in coordinates u from the metric in raw units: AᵀMA, A the diagonal of ∂θ/∂u at θ.

        Args:
            M: metric in (units of Φ)² per (unit of θ)².
            theta: where it was taken, raw units.
            coordinates: the coordinates wanted.
        """
        columns = self._columns(theta, coordinates)
        A = torch.stack([w * (v * math.log(10) if log else torch.ones_like(v)) for _, v, log, _, w in columns], -1)
        return A.unsqueeze(-1) * M * A.unsqueeze(-2)


@runtime_checkable
class Synthesiser(Protocol):
    """A differentiable function g from parameters θ to a waveform x.

    Batch-first: θ of shape (…, d) gives x of shape (…, n_samples), in the dtype and on the device of θ. One whose
    derivative leaves out that of a gain says so by a method ``log_gain_gradient(theta)``; see :func:`gain_gradient`.
    One that can read some of θ off a sound may say so by a method ``hint(x)``; see ``pnpkit.match``.

    >>> from pnpkit import Arpeggio
    >>> isinstance(Arpeggio(), Synthesiser)
    True
    """

    @property
    def parameters(self) -> ParameterSpace:
        """Names, units and ranges of θ."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def n_samples(self) -> int:
        """Length of x."""

    def __call__(self, theta: Tensor) -> Tensor:
        """The waveform of each θ, in raw units."""


def space_of(g: Callable[[Tensor], Tensor], space: ParameterSpace | None) -> ParameterSpace:
    """The space given, or else the synthesiser's own."""
    space = getattr(g, "parameters", None) if space is None else space
    if space is None:
        raise ValueError("a synthesiser without `parameters` needs its space said: space=…")
    return space


def gain_gradient(g: Synthesiser, theta: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Gradient per unit of θ of the logarithm of a gain that the derivative of g leaves out; zero if it leaves none."""
    left_out = getattr(g, "log_gain_gradient", None)
    return torch.zeros_like(theta) if left_out is None else left_out(theta)
