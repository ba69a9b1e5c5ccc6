"""The metrics of a data set on disk: xarray over zarr, one chunk a task, provenance inside."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pnpkit._extras import extra
from pnpkit._files import filled, sync, written
from pnpkit.experiment.artefacts import config_dict, config_hash, require_same_config
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import slices
from pnpkit.experiment.integrity import Damaged, opened, sealed, sha256_of_file, verify_files
from pnpkit.experiment.precompute.metric_table import GAINS, MetricTable
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import check
from pnpkit.synth import ParameterSpace

with extra("experiment", "the store of metrics"):
    import xarray as xr
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec


@dataclass(frozen=True)
class MetricConfig:
    """What a store's metrics depend on; its hash is the store's key."""

    grid: GridConfig
    phi: str = "JTFS.reference, log1p(S/1e-3)"
    chunk: int = 100  # items a task and a chunk


# What the attributes of a store record, beside their digests
ATTRIBUTES = {"config": MetricConfig, "hash": str, "provenance?": dict | None}


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
    with filled(path) as partial:
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
        _write_attributes(partial, dict(data.attrs), _digests(partial))


def check_store(path: Path, config: MetricConfig) -> None:
    """Check that a store can be read, is whole but for its chunks, and was made for this configuration."""
    attributes, files = _attributes(path)
    require_same_config(path, attributes["config"], config)
    verify_files(path / "zarr.json", files, [name for name in files or () if not name.startswith("M/c.")])
    with _read(path):
        zarr.open_array(path / "M", mode="r")


def _attributes(path: Path) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The attributes of a store and the digests of its files, None of an old one; both checked as far as they go."""
    with _read(path):
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    record, files = opened(attributes, path / "zarr.json")
    check(record, ATTRIBUTES, path / "zarr.json")
    return record, files


def _write_attributes(path: Path, record: dict[str, Any], files: dict[str, str] | None) -> None:
    with written(path):
        zarr.open_group(path, mode="a").attrs.put(record if files is None else sealed(record, files))
        sync(path / "zarr.json")


def _chunk_name(items: slice, chunk: int) -> str:
    return f"M/c.{items.start // chunk}.0.0.0"


def _digests(path: Path) -> dict[str, str]:
    """Of every file of a store but the one that they are kept in."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix != ".partial"]
    return {file.relative_to(path).as_posix(): sha256_of_file(file) for file in files if file != path / "zarr.json"}


def seal_store(path: Path, again: bool = False) -> bool:
    """Give a store of before there were digests (or any, ``again``) those of its files as they are; says whether."""
    attributes, files = _attributes(path)
    if files is None or again:
        _write_attributes(path, attributes, _digests(path))
    return files is None or again


def verify_store(path: Path) -> None:
    """Check every file of a store against the store's digests; names one that is not what was written."""
    verify_files(path / "zarr.json", _attributes(path)[1])


def make_ready(path: Path) -> None:
    """Check that a store can be written to, and sweep what killed processes left in it; nobody else may be writing."""
    with written(path):
        (path / "M" / "probe.partial").touch()
        for file in path.rglob("*.partial"):  # zarr writes every file under such a name, then moves it
            file.unlink()


def write_chunk(path: Path, items: slice, M: NDArray[np.float64]) -> dict[str, str]:
    """Write the metrics of one whole chunk, (items, gain, d, d), and see it onto the disk.

    Returns:
        Its name and its digest, for :func:`add_digests`.

    Raises:
        OSError: if it cannot be written; names the path.
    """
    with written(path):
        array = zarr.open_array(path / "M", mode="r+")
        array[items] = M
        name = _chunk_name(items, array.chunks[0])
        sync(path / name)
        return {name: sha256_of_file(path / name)}


def add_digests(path: Path, digests: dict[str, str]) -> None:
    """Note digests of chunks in their store, which tie them to their places; a store of before there were any stays."""
    record, files = _attributes(path)
    if files is not None:
        _write_attributes(path, record, files | digests)


def missing_chunks(path: Path, config: MetricConfig, strict: bool = False) -> list[slice]:
    """The chunks that are absent, truncated, corrupt, another's, or not finite: what is left to compute.

    With ``strict`` also those that the store does not vouch for: of a process that was killed before it could.
    """
    M = zarr.open_array(path / "M", mode="r")
    record, files = _attributes(path)
    strict = files is not None and (strict or record.get("provenance") is not None)

    def whole(items: slice) -> bool:
        name = _chunk_name(items, config.chunk)
        try:
            if files is not None and (strict or name in files) and sha256_of_file(path / name) != files.get(name):
                return False
            return bool(np.isfinite(np.asarray(M[items])).all())
        except PermissionError as error:
            raise OSError(f"{path / name} cannot be read ({error.strerror}): mend its permissions") from error
        except (ValueError, RuntimeError, OSError):  # a truncated file, a wrong checksum, none
            return False

    return [items for items in slices(M.shape[0], config.chunk) if not whole(items)]


def add_provenance(path: Path, record: dict[str, Any]) -> None:
    """Note in the store how its last missing chunks came to be; one of before there were digests gets them."""
    attributes, files = _attributes(path)
    _write_attributes(path, attributes | {"provenance": record}, _digests(path) | (files or {}))


def is_finished(path: Path, config: MetricConfig) -> bool:
    """Whether a store lacks nothing: every chunk is whole and its provenance is noted."""
    return _attributes(path)[0].get("provenance") is not None and not missing_chunks(path, config)


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
    if missing := missing_chunks(path, config):
        count = sum(s.stop - s.start for s in missing)
        raise ValueError(f"{path} lacks {count} metrics (from id {missing[0].start} on): run `{made_by}` again")
    with _read(path), xr.open_zarr(path, consolidated=False, chunks=None) as data:  # not by Dask: it is a few MB
        record = dict(data.attrs.get("provenance", {}))
        return MetricTable(torch.tensor(data["theta"].values), record, torch.tensor(data["M"].values))


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Name the store when its description or coordinates cannot be read."""
    try:
        yield
    except Damaged:
        raise
    except PermissionError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): mend its permissions, nothing is lost") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ValueError(
            f"{path} is not a readable store of metrics ({what}): move it away, then run again. {remedy(path)}"
        ) from error
