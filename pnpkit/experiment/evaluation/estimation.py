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
from pnpkit.synth import Synthesiser


def check_length(g: Synthesiser, samples: int, rate: float, what: str = "") -> None:
    """Raise ``ValueError`` unless length and rate of a sound are those of a run's synthesiser."""
    if (samples, rate) != (g.n_samples, g.sample_rate):
        wanted = f"{g.n_samples} samples at {g.sample_rate} Hz"
        raise ValueError(f"{what}the run is of sounds of {wanted}, not {samples} at {rate} Hz")


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
    check_length(g, x.shape[-1], rate)
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
