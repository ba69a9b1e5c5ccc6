from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pnpkit.distances import ddsp_mss_distance
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.precompute import tangents
from pnpkit.experiment.precompute.tangents import TangentConfig, compute_tangents, how_it_sounds, tangents_folder
from pnpkit.experiment.problem import get_problem
from pnpkit.experiment.profiles import PROFILES
from pnpkit.experiment.workspace import Workspace
from pnpkit.losses import WaveformLoss

PROBLEM = get_problem(GridConfig(n_steps=6))
CONFIG = TangentConfig(PROBLEM.grid, PROBLEM.phi_name, every=16, components=10, chunk=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tangents_folder(tmp_path_factory.mktemp("tangents"), CONFIG)
    compute_tangents(path, CONFIG)
    return path


def test_between_train_sounds_distances_and_slopes_are_those_of_phi(folder: Path) -> None:
    listen, attached = compute_tangents(folder, CONFIG), PROBLEM.with_gain("attached")
    theta = listen.theta[[2, 9]].requires_grad_()
    exact = attached.listen(theta)
    assert len(listen.theta) > CONFIG.chunk
    torch.testing.assert_close((listen(theta)[0] - listen(theta)[1]).norm(), (exact[0] - exact[1]).norm().float(),
                               rtol=0.1, atol=0)  # fmt: skip
    slopes = [
        torch.autograd.grad(0.5 * (heard[0] - heard[1].detach()).square().sum(), theta)[0][0]
        for heard in (listen(theta), exact)
    ]
    assert torch.cosine_similarity(*slopes, dim=0) > 0.95
    assert slopes[0][0] != 0
    silence = (listen(theta).norm(dim=1), exact.norm(dim=1).float())
    torch.testing.assert_close(*silence, rtol=0.02, atol=0)


def test_a_chunk_that_is_missing_is_computed_again_to_the_same_bits(folder: Path) -> None:
    before = compute_tangents(folder, CONFIG)
    (folder / "00006.json").unlink()
    counted: list[int] = []
    after = compute_tangents(folder, CONFIG, progress=lambda done, _: counted.append(done))
    assert torch.equal(before.J, after.J)
    assert torch.equal(before.values, after.values)
    assert counted == [CONFIG.chunk, len(after.theta)]


def test_a_damaged_chunk_is_named(folder: Path) -> None:
    path = folder / "00000.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(ValueError, match=r"00000\.npz"):
        compute_tangents(folder, CONFIG)
    path.write_bytes(whole)


def test_ddsp_hears_a_small_error_as_small_in_the_precision_of_a_network() -> None:
    listen, theta = how_it_sounds("mss", PROBLEM, Path()), PROBLEM.space.decode(torch.zeros(1, 3), "logminmax")
    loss, near = WaveformLoss(ddsp_mss_distance, listen), theta * (1 + 2e-7)  # a bit or two of single precision
    assert near.dtype == torch.float32
    assert loss(near, theta) < 0.05 < loss(1.01 * theta, theta)


def test_tangents_follow_the_gain_and_a_run_that_holds_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = PROFILES["of-sounds"]
    held = replace(profile, training=replace(profile.training, gain="detached"))
    monkeypatch.setattr(tangents, "compute_tangents", lambda *_, **__: pytest.fail("no work before the refusal"))
    with pytest.raises(ValueError, match="needs gain='attached'"):
        Workspace(held, tmp_path / "of-sounds", "of-sounds").train("sp-linear", 2)
