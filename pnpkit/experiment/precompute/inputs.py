"""The network's input: a log-compressed constant-Q scalogram, computed once a data set and memory-mapped after that."""

import dataclasses
import hashlib
import math
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch

from pnpkit._files import sync, written
from pnpkit.analyser.scalogram import Scalogram
from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import PROVENANCE, config_dict, read_record, require_same_config, write_record
from pnpkit.experiment.config import ScalogramConfig
from pnpkit.experiment.counting import Count, slices
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.machine import locked, torch_threads
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import Seconds
from pnpkit.synth import Synthesiser

BLOCK = 256  # items between two records of progress: about a second of work and 10 MB


# What the ``.json`` beside finished inputs records, CRC-32 of each block (a gigabyte is read at once), and that beside
# unfinished ones
FINISHED = PROVENANCE | {"checksums": [int]}
UNFINISHED = {"config": dict, "checksums": [int], "seconds": Seconds}


def inputs_key(
    table: pd.DataFrame, synth: Synthesiser, config: ScalogramConfig, fingerprint: str = ""
) -> dict[str, Any]:
    """What the inputs depend on, as plain JSON types: their configuration, the synthesiser, and the θ themselves."""
    theta = np.ascontiguousarray(theta_of(table, synth.parameters).numpy())
    settings: dict[str, Any] = config_dict(synth) if dataclasses.is_dataclass(synth) else {}
    settings = {"fingerprint": fingerprint} if fingerprint else settings
    return {
        "features": config_dict(config),
        "synth": {"class": type(synth).__qualname__, "sample_rate": synth.sample_rate, **settings},
        "items": len(table),
        "theta_sha256": hashlib.sha256(theta.tobytes()).hexdigest(),
    }


def compute_inputs(
    table: pd.DataFrame,
    synth: Synthesiser,
    config: ScalogramConfig,
    folder: Path,
    progress: Count = None,
    fingerprint: str = "",
) -> np.memmap:
    """Scalograms of a whole data set, from disk if they are there and computed otherwise.

    The array is ``features-<hash>.npy``, with its provenance in a ``.json`` of the same name. While unfinished it is
    called ``.partial``; every block done is recorded with its checksum, so that a killed computation continues. One
    thread takes about two minutes for the 27 000 items of the paper, hence no workers. A second process waits for the
    first, then reads.

    Args:
        table: data set, as of :func:`pnpkit.experiment.dataset.arpeggio_grid`; θ in raw units.
        synth: g.
        config: of the scalogram.
        folder: where the artefact lives.
        progress: called with (items done, items in all).
        fingerprint: of a synthesiser from elsewhere, which stands for its code.

    Returns:
        Read-only float32 array of shape (items, bins, frames), in the order of the table, memory-mapped.

    Raises:
        ArtefactMismatch: if the file was made with another configuration; names both hashes.
        ValueError: if the file is truncated or corrupt; names it.

    >>> import tempfile; from pnpkit.experiment.dataset import arpeggio_grid; from pnpkit.synth import Arpeggio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     compute_inputs(arpeggio_grid(6).head(2), Arpeggio(), ScalogramConfig(), Path(folder)).shape
    (2, 72, 129)
    """
    key = inputs_key(table, synth, config, fingerprint)
    path = folder / f"features-{artefacts.config_hash(key)}.npy"
    with locked(folder), torch_threads(1):
        if not path.exists():
            _compute(table, synth, config, key, path, progress)
        if (left := path.with_suffix(".partial.json")).exists():  # the folder may be read-only
            left.unlink()
        return open_inputs(path, key)


def open_inputs(path: Path, key: dict[str, Any]) -> np.memmap:
    """Open a finished array read-only, after checking its configuration, size and checksums (a second for 1 GB).

    Raises:
        ArtefactMismatch: if it was made with another configuration than ``key``.
        ValueError: if the file is truncated or corrupt.
    """
    record = path.with_suffix(".json")
    if not record.exists():
        raise ValueError(f"{path} has no provenance beside it ({record.name}). {remedy(path)}")
    made = read_record(record, FINISHED, only=())
    require_same_config(path, made["config"], key)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        # No checksum covers the header, which must say what is written below
        told = array.dtype.str, array.ndim, array.shape[:1], array.flags.c_contiguous
        sums = (zlib.crc32(array[block].tobytes()) for block in slices(key["items"], BLOCK))
        intact = told == ("<f4", 3, (key["items"],), True) and list(sums) == made["checksums"]
    except (ValueError, EOFError):  # numpy: a file shorter than its header says, or no header
        intact = False
    if not intact:
        raise ValueError(f"{path} is truncated or corrupt. {remedy(path)}")
    return array


def _compute(
    table: pd.DataFrame, synth: Synthesiser, config: ScalogramConfig, key: dict[str, Any], path: Path, progress: Count
) -> None:
    partial, record = path.with_suffix(".partial"), path.with_suffix(".partial.json")
    theta, scalogram = theta_of(table, synth.parameters), Scalogram(synth.sample_rate, **dataclasses.asdict(config))
    with torch.no_grad():
        shape = (len(table), *scalogram(synth(theta[0])).shape)
    with written(path):
        file = partial.open("r+b" if partial.exists() else "w+b")
    with file:
        with written(path):
            done, seconds = _resume(file, record, key, shape)
        for block in slices(len(table), BLOCK)[len(done) :]:
            start = time.perf_counter()
            with torch.no_grad():
                # Synthesis in float64: the phase of a chirp reaches 1e5 rad, where float32 keeps two decimals.
                values = torch.cat([scalogram(synth(part)) for part in theta[block].split(32)]).numpy().tobytes()
            with written(path):
                file.write(values)
                file.flush()
                os.fsync(file.fileno())  # the data must be down before the record that vouches for it
            done.append(zlib.crc32(values))
            seconds += time.perf_counter() - start
            write_record(record, {"config": key, "checksums": done, "seconds": seconds})
            if progress is not None:
                progress(min(block.stop, len(table)), len(table))
    write_record(path.with_suffix(".json"), {**artefacts.provenance(key, seconds), "checksums": done})
    os.replace(partial, path)  # last: the array under its own name is what says "finished"
    sync(path.parent)


def _resume(file: IO[bytes], record: Path, key: dict[str, Any], shape: tuple[int, ...]) -> tuple[list[int], float]:
    """The checksums of the leading blocks that are intact, and the seconds spent on them; the file ends behind them."""
    state: dict[str, Any] = {"checksums": [], "seconds": 0.0}
    with suppress(ValueError, FileNotFoundError):  # a damaged record: begin again
        found = read_record(record, UNFINISHED, only=())
        state = found if found["config"] == key else state
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    done: list[int] = []
    end = file.tell()
    for block, checksum in zip(slices(shape[0], BLOCK), state["checksums"], strict=False):
        values = file.read(4 * (block.stop - block.start) * math.prod(shape[1:]))
        if zlib.crc32(values) != checksum:
            break
        done, end = [*done, checksum], file.tell()
    file.seek(end)
    file.truncate()
    return done, state["seconds"] if done else 0.0
