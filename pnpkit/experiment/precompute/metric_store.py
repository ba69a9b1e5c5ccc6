"""The metrics of a data set on disk: xarray over zarr, one chunk a task, provenance inside."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnpkit._extras import extra
from pnpkit._names import require_known
from pnpkit.experiment.artefacts import config_dict, config_hash, require_same_config
from pnpkit.experiment.config import GridConfig
from pnpkit.metric import spectrum
from pnpkit.synth import ParameterSpace

with extra("experiment", "the store of metrics"):
    import xarray as xr
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

GAINS = ("detached", "attached")
ROUNDING = 1e-9  # how negative an eigenvalue may be, relative to the largest


@dataclass(frozen=True)
class MetricConfig:
    """What a store's metrics depend on; its hash is the store's key."""

    grid: GridConfig
    phi: str = "JTFS.reference, log1p(S/1e-3)"
    chunk: int = 100  # items a task and a chunk


def create_store(path: Path, config: MetricConfig, table: pd.DataFrame, space: ParameterSpace) -> None:
    """An empty store: θ and folds filled in, every metric missing. It appears whole or not at all.

    Dimensions ``id``, ``gain`` (whether the gain's gradient is detached or attached), ``parameter``, ``parameter_``.
    Each chunk is one file with a checksum inside, written under another name and moved.

    Raises:
        OSError: if it cannot be written; names the path.
    """
    n, d = len(table), len(space)
    names = list(space.names)
    labels = {"gain": list(GAINS), "parameter": names, "parameter_": names}
    data = xr.Dataset(
        {
            "theta": (("id", "parameter"), table[names].to_numpy(np.float64), {"units": list(space.units)}),
            "fold": (("id",), table["fold"].to_numpy(dtype=object)),
        },
        {"id": table["id"].to_numpy(), **{axis: np.array(v, dtype=object) for axis, v in labels.items()}},
        {"config": config_dict(config), "hash": config_hash(config)},
    )
    partial = path.with_name(f".{path.name}.partial")
    with _written(path):
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed here
        partial.mkdir(parents=True)
        try:
            data.to_zarr(partial, mode="w", consolidated=False)
            zarr.open_group(partial, mode="a").create_array(
                "M",
                shape=(n, len(GAINS), d, d),
                chunks=(min(config.chunk, n), len(GAINS), d, d),
                dtype="float64",
                fill_value=np.nan,
                chunk_key_encoding={"name": "default", "separator": "."},  # one flat folder
                compressors=[ZstdCodec(level=5), Crc32cCodec()],
                dimension_names=["id", "gain", "parameter", "parameter_"],
                attributes={"long_name": "pullback metric", "units": "(unit of Phi)² per product of units of theta"},
            )
            os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_store(path: Path, config: MetricConfig) -> None:
    """Check that a store can be read and was made for this configuration.

    Raises:
        ArtefactMismatch: if it was made for another one; names both hashes.
        ValueError: if this is no store, or its description is damaged.
    """
    with _read(path):
        found = dict(zarr.open_group(path, mode="r").attrs["config"])  # type: ignore[arg-type]
        zarr.open_array(path / "M", mode="r")
    require_same_config(path, found, config)


def make_ready(path: Path) -> None:
    """Check that a store can be written to, and remove the half-written files that killed processes left in it.

    Nobody else may be writing to it.

    Raises:
        OSError: if it cannot be written to; names the path.
    """
    with _written(path):
        (path / "M" / "probe.partial").touch()
        for file in path.rglob("*.partial"):  # zarr writes every file under such a name, then moves it
            file.unlink()


def chunk_slices(config: MetricConfig, n_items: int) -> list[slice]:
    """The items of each chunk."""
    return [slice(i, min(i + config.chunk, n_items)) for i in range(0, n_items, config.chunk)]


def write_chunk(path: Path, items: slice, M: NDArray[np.float64]) -> None:
    """Write the metrics of one whole chunk, (items, gain, d, d).

    Raises:
        OSError: if it cannot be written; names the path.
    """
    with _written(path):
        zarr.open_array(path / "M", mode="r+")[items] = M


def missing_chunks(path: Path, config: MetricConfig) -> list[slice]:
    """The chunks that are absent, truncated, corrupt or not finite: what is left to compute."""
    M = zarr.open_array(path / "M", mode="r")
    return [items for items in chunk_slices(config, M.shape[0]) if not _whole(M, items)]


def _whole(M: zarr.Array[Any], items: slice) -> bool:
    try:
        return bool(np.isfinite(np.asarray(M[items])).all())
    except (ValueError, RuntimeError):  # a truncated file or a wrong checksum
        return False


def add_provenance(path: Path, record: dict[str, Any]) -> None:
    """Note in the store how its last missing chunks came to be."""
    with _written(path):
        zarr.open_group(path, mode="a").attrs["provenance"] = record


def is_finished(path: Path, config: MetricConfig) -> bool:
    """Whether a store lacks nothing: every chunk is whole and its provenance is noted."""
    return "provenance" in zarr.open_group(path, mode="r").attrs and not missing_chunks(path, config)


@dataclass(frozen=True)
class MetricTable:
    """The metrics of a data set, all of them, in the order of the ids.

    Args:
        theta: (n, d), raw units.
        provenance: of the store.
    """

    theta: Tensor
    provenance: dict[str, Any]
    _M: Tensor

    def metric(self, gain: str = "detached") -> Tensor:
        """All metrics, (n, d, d), float64, raw units.

        Raises:
            ValueError: if ``gain`` is neither ``"detached"`` nor ``"attached"``.
        """
        require_known("gain", gain, GAINS)
        return self._M[:, GAINS.index(gain)]


def load_metrics(path: Path, config: MetricConfig, made_by: str = "pnpkit metrics") -> MetricTable:
    """Read a complete store.

    Args:
        path: of the store.
        config: that it must be of.
        made_by: the command that fills it, for the message should it be absent or incomplete.

    Raises:
        FileNotFoundError: if there is none.
        ArtefactMismatch: if it was made for another configuration.
        ValueError: if metrics are missing; names how many.
    """
    if not path.exists():
        raise FileNotFoundError(f"there are no metrics at {path}: compute them with `{made_by}`")
    check_store(path, config)
    missing = missing_chunks(path, config)
    if missing:
        count = sum(s.stop - s.start for s in missing)
        raise ValueError(f"{path} lacks {count} metrics (from id {missing[0].start} on): run `{made_by}` again")
    with _read(path), xr.open_zarr(path, consolidated=False, chunks=None) as data:  # not by Dask: it is a few MB
        record = dict(data.attrs.get("provenance", {}))
        return MetricTable(torch.tensor(data["theta"].values), record, torch.tensor(data["M"].values))


def check_metrics(path: Path, table: MetricTable) -> None:
    """Check that each matrix is a metric: symmetric to the last bit, no eigenvalue below −1e-9 of its largest.

    Raises:
        ValueError: if one is not; names the path, the ids and what they break.
    """
    for gain in GAINS:
        M = table.metric(gain)
        asymmetric = (M.mT != M).flatten(1).any(1)
        if bool(asymmetric.any()):
            raise ValueError(f"{path}: M ({gain}) is not symmetric at id {_some(asymmetric)}")
        eigenvalues = spectrum(M)
        negative = ~(eigenvalues[:, 0] >= -ROUNDING * eigenvalues[:, -1])
        if bool(negative.any()):
            raise ValueError(f"{path}: M ({gain}) has a negative eigenvalue at id {_some(negative)}")


def _some(mask: Tensor) -> str:
    ids = mask.nonzero().flatten().tolist()
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Name the store when it cannot be written: zarr writes to open files, whose errors carry no name."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path} cannot be written ({reason}): what it holds is kept; mend that and run again") from error


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Name the store when its description or coordinates cannot be read."""
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is not a readable store of metrics ({what}): move it away, then run again") from error
