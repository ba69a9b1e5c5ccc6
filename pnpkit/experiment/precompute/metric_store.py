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
from pnpkit.experiment.artefacts import config_dict, config_hash, require_same_config, sync, unwritable
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.integrity import KEY, Damaged, opened, say_once, sealed, sha256_of_file, verify_files
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import check
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


@dataclass(frozen=True)
class StoreRecord:
    """What the attributes of a store record, beside their digests."""

    config: MetricConfig
    hash: str
    provenance: dict[str, Any] | None = None


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
            _write_attributes(partial, dict(data.attrs), _digests(partial))
            os.replace(partial, path)
            sync(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_store(path: Path, config: MetricConfig) -> None:
    """Check that a store can be read and was made for this configuration.

    Raises:
        ArtefactMismatch: if it was made for another one; names both hashes.
        ValueError: if this is no store, or its description is damaged.
    """
    attributes, files = _attributes(path)
    require_same_config(path, attributes["config"], config)
    if files is not None:
        verify_files(path / "zarr.json", files, [name for name in files if not _is_chunk(name)])
    with _read(path):
        zarr.open_array(path / "M", mode="r")


def _attributes(path: Path) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The attributes of a store and the digests of its files, None of an old one; both checked as far as they go."""
    with _read(path):
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    record, files = opened(attributes, path / "zarr.json")
    check(record, StoreRecord, path / "zarr.json")
    return record, files


def _write_attributes(path: Path, record: dict[str, Any], files: dict[str, str] | None) -> None:
    with _written(path):
        zarr.open_group(path, mode="a").attrs.put(record if files is None else sealed(record, files))
        sync(path / "zarr.json")


def _is_chunk(name: str) -> bool:
    return name.startswith("M/c.")


def _chunk_name(items: slice, config: MetricConfig) -> str:
    return f"M/c.{items.start // config.chunk}.0.0.0"


def _digests(path: Path) -> dict[str, str]:
    """Of every file of a store but the one that they are kept in."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.endswith(".partial"))
    names = [file.relative_to(path).as_posix() for file in files]
    return {name: sha256_of_file(path / name) for name in names if name != "zarr.json"}


def seal_store(path: Path, again: bool = False) -> bool:
    """Give a store of before there were digests (or any, ``again``) those of its files as they are; says whether."""
    attributes, files = _attributes(path)
    if files is None or again:
        _write_attributes(path, attributes, _digests(path))
    return files is None or again


def verify_store(path: Path) -> None:
    """Check every file of a store against the store's digests.

    Raises:
        ValueError: if one is not what was written; names it.
    """
    _, files = _attributes(path)
    verify_files(path / "zarr.json", files)


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


def write_chunk(path: Path, items: slice, M: NDArray[np.float64], config: MetricConfig | None = None) -> str:
    """Write the metrics of one whole chunk, (items, gain, d, d), and see it onto the disk.

    Returns:
        Its digest, for :func:`add_digest`, if the configuration is given.

    Raises:
        OSError: if it cannot be written; names the path.
    """
    with _written(path):
        zarr.open_array(path / "M", mode="r+")[items] = M
        if config is None:
            return ""
        file = path / _chunk_name(items, config)
        sync(file)
        return sha256_of_file(file)


def add_digest(path: Path, config: MetricConfig, items: slice, digest: str) -> None:
    """Note the digest of a chunk in its store, which ties it to its place; a store of before there were any is left."""
    record, files = _attributes(path)
    if files is not None and digest:
        _write_attributes(path, record, files | {_chunk_name(items, config): digest})


def missing_chunks(path: Path, config: MetricConfig, strict: bool = False) -> list[slice]:
    """The chunks that are absent, truncated, corrupt, another's, or not finite: what is left to compute.

    With ``strict`` also those that the store does not vouch for: of a process that was killed before it could.
    """
    M = zarr.open_array(path / "M", mode="r")
    record, files = _attributes(path)
    strict = files is not None and (strict or record.get("provenance") is not None)
    return [
        s for s in chunk_slices(config, M.shape[0]) if not _whole(M, s, path, _chunk_name(s, config), files, strict)
    ]


def _whole(M: zarr.Array[Any], items: slice, path: Path, name: str, files: dict[str, str] | None, strict: bool) -> bool:
    try:
        if files is not None and (strict or name in files) and sha256_of_file(path / name) != files.get(name):
            return False
        return bool(np.isfinite(np.asarray(M[items])).all())
    except PermissionError as error:
        raise OSError(f"{path / name} cannot be read ({error.strerror}): mend its permissions") from error
    except (ValueError, RuntimeError, OSError):  # a truncated file, a wrong checksum, none
        return False


def add_provenance(path: Path, record: dict[str, Any]) -> None:
    """Note in the store how its last missing chunks came to be; one of before there were digests gets them."""
    attributes, files = _attributes(path)
    _write_attributes(path, attributes | {"provenance": record}, _digests(path) | (files or {}))


def is_finished(path: Path, config: MetricConfig) -> bool:
    """Whether a store lacks nothing: every chunk is whole and its provenance is noted."""
    return _attributes(path)[0].get("provenance") is not None and not missing_chunks(path, config)


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
    if KEY not in zarr.open_group(path, mode="r").attrs:
        say_once(f"{path} holds no digests (it is older than they are): its files are read unchecked")
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
        raise unwritable(path, error) from error


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Name the store when its description or coordinates cannot be read."""
    try:
        yield
    except Damaged:
        raise
    except PermissionError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): mend its permissions, nothing is lost") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ValueError(
            f"{path} is not a readable store of metrics ({what}): move it away, then run again. {remedy(path)}"
        ) from error
