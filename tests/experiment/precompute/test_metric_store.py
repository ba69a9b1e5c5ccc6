"""The store of metrics: what it keeps, and what it notices."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit.experiment.artefacts import ArtefactMismatch, config_hash
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.counting import slices
from pnpkit.experiment.dataset import arpeggio_grid, theta_of
from pnpkit.experiment.precompute.metric_store import (
    MetricConfig,
    add_provenance,
    check_store,
    create_store,
    is_finished,
    load_metrics,
    make_ready,
    missing_chunks,
    write_chunk,
)
from pnpkit.experiment.precompute.metric_table import check_metrics
from pnpkit.jtfs.descriptor import EPS
from pnpkit.synth import Arpeggio

CONFIG = MetricConfig(GridConfig(n_steps=6), chunk=50)
TABLE = arpeggio_grid(6)  # 216 items: four chunks of 50 and one of 16
SLICES = slices(len(TABLE), CONFIG.chunk)
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


def test_the_configuration_says_the_epsilon_that_phi_has():
    """It is text, part of every shipped hash: whoever changes the one must change the other."""
    assert float(CONFIG.phi.removeprefix("JTFS.reference, log1p(S/").removesuffix(")")) == EPS


def test_chunks_cover_every_item_once():
    assert [i for s in SLICES for i in range(s.start, s.stop)] == list(range(216))
    assert [s.stop - s.start for s in SLICES] == [50, 50, 50, 50, 16]


def test_written_is_read_to_the_last_bit(full):
    table = load_metrics(full, CONFIG)
    for k, gain in enumerate(("detached", "attached")):
        np.testing.assert_array_equal(table.metric(gain).numpy(), METRICS[:, k])
    assert torch.equal(table.theta, theta_of(TABLE, Arpeggio.parameters))
    assert table.metric().dtype == torch.float64
    with pytest.raises(ValueError, match="unknown gain 'loud'; valid ones: detached, attached"):
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


def test_creating_where_a_store_is_keeps_it_and_leaves_no_litter(full):
    with pytest.raises(OSError, match=r"metrics.zarr cannot be written \(Directory not empty\): what it holds is kept"):
        create_store(full, CONFIG, TABLE, Arpeggio.parameters)
    assert missing_chunks(full, CONFIG) == []
    assert [p.name for p in full.parent.iterdir()] == [full.name]


def disk_full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "layer", ["pnpkit.experiment.precompute.metric_store.zarr.open_group", "zarr.storage.LocalStore.set"]
)
def test_a_creation_that_fails_names_the_store_and_leaves_nothing(layer, tmp_path, monkeypatch):
    monkeypatch.setattr(layer, disk_full)
    path = tmp_path / "metrics.zarr"
    with pytest.raises(OSError, match=rf"{path} cannot be written \(No space left on device\)"):
        create_store(path, CONFIG, TABLE, Arpeggio.parameters)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_store_and_loses_nothing(full, monkeypatch):
    monkeypatch.setattr("zarr.storage.LocalStore.set", disk_full)
    for write in (lambda: write_chunk(full, SLICES[0], METRICS[SLICES[0]] + 1), lambda: add_provenance(full, {})):
        with pytest.raises(OSError, match=rf"{full} cannot be written \(No space left on device\): .* run again"):
            write()
    np.testing.assert_array_equal(load_metrics(full, CONFIG).metric().numpy(), METRICS[:, 0])


def test_a_read_only_store_is_named_before_any_work(full, monkeypatch):
    (full / "M").chmod(0o555)
    if os.geteuid() == 0:  # whom permissions do not bind

        def touch(self):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

        monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(OSError, match=rf"{full} cannot be written \(Permission denied\)"):
        make_ready(full)
    np.testing.assert_array_equal(load_metrics(full, CONFIG).metric().numpy(), METRICS[:, 0])


def test_what_killed_processes_left_is_swept_away_and_nothing_else(full):
    kept = {p: p.read_bytes() for p in full.rglob("*") if p.is_file()}
    for name in ("M/c.1.0.0.0a1b2.partial", "zarr.9f.partial"):
        (full / name).write_bytes(b"half")
    make_ready(full)
    assert {p: p.read_bytes() for p in full.rglob("*") if p.is_file()} == kept
    partial = full.with_name(f".{full.name}.partial")  # a creation that was killed
    (partial / "M").mkdir(parents=True)
    shutil.rmtree(full)
    create_store(full, CONFIG, TABLE, Arpeggio.parameters)
    assert missing_chunks(full, CONFIG) == SLICES
    assert [p.name for p in full.parent.iterdir()] == [full.name]


@pytest.mark.filterwarnings("ignore:Object at theta is not recognized")  # zarr, of a folder without zarr.json
@pytest.mark.parametrize("file", ["zarr.json", "M/zarr.json", "theta/zarr.json", "theta/c/0/0"])
def test_a_store_whose_description_is_damaged_is_named_with_a_remedy(file, full):
    remedy = rf"{full}.* ([Mm]ove it|Move {full}) away"
    (full / file).write_bytes((full / file).read_bytes()[:40])
    with pytest.raises(ValueError, match=remedy):
        load_metrics(full, CONFIG)
    if file.endswith(".json"):
        for other in ('"text"', "1.5", "[]", "null", "{}"):
            (full / file).write_text(other)
            with pytest.raises(ValueError, match=remedy):
                load_metrics(full, CONFIG)
        (full / file).unlink()
        with pytest.raises(ValueError, match=remedy):
            load_metrics(full, CONFIG)


def test_what_is_no_store_is_named_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path} is not a readable store of metrics .*: move it away"):
        check_store(tmp_path, CONFIG)


def test_a_store_is_finished_once_it_is_whole_and_says_how_it_was_made(full):
    assert not is_finished(full, CONFIG)
    add_provenance(full, {})
    assert is_finished(full, CONFIG)
    chunk_file(full, 3).unlink()
    assert not is_finished(full, CONFIG)


def test_matrices_that_are_no_metrics_are_named(full):
    check_metrics(full, load_metrics(full, CONFIG))
    wrong = METRICS[SLICES[1]].copy()
    wrong[3, 1, 0, 2] = np.nextafter(wrong[3, 1, 0, 2], np.inf)  # one bit
    write_chunk(full, SLICES[1], wrong)
    with pytest.raises(ValueError, match=r"metrics.zarr: M \(attached\) is not symmetric at id 53$"):
        check_metrics(full, load_metrics(full, CONFIG))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for smallest, lawful in ((0.0, True), (-1e-10, True), (-1e-8, False)):
        M = basis @ np.diag([smallest, 0.5, 1.0]) @ basis.T
        wrong[:] = (M + M.T) / 2
        write_chunk(full, SLICES[1], wrong)
        if lawful:
            check_metrics(full, load_metrics(full, CONFIG))
        else:
            with pytest.raises(ValueError, match=r"negative eigenvalue at id 50, 51, 52 and 47 more$"):
                check_metrics(full, load_metrics(full, CONFIG))


def test_provenance_is_kept_beside_the_metrics(full):
    assert load_metrics(full, CONFIG).provenance == {}
    add_provenance(full, {"hash": config_hash(CONFIG), "seconds": 1.5})
    assert load_metrics(full, CONFIG).provenance == {"hash": config_hash(CONFIG), "seconds": 1.5}
    check_store(full, CONFIG)  # its configuration is still there


def test_a_store_that_may_not_be_read_is_not_to_be_moved_away(full, monkeypatch):
    def forbidden(*_args, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pnpkit.experiment.precompute.metric_store.zarr.open_group", forbidden)
    with pytest.raises(OSError, match=rf"{full} cannot be read \(Permission denied\): mend its permissions") as caught:
        load_metrics(full, CONFIG)
    assert "move" not in str(caught.value).lower()
