"""Atlases by name: built from train folds; they come with the package, or are built once into the user's cache."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from itertools import count as numbers
from pathlib import Path
from typing import Any

from torch import Tensor

from pnpkit._extras import say_once
from pnpkit._names import FOLDERS
from pnpkit.experiment.artefacts import PROVENANCE, ArtefactMismatch, config_hash, provenance, read_record, write_record
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import Progress, counted, staged
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.machine import locked, on_one_thread, processes
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.remedies import data_root
from pnpkit.experiment.schema import check
from pnpkit.experiment.systems import called, get_system
from pnpkit.matching import Atlas
from pnpkit.matching.stored import read_arrays, write_arrays

ENOUGH = 2000  # sounds of the atlas of a synthesiser from elsewhere, or more
CHUNK = 16  # sounds a task: a bar that moves
PART = "part of an atlas"
PACKAGED = Path(__file__).parents[2] / "atlases"  # of the arpeggio and of the drum


@dataclass(frozen=True)
class AtlasConfig:
    """Which sounds an atlas holds, and how finely.

    Args:
        grid: the data set, of which the train fold is taken: no sound that is scored is in an atlas.
        every: one of so many of its sounds.
        components: principal components of Φ.
    """

    grid: GridConfig
    every: int = 1
    components: int = 64


# What :func:`store_atlas` writes beside an atlas: of Φ, the rms outside the components
ATLAS_RECORD = PROVENANCE | {"sounds": int, "rms_left": float}


def atlas_config(synth: str, variant: str | None = None) -> AtlasConfig:
    """The default atlas of a synthesiser: one that was made, or the smallest grid of some two thousand sounds.

    >>> atlas_config("arpeggio").grid.n_steps
    30
    """
    grid = GridConfig(synth, variant or next(iter(get_system(synth).variants)))
    record = made_atlas(grid).with_suffix(".json")
    if record.is_file():
        made = check(read_record(record, ATLAS_RECORD, only=())["config"], AtlasConfig, record, "config")
        try:
            return AtlasConfig(**made | {"grid": get_problem(GridConfig(**made["grid"])).grid})
        except ArtefactMismatch as error:
            again = "delete both and another is built, or make it by `pnpkit metrics --profile … --atlas 1`"
            raise ArtefactMismatch(f"{record.with_suffix('.npz')}, with its .json: {error} ({again})") from error
    d = len(get_problem(grid).space)
    problem = get_problem(GridConfig(synth, grid.variant, max(10 if d == 1 else 6, round(ENOUGH ** (1 / d)))))
    return AtlasConfig(problem.grid, max(1, 8 * len(problem.table) // 10 // ENOUGH))


def atlas_sounds(grid: GridConfig, every: int) -> Tensor:
    """θ of one of so many sounds, spread evenly over the train fold."""
    problem = get_problem(grid)
    table = problem.table
    return theta_of(table[table.fold == "train"][::every], problem.space)


@cache
def matching_problem(grid: GridConfig) -> Problem:
    """The problem whose synthesiser a descent can follow: its gain's gradient attached."""
    return get_problem(grid).with_gain("attached")


def cache_folder() -> Path:
    """Where what is computed once a user is kept: ``$XDG_CACHE_HOME/pnpkit``, else the platform's place for it."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given).expanduser() / "pnpkit"
    home = Path.home()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "pnpkit"


def own_atlas(grid: GridConfig, root: Path | None = None) -> Path:
    """Where users keep an atlas that they made; a variant's beside that of the first."""
    return (root or data_root()) / "atlases" / f"{called(grid, '-').replace(os.sep, '_')}.npz"


def made_atlas(grid: GridConfig) -> Path:
    """The atlas of a synthesiser that was made: the user's own, or else that of the package, if there is one."""
    own = own_atlas(grid)
    return own if own.is_file() or own.with_suffix(".json").is_file() else PACKAGED / own.name


def find_atlas(
    config: AtlasConfig, workers: int = 1, progress: Progress = None, executor: Executor | None = None
) -> Atlas:
    """The atlas that was made, or that of the user's cache, built there the first time.

    Raises:
        ValueError: if what lies there is no atlas, or one of another synthesiser; names the file.
    """
    made = made_atlas(config.grid)
    path = cache_folder() / f"atlas-{config_hash(config)}.npz"
    if made.is_file() and config == atlas_config(config.grid.synth, config.grid.variant):
        path = made
    if not path.is_file():
        sounds = len(atlas_sounds(config.grid, config.every))
        _ = matching_problem(config.grid).phi  # a sound too short for it is refused before anything is said or made
        say_once(f"an atlas of {sounds} sounds of {config.grid.synth} is made, once, which takes minutes: {path}")
        store_atlas(path, config, workers, progress, executor, again=False)
    if (record := path.with_suffix(".json")).is_file():
        read_record(record, ATLAS_RECORD)
    atlas = Atlas.load(path)
    try:
        atlas.check(get_problem(config.grid).synth)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; remove it, and it is built again") from error
    return atlas


def store_atlas(
    path: Path,
    config: AtlasConfig,
    workers: int = 1,
    progress: Progress = None,
    executor: Executor | None = None,
    again: bool = True,
) -> None:
    """Compute an atlas and write it, its provenance beside it. Killed at any moment, it goes on where it was.

    Args:
        path: where to.
        config: which.
        workers: processes, of one thread each; with one, this process.
        progress: called with a stage's name, how many of its sounds are done, and how many there are.
        executor: where to run the tasks instead, as of :func:`pnpkit.experiment.machine.dask_executor`.
        again: whether it is also made where one lies already, of another process that was quicker.
    """
    began, problem = time.monotonic(), matching_problem(config.grid)
    theta = atlas_sounds(config.grid, config.every)
    own: Any = nullcontext(executor) if executor is not None or workers == 1 else processes(workers)
    parts, stages = path.parent / f".{path.stem}-{config_hash(config)}.partial", numbers()
    with locked(path.parent), own as pool:
        if path.is_file() and not again:
            return
        parts.mkdir(exist_ok=True)

        def mapped(task: Callable[..., Any], chunks: Iterable[Tensor]) -> Iterator[Any]:
            stage, of = next(stages), dict(enumerate(chunks))
            kept = {k: part for k in of if (part := _part(parts / f"{stage}-{k}.npz"))}
            done = sum(len(of[k]) for k in kept)
            count = counted(staged(f"atlas of {problem.grid.synth}", progress), sum(map(len, of.values())), done)
            work = partial(on_one_thread, tuple(FOLDERS), task)
            made = iter((pool.map if pool else map)(work, [chunk for k, chunk in of.items() if k not in kept]))
            for k, chunk in of.items():
                if k not in kept:
                    kept[k] = next(made)
                    write_arrays(parts / f"{stage}-{k}.npz", PART, {str(i): v for i, v in enumerate(kept[k])})
                    count(len(chunk))
                yield kept[k]

        atlas = Atlas.build(
            problem.synth, problem.phi, theta, components=config.components, subset=2600, chunk=CHUNK, mapped=mapped
        )
        atlas.save(path)
        record = provenance(config, time.monotonic() - began) | {"sounds": len(atlas.theta)}
        record |= {"rms_left": float(atlas.left.float().mean().sqrt())}
        write_record(path.with_suffix(".json"), record, [path.name])
        shutil.rmtree(parts)


def _part(path: Path) -> tuple[Tensor, ...] | None:
    """What one task gave, if it was kept whole."""
    try:
        return tuple(array for _, array in sorted(read_arrays(path, PART).items()))
    except (FileNotFoundError, ValueError):
        return None
