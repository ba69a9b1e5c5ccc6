"""The network's input: a log-compressed constant-Q scalogram, computed once a data set and memory-mapped after that."""

import dataclasses
import errno
import hashlib
import itertools
import os
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pnpkit.analyser.scalogram import Scalogram
from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import PROVENANCE, config_dict, read_record, require_same_config, write_record
from pnpkit.experiment.config import ScalogramConfig
from pnpkit.experiment.counting import Count, slices
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.files import sync, written
from pnpkit.experiment.machine import locked, torch_threads
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import Seconds
from pnpkit.synth import Synthesiser

BLOCK = 256  # items between two records of progress: about a second of work and 10 MB


# What the ``.json`` beside finished inputs records, CRC-32 of each block (a gigabyte is read at once), and that beside
# unfinished ones
FINISHED = PROVENANCE | {"checksums?": [int]}
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


def open_inputs(path: Path, key: dict[str, Any] | None = None) -> np.memmap:
    """Open a finished array read-only, after checking its configuration, size and checksums (a second for 1 GB).

    Raises:
        ArtefactMismatch: if it was made with another configuration than ``key`` (where given).
        ValueError: if the file is truncated or corrupt.
    """
    record = path.with_suffix(".json")
    if not record.exists():
        raise ValueError(f"{path} has no provenance beside it ({record.name}). {remedy(path)}")
    made = read_record(record, FINISHED, only=())
    if key is not None:
        require_same_config(path, made["config"], key)
    try:
        array = _opened(path, "r", made["config"].get("items"))
        intact = [_checksum(array[block]) for block in slices(len(array), BLOCK)] == made["checksums"]
    except (ValueError, EOFError):  # numpy: a file shorter than its header says, or no header
        intact = False
    if not intact:
        raise ValueError(f"{path} is truncated or corrupt. {remedy(path)}")
    return array


def _opened(path: Path, mode: Any, items: Any) -> np.memmap:
    """Map an array; its header must say what :func:`_compute` writes, as no checksum covers it."""
    array = np.lib.format.open_memmap(path, mode=mode)
    if array.dtype.str != "<f4" or array.ndim != 3 or len(array) != items or not array.flags.c_contiguous:
        raise ValueError(f"{path} holds {array.dtype.str} of shape {array.shape}")
    return array


def _compute(
    table: pd.DataFrame, synth: Synthesiser, config: ScalogramConfig, key: dict[str, Any], path: Path, progress: Count
) -> None:
    partial, record = path.with_suffix(".partial"), path.with_suffix(".partial.json")
    theta, scalogram = theta_of(table, synth.parameters), Scalogram(synth.sample_rate, **dataclasses.asdict(config))
    with torch.no_grad():
        shape = (len(table), *scalogram(synth(theta[0])).shape)
    with written(path):
        array, done, seconds = _resume(partial, record, key, shape)
    for block in slices(len(table), BLOCK)[len(done) :]:
        start = time.perf_counter()
        with torch.no_grad():
            # Synthesis in float64: the phase of a chirp reaches 1e5 rad, where float32 keeps two decimals.
            array[block] = torch.cat([scalogram(synth(part)) for part in theta[block].split(32)]).numpy()
        array.flush()  # the data must be down before the record that vouches for it
        done.append(_checksum(array[block]))
        seconds += time.perf_counter() - start
        write_record(record, {"config": key, "checksums": done, "seconds": seconds})
        if progress is not None:
            progress(min(block.stop, len(table)), len(table))
    del array
    write_record(path.with_suffix(".json"), {**artefacts.provenance(key, seconds), "checksums": done})
    os.replace(partial, path)  # last: the array under its own name is what says "finished"
    sync(path.parent)


def _resume(
    partial: Path, record: Path, key: dict[str, Any], shape: tuple[int, ...]
) -> tuple[np.memmap, list[int], float]:
    """The array to fill, the checksums of its leading blocks that are intact, and the seconds spent on them."""
    if partial.exists() and record.exists():
        try:
            array, state = _opened(partial, "r+", key["items"]), read_record(record, UNFINISHED, only=())
            if array.shape == shape and state["config"] == key:
                kept = zip(slices(len(array), BLOCK), state["checksums"], strict=False)
                done = [checksum for _, checksum in itertools.takewhile(lambda b: _checksum(array[b[0]]) == b[1], kept)]
                return array, done, state["seconds"]
        except (ValueError, EOFError):  # either file is damaged: begin again
            pass
    record.unlink(missing_ok=True)
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
    try:
        with partial.open("r+b") as file:  # a full disk says so here; a page that finds no place later is a SIGBUS
            try:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
            except AttributeError:  # macOS has none
                file.seek(array.offset)
                file.writelines(bytes(array[block].nbytes) for block in slices(len(array), BLOCK))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not every file system can promise
            partial.unlink()
            raise
    return array, [], 0.0


def _checksum(block: np.ndarray) -> int:
    return zlib.crc32(block.tobytes())
