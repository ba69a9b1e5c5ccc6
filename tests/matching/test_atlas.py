"""An atlas finds what a search through all sounds finds, whatever the level, and only for its own synthesiser."""

import numpy as np
import pytest
import torch
from bell import Bell, drawn, phi

from pnpkit.matching import Atlas

THETA = drawn(60, seed=1)


@pytest.fixture(scope="module")
def atlas():
    return Atlas.build(Bell(), phi, THETA, components=59, subset=60, chunk=16)


def brute(atlas, x):
    sounds = phi(atlas.normalise(Bell()(THETA)))
    return (sounds - phi(atlas.normalise(x))).norm(dim=-1)


def test_nearest_is_that_of_a_search_through_all(atlas):
    for theta in drawn(5, seed=2):
        x = Bell()(theta)
        rows, distances = atlas.nearest(phi(atlas.normalise(x)), 3)
        everything = brute(atlas, x)
        assert rows[0] == everything.argmin()
        assert distances[0] <= everything.min() * 1.01 + 0.05  # components can only hide length


def test_a_sound_of_the_atlas_finds_itself_at_any_level(atlas):
    for row in (0, 30, 59):
        for gain in (1e-3, 1.0, 50.0):
            rows, distances = atlas.nearest(phi(atlas.normalise(gain * Bell()(THETA[row]))))
            assert rows[0] == row
            assert distances[0] < 0.2  # float16


def test_several_sounds_at_once_are_a_loop(atlas):
    values = phi(atlas.normalise(Bell()(drawn(4, seed=3))))
    rows, distances = atlas.nearest(values, 2)
    for i, value in enumerate(values):
        one, length = atlas.nearest(value, 2)
        assert torch.equal(one, rows[i])
        assert torch.allclose(length, distances[i], atol=0.05)


def test_a_descriptor_that_float16_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="in float16, must be finite"):
        Atlas.build(Bell(), lambda x: 1e6 * phi(x), THETA[:5], components=2)


def test_a_known_level_counts(atlas):
    value = phi(atlas.normalise(Bell()(THETA[7])))
    near = atlas.nearest(value, 60, atlas.log_norm[7])
    far = atlas.nearest(value, 60, atlas.log_norm[7] + 3)
    assert near[0][0] == 7
    assert near[1][0] < 0.2
    assert far[1][0] > 1


def test_few_components_leave_what_they_say():
    g = Bell()
    atlas = Atlas.build(g, phi, THETA, components=5, subset=30)
    values = phi(atlas.normalise(g(THETA)))
    shown = atlas.mean + atlas.scores.float() @ atlas.basis.float()
    assert torch.allclose((values - shown).square().sum(-1), atlas.left.float(), rtol=0.02, atol=0.02)


def test_chunks_and_executors_change_nothing():
    def backwards(task, chunks):
        return reversed([task(c) for c in reversed(list(chunks))])

    one = Atlas.build(Bell(), phi, THETA, components=8)
    other = Atlas.build(Bell(), phi, THETA, components=8, chunk=7, mapped=backwards)
    assert torch.allclose(one.mean, other.mean, atol=1e-4)
    assert torch.allclose(one.scores.float().abs(), other.scores.float().abs(), atol=0.05)


def test_saved_and_loaded_it_is_the_same(atlas, tmp_path):
    atlas.save(tmp_path / "atlas.npz")
    again = Atlas.load(tmp_path / "atlas.npz")
    assert again.name == "Bell"
    assert again.reference == atlas.reference
    for name in ("theta", "scores", "left", "log_norm", "mean", "basis", "fingerprint"):
        assert torch.equal(getattr(again, name), getattr(atlas, name))


def test_another_synthesiser_is_refused_by_name(atlas):
    atlas.check(Bell())
    with pytest.raises(ValueError, match="another synthesiser: of a Bell whose sounds are not those of this Bell"):
        atlas.check(Bell(warp=0.1))


def test_bad_input(atlas, tmp_path):
    with pytest.raises(ValueError, match=r"Φ of the sound has 3"):
        atlas.nearest(torch.zeros(3))
    with pytest.raises(ValueError, match="n must be from 1 to 60, not 61"):
        atlas.nearest(atlas.mean, 61)
    with pytest.raises(ValueError, match="silent"):
        atlas.normalise(torch.zeros(4096))
    with pytest.raises(ValueError, match="at least one sound"):
        Atlas.build(Bell(), phi, THETA[:0])
    chance = type("Chance", (Bell,), {"__call__": lambda self, theta: Bell()(theta) + torch.rand(1)})()
    with pytest.raises(ValueError, match="Chance draws random numbers"):
        Atlas.build(chance, phi, THETA[:3])
    (tmp_path / "text").write_text("no atlas")
    np.savez(tmp_path / "else.npz", kind="match", schema=1)
    np.savez(tmp_path / "old.npz", kind="atlas", schema=0)
    for name, message in (
        ("text", "is no atlas of pnpkit, or damaged"),
        ("else.npz", "is no atlas of pnpkit, but"),
        ("old.npz", "version 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Atlas.load(tmp_path / name)


def test_whatever_bit_is_flipped_the_file_is_named_or_whole(atlas, tmp_path):
    path, generator = tmp_path / "atlas.npz", np.random.default_rng(0)
    atlas.save(path)
    content = path.read_bytes()
    for at in generator.integers(len(content), size=200):
        damaged = bytearray(content)
        damaged[at] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        said = ""
        try:
            read = Atlas.load(path)
        except ValueError as error:
            said = str(error)
        arrays = ("theta", "scores", "basis") if not said else ()
        assert "atlas.npz" in said or all(torch.equal(getattr(read, k), getattr(atlas, k)) for k in arrays)


def test_what_cannot_be_written_leaves_nothing(atlas, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        atlas.save(tmp_path / "atlas.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_synthesiser_that_is_silent_somewhere_is_told_where(value):
    class Gated(Bell):
        def __call__(self, theta):
            return super().__call__(theta) * torch.where(theta[..., :1] < 400, value, 1.0)

    theta = torch.tensor([[500.0, 0.1], [350.0, 0.1]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"Gated is silent or not finite at θ = \[350.0, 0.1\]"):
        Atlas.build(Gated(), phi, theta, components=2, subset=2)
