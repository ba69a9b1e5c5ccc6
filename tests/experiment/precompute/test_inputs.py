"""The scalogram: its laws, librosa as referee, and an array on disk that survives being killed or damaged."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from pnpkit.analyser.scalogram import Scalogram
from pnpkit.experiment.artefacts import ArtefactMismatch, config_hash
from pnpkit.experiment.config import ScalogramConfig
from pnpkit.experiment.dataset import arpeggio_grid
from pnpkit.experiment.precompute.inputs import BLOCK, compute_inputs, inputs_key, open_inputs
from pnpkit.synth import Arpeggio

CONFIG = ScalogramConfig()
TABLE = arpeggio_grid(6).head(2)


@pytest.fixture(scope="module")
def scalogram() -> Scalogram:
    return Scalogram(8192)


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    return Arpeggio()(torch.tensor([[740.0, 8.7, 1.7], [520.0, 4.1, 0.52], [1000.0, 15.0, 3.9]]))


def test_geometry(scalogram: Scalogram) -> None:
    frequencies = scalogram.frequencies
    assert len(frequencies) == 72
    np.testing.assert_allclose(frequencies[12:] / frequencies[:-12], 2)
    assert frequencies[0] == 32.7
    assert scalogram(torch.zeros(2, 1, 32768)).shape == (2, 1, 72, 129)
    assert scalogram(torch.zeros(32768)).abs().max() == 0  # silence stays silence


def test_a_sine_of_amplitude_one_has_half_the_root_of_the_atom_length(scalogram: Scalogram) -> None:
    f = scalogram.frequencies[48]
    S = scalogram(torch.sin(2 * math.pi * f * torch.arange(32768) / 8192))
    length = math.ceil(8192 / f / (2 ** (1 / 12) - 1))
    peak = math.log1p(math.sqrt(length) / 2 / CONFIG.eps)
    assert S[:, 64].argmax() == 48
    assert S[48, 64].item() == pytest.approx(peak, abs=1e-3)


def test_batch_equals_loop(scalogram: Scalogram, sounds: torch.Tensor) -> None:
    torch.testing.assert_close(scalogram(sounds), torch.stack([scalogram(x) for x in sounds]), atol=2e-4, rtol=0)


def test_agrees_with_librosas_atoms(scalogram: Scalogram, sounds: torch.Tensor) -> None:
    """librosa's wavelets at our Q, applied directly: window lengths are not whole numbers there, hence not equal."""
    ours = torch.expm1(scalogram(sounds)) * CONFIG.eps
    relative_width = 2 ** (1 / 12) - 1
    atoms, lengths = librosa.filters.wavelet(
        freqs=scalogram.frequencies, sr=8192, norm=1, alpha=np.full(72, relative_width), pad_fft=True
    )
    half = atoms.shape[1] // 2
    padded = np.pad(sounds.numpy(), ((0, 0), (half, half)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, atoms.shape[1], axis=-1)[:, ::256]
    theirs = np.abs(np.einsum("bnt,kt->bkn", frames, atoms.conj(), optimize=True)) * np.sqrt(lengths)[:, None]
    assert np.linalg.norm(ours.numpy() - theirs) < 0.006 * np.linalg.norm(theirs)


@pytest.mark.slow
def test_agrees_with_librosas_transform(scalogram: Scalogram, sounds: torch.Tensor) -> None:
    ours = (torch.expm1(scalogram(sounds)) * CONFIG.eps).numpy()
    for scale, tolerance in ((1.0, 0.03), (0.97032, 0.016)):  # librosa's Q of 17.33, then ours of 16.82
        theirs = np.abs(librosa.cqt(sounds.numpy(), sr=8192, hop_length=256, fmin=32.7, n_bins=72, filter_scale=scale))
        assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs)


def test_bad_scalograms() -> None:
    with pytest.raises(ValueError, match="above Nyquist, 4096 Hz"):
        Scalogram(8192, octaves=10)
    with pytest.raises(ValueError, match="over 4096 samples, not 4000"):
        Scalogram(8192)(torch.zeros(4000))


def test_the_key_follows_theta_synthesiser_and_configuration() -> None:
    base = inputs_key(TABLE, Arpeggio(), CONFIG)
    others = [
        inputs_key(TABLE.assign(gamma=TABLE.gamma + 1e-12), Arpeggio(), CONFIG),
        inputs_key(TABLE, Arpeggio(variant="paper"), CONFIG),
        inputs_key(TABLE, Arpeggio(), ScalogramConfig(hop=512)),
    ]
    assert len({config_hash(key) for key in [base, *others]}) == 4
    assert json.loads(json.dumps(base)) == base


def test_stored_equals_computed_and_is_reused(tmp_path: Path, scalogram: Scalogram) -> None:
    seen: list[tuple[int, int]] = []
    stored = compute_inputs(TABLE, Arpeggio(), CONFIG, tmp_path, lambda *step: seen.append(step))
    theta = torch.tensor(TABLE[["f_c", "f_m", "gamma"]].to_numpy())
    torch.testing.assert_close(torch.from_numpy(stored.copy()), scalogram(Arpeggio()(theta)), atol=2e-4, rtol=0)
    assert stored.dtype == np.float32
    assert seen == [(2, 2)]
    compute_inputs(TABLE, Arpeggio(), CONFIG, tmp_path, lambda *step: seen.append(step))
    assert seen == [(2, 2)]  # nothing was computed again
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".npy"]


def test_damage_is_noticed(tmp_path: Path) -> None:
    compute_inputs(TABLE, Arpeggio(), CONFIG, tmp_path)
    path = next(tmp_path.glob("*.npy"))
    with pytest.raises(ArtefactMismatch, match="was made with configuration"):
        open_inputs(path, inputs_key(TABLE, Arpeggio(variant="paper"), CONFIG))
    content = path.read_bytes()
    for damaged in (content[:-1], content[:40], b"", content[:-9] + b"x" + content[-8:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path.name} is truncated or corrupt"):
            compute_inputs(TABLE, Arpeggio(), CONFIG, tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="no provenance beside it"):
        compute_inputs(TABLE, Arpeggio(), CONFIG, tmp_path)


KILLED = f"""
import os, signal
from pathlib import Path
from pnpkit.experiment.dataset import arpeggio_grid
from pnpkit.experiment.precompute.inputs import compute_inputs
from pnpkit.experiment.config import ScalogramConfig
from pnpkit.synth import Arpeggio
table, kill = arpeggio_grid(7), lambda done, items: done == {BLOCK} and os.kill(os.getpid(), signal.SIGKILL)
compute_inputs(table, Arpeggio(), ScalogramConfig(hop=8192, f_min=523.2, octaves=1), Path("."), kill)
"""


def test_killed_goes_on_from_the_last_intact_block(tmp_path: Path) -> None:
    table, config = arpeggio_grid(7), ScalogramConfig(hop=8192, f_min=523.2, octaves=1)  # 343 items, cheap ones
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.npy"))  # nothing looks complete
    damaged = tmp_path / "damaged"
    shutil.copytree(tmp_path, damaged)
    seen: dict[str, list[int]] = {"intact": [], "damaged": [], "fresh": []}
    resumed = compute_inputs(table, Arpeggio(), config, tmp_path, lambda done, _: seen["intact"].append(done))
    with next(damaged.glob("*.partial")).open("r+b") as file:
        file.seek(1000)
        file.write(b"torn")
    repaired = compute_inputs(table, Arpeggio(), config, damaged, lambda done, _: seen["damaged"].append(done))
    fresh = compute_inputs(table, Arpeggio(), config, tmp_path / "fresh", lambda done, _: seen["fresh"].append(done))
    assert seen == {"intact": [343], "damaged": [256, 343], "fresh": [256, 343]}
    assert resumed.tobytes() == repaired.tobytes() == fresh.tobytes()
