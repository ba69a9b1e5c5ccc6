"""The analyser f_W: from a scalogram to synthesis parameters, by a small convolutional network."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pnpkit._checks import plain_modes
from pnpkit._names import require_known
from pnpkit.metric import Function

EVALUATION_BATCH = 64  # fits the caches; no result depends on it beyond rounding

HEADS: dict[str, tuple[Callable[[], nn.Module], Function, str]] = {  # h, its inverse, and what it reaches
    # the paper's: raw units, which are all positive
    "leaky_relu": (lambda: nn.LeakyReLU(0.01), lambda y: torch.where(y >= 0, y, 100 * y), "finite values"),
    # what the authors' program had when the paper was deposited
    "softplus": (nn.Softplus, lambda y: y + torch.log(-torch.expm1(-y)), "positive values"),
    "tanh": (nn.Tanh, torch.atanh, "(−1, 1)"),  # coordinates normalised to [−1, 1]
    "linear": (nn.Identity, lambda y: y, "finite values"),
}


class Analyser(nn.Module):
    r"""EfficientNet-B0 between a normalised input and an output unit.

    .. math:: f_{\mathbf{W}} = h \circ \mathrm{EfficientNet\text{-}B0} \circ \mathrm{Conv}_{3\times3}^{1\to3}
              \circ \mathrm{BatchNorm}

    The batch normalisation stands in for the standardisation of the data; the convolution makes the three channels
    that the network was designed for. Weights are random, drawn from ``seed`` alone: the caller's generator is left
    as it was. Weights and activations are kept channels-last, the order that convolutions on a CPU prefer.

    Args:
        n_parameters: d, outputs.
        head: h, one of ``leaky_relu`` (slope 0.01; the paper), ``softplus``, ``tanh``, ``linear``.
        seed: of the initial weights.
        mean_target: if given, of shape (d,), the last bias starts where the output equals it: a labelled remedy for
            raw units, no part of the protocol.

    Raises:
        ValueError: if the head is unknown (the message lists the valid ones), or ``mean_target`` is out of its reach.

    Source: GRETSI 2023, section 4; Tan and Le, *EfficientNet*, 2019.

    >>> analyser = Analyser(3).eval()
    >>> analyser(torch.zeros(2, 72, 129)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, n_parameters: int, head: str = "leaky_relu", seed: int = 0, mean_target: Float[Tensor, " d"] | None = None
    ) -> None:
        # Seconds that those who train nothing need not wait; the first of them loads the second, quietly
        from pnpkit.analyser.cpu_layers import in_fewer_passes

        import timm  # isort: skip

        super().__init__()
        require_known("head", head, HEADS)
        with plain_modes(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.normalise = nn.BatchNorm2d(1)
            self.expand = nn.Conv2d(1, 3, kernel_size=3, padding=1)
            network = timm.create_model(
                "efficientnet_b0", pretrained=False, num_classes=n_parameters, in_chans=3, drop_rate=0.2
            )
            self.network = in_fewer_passes(network)
            self.head = HEADS[head][0]()
            if mean_target is not None:
                _, inverse, reach = HEADS[head]
                if not bool(torch.isfinite(before := inverse(mean_target)).all()):
                    raise ValueError(f"a {head} head reaches {reach} only, not {mean_target.tolist()}")
                with torch.no_grad():
                    self.network.get_parameter("classifier.bias").copy_(before)
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # known to torch, not to its stubs

    def forward(self, inputs: Float[Tensor, "*batch bins frames"]) -> Float[Tensor, "*batch d"]:
        """Estimated parameters, in the coordinates of the training target.

        A leaky_relu, tanh or linear head keeps the sign of the unit before it.
        """
        x = inputs.reshape(-1, 1, *inputs.shape[-2:]).contiguous(memory_format=torch.channels_last)
        output = self.head(self.network(self.expand(self.normalise(x))))
        return output.reshape(*inputs.shape[:-2], output.shape[-1])

    def n_weights(self) -> int:
        """How many numbers training adjusts."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def predict(analyser: nn.Module, inputs: np.ndarray, rows: np.ndarray) -> Float[Tensor, "items d"]:
    """Output of the network for some rows of the inputs, in its coordinates, in evaluation mode, on the CPU."""
    training, device = analyser.training, next(analyser.parameters()).device
    analyser.eval()
    with torch.no_grad():
        batches = np.array_split(rows, range(EVALUATION_BATCH, len(rows), EVALUATION_BATCH))
        output = [analyser(torch.from_numpy(np.asarray(inputs[b])).to(device)).cpu() for b in batches]
    analyser.train(training)
    return torch.cat(output)
