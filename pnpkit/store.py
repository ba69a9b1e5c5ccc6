"""The metrics of a data set on disk: xarray over zarr, one chunk a task, provenance inside."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import Crc32cCodec, ZstdCodec

from pnpkit.profiles import GridConfig
from pnpkit.provenance import config_dict, config_hash, require_same_config
from pnpkit.synth import ParameterSpace

GAINS = ("detached", "attached")


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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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
    except OSError:
        if not path.exists():  # a second process may have been faster: its store is as good
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_store(path: Path, config: MetricConfig) -> None:
    """Raise :class:`~pnpkit.provenance.ArtefactMismatch` unless the store was made for this configuration."""
    require_same_config(path, dict(zarr.open_group(path, mode="r").attrs["config"]), config)  # type: ignore[arg-type]


def chunk_slices(config: MetricConfig, n_items: int) -> list[slice]:
    """The items of each chunk."""
    return [slice(i, min(i + config.chunk, n_items)) for i in range(0, n_items, config.chunk)]


def write_chunk(path: Path, items: slice, M: NDArray[np.float64]) -> None:
    """Write the metrics of one whole chunk, (items, gain, d, d)."""
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
    zarr.open_group(path, mode="a").attrs["provenance"] = record


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
        if gain not in GAINS:
            raise ValueError(f"gain must be one of {', '.join(GAINS)}, not {gain!r}")
        return self._M[:, GAINS.index(gain)]


def load_metrics(path: Path, config: MetricConfig) -> MetricTable:
    """Read a complete store.

    Raises:
        FileNotFoundError: if there is none.
        ArtefactMismatch: if it was made for another configuration.
        ValueError: if metrics are missing; names how many.
    """
    if not path.exists():
        raise FileNotFoundError(f"there are no metrics at {path}: compute them with `pnpkit metrics`")
    check_store(path, config)
    missing = missing_chunks(path, config)
    if missing:
        count = sum(s.stop - s.start for s in missing)
        raise ValueError(f"{path} lacks {count} metrics (from id {missing[0].start} on): run `pnpkit metrics` again")
    with xr.open_zarr(path, consolidated=False) as data:
        record = dict(data.attrs.get("provenance", {}))
        return MetricTable(torch.tensor(data.theta.values), record, torch.tensor(data.M.values))
