"""What the rest of the library asks of a synthesiser."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from pnpkit.synth.parameters import ParameterSpace


@runtime_checkable
class Synthesiser(Protocol):
    """A differentiable function g from parameters θ to a waveform x.

    Batch-first: θ of shape (…, d) gives x of shape (…, n_samples), in the dtype and on the device of θ.
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

    def log_gain_gradient(self, theta: Tensor) -> Tensor:
        """Gradient with respect to θ of the logarithm of a gain that the derivative of g leaves out; zero if none."""
