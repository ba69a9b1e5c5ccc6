"""Φ∘g and its tangents at every train sound, in principal components: what the linearised spectral loss looks up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pnpkit.experiment.artefacts import config_hash, provenance, read_record, write_record
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import Count, Progress, counted, slices, staged
from pnpkit.experiment.machine import locked, torch_threads
from pnpkit.experiment.precompute.atlases import atlas_sounds, matching_problem
from pnpkit.experiment.problem import Problem
from pnpkit.landscape import LinearisedListening
from pnpkit.matching.atlas import principal_components
from pnpkit.matching.stored import read_arrays, write_arrays
from pnpkit.metric import value_and_jacobian

SUBSET = 2048  # sounds, evenly over the train fold, whose Φ give the components
BASIS = "basis.npz"


@dataclass(frozen=True)
class TangentConfig:
    """Which tangents: those of all train sounds of a grid, the gain's gradient attached, as SP follows it."""

    grid: GridConfig
    phi: str  # Φ, as of Problem.phi_name
    every: int = 1  # one of so many sounds of the train fold
    components: int = 256
    chunk: int = 128  # sounds a file


def tangents_folder(root: Path, config: TangentConfig) -> Path:
    """Where they are kept: large, made again in an hour, hence not shipped."""
    return root / f"tangents-{config_hash(config)}"


def compute_tangents(folder: Path, config: TangentConfig, progress: Count = None) -> LinearisedListening:
    """Fill a folder with what it lacks, a file a chunk, then read it. Killed at any moment, it goes on where it was.

    Args:
        folder: as of :func:`tangents_folder`.
        config: which tangents.
        progress: called with (sounds done, sounds in all).

    Raises:
        ValueError: if a file is not what its record says; names it.
    """
    problem, theta = matching_problem(config.grid), atlas_sounds(config.grid, config.every)
    chunks = {folder / f"{c.start:05d}.npz": theta[c] for c in slices(len(theta), config.chunk)}
    with locked(folder), torch_threads(1):
        if not (folder / BASIS).is_file():
            _write_basis(folder / BASIS, problem, theta, config.components)
        axes = read_arrays(folder / BASIS, "basis")
        missing = {path: part for path, part in chunks.items() if not path.with_suffix(".json").is_file()}
        count = counted(progress, len(theta), len(theta) - sum(map(len, missing.values())))
        for path, part in missing.items():
            _write_chunk(path, config, problem, part, **axes)
            count(len(part))
    parts = [_read(path) for path in chunks]
    values, J = (torch.cat([part[name] for part in parts]) for name in ("values", "J"))
    values, J = _from_silence(values, J, **axes)
    return LinearisedListening(theta, values, J, partial(problem.space.encode, coordinates="logminmax"))


def how_it_sounds(
    loss: str, problem: Problem, folder: Path, device: str = "cpu", progress: Progress = None
) -> Callable[[Tensor], Tensor]:
    """What a loss of sounds compares of a θ: Φ∘g for ``sp``, its tangents for ``sp-linear``, g for ``mss``.

    Args:
        loss: ``sp``, ``sp-linear`` or ``mss``.
        problem: whose gain's gradient is followed or not.
        folder: in which tangents are kept.
        device: of Φ.
        progress: called with ("tangents", done, in all).

    Raises:
        ValueError: if tangents are asked for with the gain held: they follow it.
    """
    if loss == "mss":  # in double precision, as single loses phases, which its logarithms hear
        return lambda theta: problem.synth(theta.double()).to(theta.dtype)
    if loss == "sp":
        own = replace(problem)  # its Φ is its own, and may move to the device
        own.phi.to(device)
        return own.listen
    if problem.synth != problem.with_gain("attached").synth:
        raise ValueError("the tangents of sp-linear follow the gain: its run needs gain='attached'")
    config = TangentConfig(problem.grid, problem.phi_name)
    return compute_tangents(tangents_folder(folder, config), config, staged("tangents", progress))


def _write_basis(path: Path, problem: Problem, theta: Tensor, components: int) -> None:
    some = theta[torch.linspace(0, len(theta) - 1, min(SUBSET, len(theta))).round().long()]
    with torch.no_grad():
        values = torch.cat([problem.listen(part) for part in some.split(1)])
    mean, basis = principal_components(values, components)
    write_arrays(path, "basis", {"mean": mean, "basis": basis})


def _write_chunk(
    path: Path, config: TangentConfig, problem: Problem, theta: Tensor, mean: Tensor, basis: Tensor
) -> None:
    """Compute and write one file, and the record that vouches for it."""
    began = time.monotonic()
    pairs = [value_and_jacobian(problem.synth, problem.phi, t[None]) for t in theta]
    values, J = (torch.cat(column) for column in zip(*pairs, strict=True))
    write_arrays(path, "tangents", {"values": (values - mean) @ basis.mT, "J": basis @ J})
    write_record(path.with_suffix(".json"), provenance(config, time.monotonic() - began), [path.name, BASIS])


def _from_silence(values: Tensor, J: Tensor, mean: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Components of Φ in place of those of Φ less its mean: a loss asks how far silence is, too, which is at zero.

    One coordinate more, the same for all sounds, has what of the mean no component has.
    """
    origin = basis @ mean
    rest = (mean - origin @ basis).norm().expand(len(values), 1)
    return torch.cat([values + origin, rest], 1), torch.cat([J, J.new_zeros(len(J), 1, J.shape[2])], 1)


def _read(path: Path) -> dict[str, Tensor]:
    read_record(path.with_suffix(".json"))
    return read_arrays(path, "tangents")
