"""What a step of training costs: with each loss, its parts, and what the loop adds."""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pnpkit.analyser.cpu_layers import in_more_passes
from pnpkit.analyser.network import Analyser
from pnpkit.experiment.config import GridConfig, TrainingConfig
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.machine import memory_kept
from pnpkit.experiment.problem import get_problem
from pnpkit.experiment.training.loop import train
from pnpkit.experiment.training.objective import TrainingData
from pnpkit.losses import ParameterLoss, PNPLoss, SpectralLoss
from pnpkit.metric import damp
from pnpkit.synth import Arpeggio


def step_costs(batch: int = 32, rounds: int = 5) -> dict[str, Any]:
    """Seconds an item of a step with each loss, side by side, and of the two backpropagations that make up SP's.

    The arpeggio and its Φ, one network, targets in raw units; all take turns, after a round that does not count.

    Args:
        batch: items a step.
        rounds: that count.

    Returns:
        ``batch``; ``steps``, by loss: forward, loss, backward and update; ``network``: forward and backward of the
        network alone; ``stock``: of the same with timm's own layers; ``phi``: the same
        of Φ∘g, from θ̃ to half the squared distance, the target's Φ at hand.
    """
    problem = get_problem(GridConfig()).with_gain("attached")
    generator = torch.Generator().manual_seed(0)
    low, high = problem.space.low, problem.space.high
    theta, guess = (low + (high - low) * torch.rand(batch, 3, generator=generator, dtype=low.dtype) for _ in range(2))
    images, M = torch.rand(batch, 72, 129, generator=generator), torch.eye(3, dtype=low.dtype).repeat(batch, 1, 1)
    analyser = Analyser(3).train()
    stock = in_more_passes(Analyser(3).train())
    optimiser = torch.optim.Adam(analyser.parameters(), fused=True)
    with torch.no_grad():
        wanted = problem.listen(theta)

    def there_and_back(network: nn.Module) -> None:
        network.zero_grad()
        network(images).sum().backward()

    def phi() -> None:
        leaf = guess.clone().requires_grad_()
        (0.5 * (problem.listen(leaf) - wanted).square().sum(-1).mean()).backward()

    def step(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        value = loss(analyser(images), theta, M)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()

    losses: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "p": ParameterLoss(),
        "pnp": PNPLoss(),
        "pnp-mean": PNPLoss(damp(1.0, "mean", M[0])),
        "sp": SpectralLoss(problem.listen, box=(low, high)),
    }
    parts: dict[str, Callable[[], None]] = {
        "network": partial(there_and_back, analyser),
        "stock": partial(there_and_back, stock),
        "phi": phi,
    }
    tasks = parts | {name: partial(step, loss) for name, loss in losses.items()}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    with memory_kept():  # as in training
        for _ in range(rounds + 1):
            for name, task in tasks.items():
                began = time.perf_counter()
                task()
                seconds[name].append((time.perf_counter() - began) / batch)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {"batch": batch, "steps": {name: medians[name] for name in losses}} | {name: medians[name] for name in parts}


def loop_overhead(steps: int = 16, batch: int = 64) -> dict[str, float]:
    """What the training loop adds to forward, backward and step of the same network on tensors in memory.

    A step of :func:`train` with the PNP loss and a bare step take turns, after two of each that do not
    count. Validation and checkpoints come once an epoch and are in neither.

    Args:
        steps: of each that count.
        batch: items a step.

    Returns:
        ``loop`` and ``bare``, median seconds a step; ``overhead``, the median of their ratios, less one.
    """
    n, space = (steps + 2) * batch, Arpeggio.parameters
    generator = np.random.default_rng(0)
    span = (space.high - space.low).numpy()
    table = pd.DataFrame(space.low.numpy() + span * generator.random((n + 2, 3)), columns=list(space.names))
    table.insert(0, "id", np.arange(n + 2))
    table["fold"] = ["train"] * n + ["validation", "test"]
    inputs = generator.random((n + 2, 72, 129), dtype=np.float32)
    metric = torch.eye(3, dtype=torch.float64).repeat(n + 2, 1, 1)
    config = TrainingConfig(GridConfig(), "pnp", epochs=1, batch_size=batch)
    analyser = Analyser(3).train()
    optimiser = torch.optim.Adam(analyser.parameters(), fused=True)
    x, y = torch.from_numpy(inputs[:batch]), theta_of(table.iloc[:batch], space).float()
    loop, bare, ended = [], [], time.perf_counter()

    def take_turns(*_: Any) -> None:
        nonlocal ended
        began = time.perf_counter()
        loop.append(began - ended)
        loss = (analyser(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        ended = time.perf_counter()
        bare.append(ended - began)

    with tempfile.TemporaryDirectory() as folder:
        train(config, TrainingData(space, table, inputs, metric), Path(folder), progress=take_turns)
    ratios = [a / b for a, b in zip(loop[2:], bare[2:], strict=True)]
    return {
        "loop": statistics.median(loop[2:]),
        "bare": statistics.median(bare[2:]),
        "overhead": statistics.median(ratios) - 1,
    }
