"""The store of metrics: what it keeps, and what it notices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit.dataset import arpeggio_grid, theta_of
from pnpkit.profiles import GridConfig
from pnpkit.provenance import ArtefactMismatch, config_hash
from pnpkit.store import (
    MetricConfig,
    add_provenance,
    check_store,
    chunk_slices,
    create_store,
    load_metrics,
    missing_chunks,
    write_chunk,
)
from pnpkit.synth import Arpeggio

CONFIG = MetricConfig(GridConfig(n_steps=6), chunk=50)
TABLE = arpeggio_grid(6)  # 216 items: four chunks of 50 and one of 16
SLICES = chunk_slices(CONFIG, len(TABLE))
J = np.random.default_rng(0).normal(size=(len(TABLE), 2, 9, 3))
METRICS = J.swapaxes(-1, -2) @ J


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "metrics.zarr"
    create_store(path, CONFIG, TABLE, Arpeggio.parameters)
    return path


@pytest.fixture
def full(empty: Path) -> Path:
    for items in SLICES:
        write_chunk(empty, items, METRICS[items])
    return empty


def chunk_file(path: Path, n: int) -> Path:
    return path / "M" / f"c.{n}.0.0.0"


def test_chunks_cover_every_item_once():
    assert [i for s in SLICES for i in range(s.start, s.stop)] == list(range(216))
    assert [s.stop - s.start for s in SLICES] == [50, 50, 50, 50, 16]


def test_written_is_read_to_the_last_bit(full):
    table = load_metrics(full, CONFIG)
    for k, gain in enumerate(("detached", "attached")):
        np.testing.assert_array_equal(table.metric(gain).numpy(), METRICS[:, k])
    assert torch.equal(table.theta, theta_of(TABLE, Arpeggio.parameters))
    assert table.metric().dtype == torch.float64
    with pytest.raises(ValueError, match="gain must be one of detached, attached, not 'loud'"):
        table.metric("loud")


def test_an_empty_store_misses_everything_and_is_refused(empty):
    assert missing_chunks(empty, CONFIG) == SLICES
    with pytest.raises(ValueError, match=r"lacks 216 metrics \(from id 0 on\): run `pnpkit metrics` again"):
        load_metrics(empty, CONFIG)


def test_an_incomplete_store_says_how_much_is_missing(full):
    chunk_file(full, 1).unlink()
    chunk_file(full, 4).unlink()
    assert missing_chunks(full, CONFIG) == [SLICES[1], SLICES[4]]
    with pytest.raises(ValueError, match=r"lacks 66 metrics \(from id 50 on\)"):
        load_metrics(full, CONFIG)


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_a_truncated_chunk_counts_as_missing(full, kept):
    content = chunk_file(full, 2).read_bytes()
    size = int(kept * len(content)) if isinstance(kept, float) else kept
    chunk_file(full, 2).write_bytes(content[:size])
    assert missing_chunks(full, CONFIG) == [SLICES[2]]


@pytest.mark.parametrize("place", [0.0, 0.02, 0.3, 0.7, 0.999])
def test_a_flipped_bit_counts_as_missing_until_it_is_written_again(full, place):
    content = bytearray(chunk_file(full, 3).read_bytes())
    content[int(place * len(content))] ^= 4
    chunk_file(full, 3).write_bytes(bytes(content))
    assert missing_chunks(full, CONFIG) == [SLICES[3]]
    write_chunk(full, SLICES[3], METRICS[SLICES[3]])
    np.testing.assert_array_equal(load_metrics(full, CONFIG).metric("attached").numpy(), METRICS[:, 1])


def test_a_metric_that_is_not_finite_counts_as_missing(full):
    damaged = METRICS[SLICES[0]].copy()
    damaged[7, 1, 0, 0] = np.inf
    write_chunk(full, SLICES[0], damaged)
    assert missing_chunks(full, CONFIG) == [SLICES[0]]


@pytest.mark.parametrize(
    "other", [replace(CONFIG, grid=GridConfig(n_steps=7)), replace(CONFIG, phi="x"), replace(CONFIG, chunk=51)]
)
def test_another_configuration_is_refused_with_both_hashes(full, other):
    for call in (check_store, load_metrics):
        with pytest.raises(ArtefactMismatch) as error:
            call(full, other)
        assert config_hash(CONFIG) in str(error.value)
        assert config_hash(other) in str(error.value)


def test_no_store_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.zarr: compute them with `pnpkit metrics`"):
        load_metrics(tmp_path / "nothing.zarr", CONFIG)


def test_creating_again_keeps_what_is_there_and_leaves_no_litter(full):
    create_store(full, CONFIG, TABLE, Arpeggio.parameters)  # as a second, slower process would
    assert missing_chunks(full, CONFIG) == []
    assert [p.name for p in full.parent.iterdir()] == [full.name]


def test_a_failed_creation_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("no space left on device")

    monkeypatch.setattr("pnpkit.store.zarr.open_group", fail)
    with pytest.raises(OSError, match="no space left"):
        create_store(tmp_path / "metrics.zarr", CONFIG, TABLE, Arpeggio.parameters)
    assert list(tmp_path.iterdir()) == []


def test_provenance_is_kept_beside_the_metrics(full):
    assert load_metrics(full, CONFIG).provenance == {}
    add_provenance(full, {"hash": config_hash(CONFIG), "seconds": 1.5})
    assert load_metrics(full, CONFIG).provenance == {"hash": config_hash(CONFIG), "seconds": 1.5}
    check_store(full, CONFIG)  # its configuration is still there
