import pandas as pd
import pytest
import torch

from pnpkit.experiment.evaluation.gradients import gradient_agreement, read_agreement, write_agreement
from pnpkit.losses import ParameterLoss, SpectralLoss, WeightedParameterLoss


def test_angles_sizes_and_losses_are_those_of_two_quadratic_forms() -> None:
    guess, target = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.zeros(2, 2)
    found = gradient_agreement(ParameterLoss(), WeightedParameterLoss(torch.tensor([4.0, 0.0])), guess, target)
    assert found.cosine.tolist() == pytest.approx([1, 0.5**0.5])
    assert found["size"].tolist() == pytest.approx([4, 4 * 0.5**0.5])
    assert found.loss.tolist() == pytest.approx([4, 2])


def test_a_scaled_descriptor_keeps_the_direction() -> None:
    guess, target = torch.rand(5, 3) + 1, torch.rand(5, 3) + 1
    found = gradient_agreement(SpectralLoss(torch.log), SpectralLoss(lambda th: 3 * torch.log(th)), guess, target)
    assert found.cosine.tolist() == pytest.approx([1] * 5, abs=1e-6)
    assert found.loss.tolist() == pytest.approx([9] * 5, rel=1e-4)


def test_a_table_that_was_changed_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    table = pd.DataFrame({"cosine": [0.5], "size": [1.0], "loss": [1.0]})
    write_agreement(tmp_path, table, {"a": 1}, 0.0)
    assert read_agreement(tmp_path).equals(table)
    (tmp_path / "gradients.csv").write_text("cosine,size,loss\n0.9,1.0,1.0\n")
    with pytest.raises(ValueError, match=r"gradients\.csv"):
        read_agreement(tmp_path)
