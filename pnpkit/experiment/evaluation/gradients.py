"""How well one loss stands in for another where a network's answers have been: their gradients and values compared.

python -m pnpkit.experiment.evaluation.gradients PROFILE     # SP linearised against SP, along three runs; some minutes
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.experiment.artefacts import provenance, read_csv, read_record, write_csv, write_record
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.precompute.tangents import how_it_sounds
from pnpkit.experiment.training.objective import Loss, build_losses
from pnpkit.experiment.workspace import Workspace

TABLE, AGREEMENT = "gradients.csv", "gradients.json"
# By the profile that has sp-linear: the runs, by theirs, and after which epochs; of its first seed, as far as ended
JOURNEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "of-sounds": {"study": ("p", "pnp"), "of-sounds": ("sp-linear",)},
    "paper-of-sounds": {"paper": ("p", "pnp"), "paper-of-sounds": ("sp-linear",)},
}
EPOCHS = {"of-sounds": (1, 5, 20), "paper-of-sounds": (1, 10, 20, 40, 70)}
SOUNDS = 32


def gradient_agreement(
    exact: Loss, other: Loss, guess: Float[Tensor, "items d"], target: Float[Tensor, "items d"]
) -> pd.DataFrame:
    """Item by item: cosine of two losses' gradients at a guess, and the other's size and loss over the exact one's.

    Args:
        exact, other: losses, called as ``loss(prediction, target, metric)`` with no metric.
        guess, target: in the coordinates of the network.

    Returns:
        Columns ``cosine``, ``size``, ``loss``.
    """
    rows = []
    for u, wanted in zip(guess, target, strict=True):
        slopes, values = [], []
        for loss in (exact, other):
            at = u[None].clone().requires_grad_()
            value = loss(at, wanted[None], None)
            slopes.append(torch.autograd.grad(value, at)[0][0].double())
            values.append(value.item())
        cosine = torch.cosine_similarity(slopes[0], slopes[1], dim=0).item()
        rows.append((cosine, (slopes[1].norm() / slopes[0].norm()).item(), values[1] / values[0]))
    return pd.DataFrame(rows, columns=["cosine", "size", "loss"])


def linearised_agreement(
    workspace: Workspace, journeys: Sequence[tuple[Workspace, str, int]], epochs: Sequence[int], n: int
) -> pd.DataFrame:
    """The gradient of SP linearised against that of SP itself, at the answers of runs after some of their epochs.

    Args:
        workspace: that has ``sp-linear``; all runs have its grid and its coordinates.
        journeys: runs that have a probe.
        epochs: after which of them.
        n: sounds of the probe, evenly taken.

    Returns:
        As of :func:`gradient_agreement`, with ``journey``, ``epoch`` and ``id``.
    """
    config = workspace.run_config("sp-linear", workspace.profile.seeds[0])
    data = workspace.data(config)
    problem, folder = workspace.problem.with_gain(config.gain), workspace.base.folder
    exact, other = (
        build_losses(replace(config, loss=loss), data, how_it_sounds(loss, problem, folder))[0]
        for loss in ("sp", "sp-linear")
    )
    tables = []
    for home, loss, seed in journeys:
        probe = home.probe(loss, seed)
        for epoch in epochs:
            answers = probe[probe.epoch == epoch].iloc[:: max(1, (probe.epoch == epoch).sum() // n)].head(n)
            pairs = [
                data.space.encode(theta_of(table, data.space), config.coordinates)
                for table in (answers, data.table.loc[answers.id])
            ]
            table = gradient_agreement(exact, other, *pairs)
            tables.append(table.assign(journey=loss, epoch=epoch, id=answers.id.to_numpy()))
    return pd.concat(tables, ignore_index=True)


def write_agreement(folder: Path, table: pd.DataFrame, config: object, seconds: float) -> None:
    """Keep a table of :func:`linearised_agreement` with its record."""
    write_csv(folder / TABLE, table.round(6))
    write_record(folder / AGREEMENT, provenance(config, seconds), [TABLE])


def read_agreement(folder: Path) -> pd.DataFrame:
    """Read what :func:`write_agreement` kept, after checking it."""
    read_record(folder / AGREEMENT)
    return read_csv(folder / TABLE, ["cosine", "size", "loss"])


def main() -> None:
    """Compare SP linearised with SP, and keep the table beside its runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("profile", choices=JOURNEYS)
    began, workspace = time.monotonic(), Workspace.open(name := parser.parse_args().profile)
    seed, homes = workspace.profile.seeds[0], {home: Workspace.open(home) for home in JOURNEYS[name]}
    ended = {home: [k for k in JOURNEYS[name][home] if (k, seed) in of.finished_runs()] for home, of in homes.items()}
    runs = [(homes[home], loss, seed) for home, losses in ended.items() for loss in losses]
    table = linearised_agreement(workspace, runs, EPOCHS[name], SOUNDS)
    config = {"journeys": ended, "epochs": EPOCHS[name], "sounds": SOUNDS}
    write_agreement(workspace.folder, table, config, time.monotonic() - began)
    print(table.groupby(["journey", "epoch"])[["cosine", "size", "loss"]].median())


if __name__ == "__main__":
    main()
