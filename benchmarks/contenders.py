"""What the benchmark times: one call for each operation and algorithm."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from direct_jtfs import DirectJTFS
from torch import Tensor

from pnpkit.jtfs import Phi, log_compress
from pnpkit.metric import jacobian
from pnpkit.synth import Arpeggio, RectangularDrum

BATCH = 4  # arpeggios at once; one drum, and one item of the others, at a time
DIRECT_LARGEST = {"forward": 2**15, "jacobian3": 2**13, "jacobian5": 2**13, "forward+backward": 2**13}  # half a minute
OPERATIONS = ("forward", "jacobian3", "jacobian5", "forward+backward")

Descriptor = Callable[[Tensor], Tensor]
Tasks = dict[tuple[str, str], tuple[Callable[[], object], int]]  # by operation and algorithm; items of one call


def contenders(n: int) -> tuple[Tasks, list[dict[str, Any]]]:
    """What to time at one size; and what cannot be, with the reason."""
    tasks: Tasks = {}
    skipped: list[dict[str, Any]] = []
    synth = Arpeggio(n_samples=n)
    theta = torch.tensor([[740.0, 8.7, 1.7], [600, 5, 1], [900, 12, 3], [520, 15, 0.6]], dtype=torch.float64)
    x = synth(theta).float()
    drum = RectangularDrum(n_samples=n)
    stroke = torch.tensor([[1900.0, 0.8, 0.02, 0.001, 0.5]], dtype=torch.float64)
    phi = Phi.reference(n)
    tasks["forward", "pnpkit"] = partial(_forward, phi, x), BATCH
    tasks["jacobian3", "pnpkit"] = partial(_all_at_once, synth, phi, theta), BATCH
    tasks["jacobian5", "pnpkit"] = partial(_all_at_once, drum, phi, stroke), 1
    tasks["forward+backward", "pnpkit"] = partial(_backward, phi, x), BATCH

    direct = DirectJTFS(phi.jtfs.sizes)

    def phi_direct(signal: Tensor) -> Tensor:
        return log_compress(direct(signal.reshape(-1, n).float()))[0]

    every: dict[str, Callable[[], object]] = {
        "forward": partial(_forward, phi_direct, x[:1]),
        "jacobian3": partial(_one_by_one, lambda th: phi_direct(synth(th)), theta[0]),
        "jacobian5": partial(_one_by_one, lambda th: phi_direct(drum(th)), stroke[0]),
        "forward+backward": partial(_backward, phi_direct, x[:1]),
    }
    for operation, task in every.items():
        if n <= DIRECT_LARGEST[operation]:
            tasks[operation, "direct"] = task, 1
        else:
            reason = f"not beyond N = {DIRECT_LARGEST[operation]}: it takes minutes, and 12 GB"
            skipped.append({"operation": operation, "algorithm": "direct", "n_samples": n, "reason": reason})

    from kymatio.torch import Scattering1D

    peer = Scattering1D(J=13, shape=n, Q=12, T=2**13)
    tasks["forward", "kymatio order 2"] = partial(_forward, peer, x), BATCH
    tasks["forward+backward", "kymatio order 2"] = partial(_backward, peer, x), BATCH
    reason = "its modulus has no forward-mode derivative"
    skipped += [
        {"operation": f"jacobian{d}", "algorithm": "kymatio order 2", "n_samples": n, "reason": reason} for d in (3, 5)
    ]
    return tasks, skipped


def _forward(phi: Descriptor, x: Tensor) -> None:
    with torch.no_grad():
        phi(x)


def _backward(phi: Descriptor, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    phi(leaf).sum().backward()


def _all_at_once(synth: Descriptor, phi: Descriptor, theta: Tensor) -> Tensor:
    return jacobian(synth, phi, theta)


def _one_by_one(f: Descriptor, theta: Tensor) -> Tensor:
    """Jacobian by one forward-mode pass a direction: all at once would not fit in memory."""
    columns = [torch.func.jvp(f, (theta,), (e,))[1] for e in torch.eye(len(theta), dtype=theta.dtype)]
    return torch.stack(columns, -1)
