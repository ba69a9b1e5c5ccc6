"""Parameters of a sound that a trained network has not seen: scalogram, network, and back to raw units."""

from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.analyser.scalogram import Scalogram
from pnpkit.experiment.problem import get_problem
from pnpkit.experiment.training.checkpoint import load_analyser
from pnpkit.experiment.training.run_folder import read_config


def estimate(x: Float[Tensor, "*batch time"], rate: float, run: Path) -> Float[Tensor, "*batch d"]:
    r"""θ̃ of a sound, by the network of a run.

    .. math:: \tilde\theta = u^{-1}(f_{\mathbf{W}}(\mathrm{CQT}(x))), \quad u \text{ the coordinates of the run}

    Args:
        x: waveforms, as long and as loud as those of the run's synthesiser: the level is part of what is analysed.
        rate: their sampling rate, in Hz; that of the run's synthesiser.
        run: folder of the run: ``config.json``, ``weights.safetensors``.

    Returns:
        θ̃ in raw units, float64, in the order of the synthesiser's parameters.

    Raises:
        ValueError: if length or rate are others than the run's, a sample is not finite, or all are zero.
        FileNotFoundError: if the run, or its weights, are not there.
    """
    config = read_config(run)
    g = get_problem(config.grid).synth
    if rate != g.sample_rate or x.shape[-1] != g.n_samples:
        raise ValueError(
            f"the run is of sounds of {g.n_samples} samples at {g.sample_rate} Hz, not {x.shape[-1]} at {rate} Hz"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the sound has samples that are not finite")
    if not bool(x.any(-1).all()):
        raise ValueError("the sound is silent: there is nothing to estimate")
    with torch.no_grad():
        images = Scalogram(g.sample_rate, **asdict(config.features))(x.float().reshape(-1, g.n_samples))
        output = load_analyser(run)(images).double().reshape(*x.shape[:-1], -1)
    theta = g.parameters.decode(output, config.coordinates)
    if not bool(torch.isfinite(theta).all()):
        raise ValueError("the network's answer is not finite: is the sound as loud as those of the run's synthesiser?")
    return theta
