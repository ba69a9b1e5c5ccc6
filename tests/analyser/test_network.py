"""The network: its size, its determinism, its heads, and its weights on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit.analyser.network import Analyser, predict
from pnpkit.experiment.artefacts import write_json
from pnpkit.experiment.training.checkpoint import load_analyser, load_weights, save_weights

FEATURES = torch.rand(3, 72, 129, generator=torch.Generator().manual_seed(0)) * 8


def test_number_of_weights() -> None:
    """EfficientNet-B0 without its classifier has 4 007 548; the classifier, the convolution and the norm are ours."""
    assert Analyser(3).n_weights() == 4_007_548 + (1280 * 3 + 3) + (3 * 9 + 3) + 2 == 4_011_423


def test_weights_follow_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first = Analyser(3, seed=1).state_dict()
    torch.rand(5)
    assert all(torch.equal(value, first[name]) for name, value in Analyser(3, seed=1).state_dict().items())
    assert not torch.equal(first["expand.weight"], Analyser(3, seed=2).state_dict()["expand.weight"])
    torch.random.set_rng_state(before)
    Analyser(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_channels_last_changes_speed_only() -> None:
    analyser = Analyser(3).eval()
    last = analyser(FEATURES)
    assert analyser.expand.weight.is_contiguous(memory_format=torch.channels_last)
    x = FEATURES.unsqueeze(1)
    assert analyser(FEATURES[:0]).shape == (0, 3)
    plain = Analyser(3).eval().to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(plain.head(plain.network(plain.expand(plain.normalise(x)))), last, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("head", "target"),
    [("leaky_relu", [740.0, 8.7, -1.7]), ("tanh", [0.1, -0.2, 0.9]), ("softplus", [740.0, 8.7, 0.02])],
)
def test_bias_at_mean_starts_there(head: str, target: list[float]) -> None:
    analyser = Analyser(3, head, mean_target=torch.tensor(target)).eval()
    with torch.no_grad():
        analyser.network.get_parameter("classifier.weight").zero_()
        torch.testing.assert_close(analyser(FEATURES), torch.tensor([target] * 3), rtol=1e-5, atol=1e-5)


def test_every_head_is_its_unit_on_one_network() -> None:
    outputs = [Analyser(3, head).eval()(FEATURES) for head in ("linear", "leaky_relu", "tanh", "softplus")]
    assert torch.equal(outputs[1], torch.nn.functional.leaky_relu(outputs[0], 0.01))
    assert torch.equal(outputs[2], torch.tanh(outputs[0]))
    torch.testing.assert_close(outputs[3], outputs[0].exp().log1p())


def test_bad_networks() -> None:
    with pytest.raises(ValueError, match="unknown head 'relu'; valid ones: leaky_relu, softplus, tanh, linear"):
        Analyser(3, "relu")
    with pytest.raises(ValueError, match=r"reaches \(−1, 1\) only"):
        Analyser(1, "tanh", mean_target=torch.tensor([1.0]))


def test_batch_equals_loop() -> None:
    analyser = Analyser(3, "linear").eval()
    many = analyser(FEATURES)
    torch.testing.assert_close(torch.stack([analyser(x) for x in FEATURES]), many, atol=1e-5, rtol=1e-4)
    assert analyser(FEATURES[:, None, None]).shape == (3, 1, 1, 3)


def test_saved_weights_predict_the_same(tmp_path: Path) -> None:
    analyser = Analyser(3, "tanh", seed=5)
    analyser(FEATURES)  # moves the running statistics
    save_weights(tmp_path / "weights.safetensors", analyser.state_dict())
    write_json(tmp_path / "config.json", {"head": "tanh"})
    loaded = load_analyser(tmp_path)
    rows = np.array([2, 0])
    assert torch.equal(predict(loaded, FEATURES.numpy(), rows), predict(analyser, FEATURES.numpy(), rows))
    assert analyser.training  # predict left it as it was
    torch.testing.assert_close(predict(loaded, FEATURES.numpy(), rows), loaded(FEATURES[[2, 0]]).detach())


def test_weights_of_one_memory_are_written_each(tmp_path: Path) -> None:
    tied = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    tied[1].weight = tied[0].weight
    save_weights(tmp_path / "weights.safetensors", tied.state_dict())
    assert torch.equal(load_weights(tmp_path / "weights.safetensors")["1.weight"], tied[0].weight)


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, {"w": torch.arange(5.0)})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a complete safetensors file"):
        load_weights(path)
