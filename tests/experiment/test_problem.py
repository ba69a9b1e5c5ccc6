"""A problem with its gain attached: the same sounds, and derivatives that finite differences confirm."""

import pytest
import torch

from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.systems import SYSTEMS
from pnpkit.synth import Arpeggio

THETA = {
    "arpeggio": torch.tensor([740.0, 8.7, 1.7], dtype=torch.float64),
    "drum": torch.tensor([1900.0, 0.4, 0.02, 0.01, 0.5], dtype=torch.float64),
}


def test_a_gain_that_cannot_be_attached_is_told() -> None:
    class Plain:
        parameters, sample_rate, n_samples = Arpeggio.parameters, 8192, 2**15

        def __call__(self, theta: torch.Tensor) -> torch.Tensor:
            return Arpeggio()(theta)

        def log_gain_gradient(self, theta: torch.Tensor) -> torch.Tensor:
            return Arpeggio().log_gain_gradient(theta)

    problem = Problem(GridConfig("mine:Plain", n_steps=6), Plain())
    assert problem.with_gain("detached") is problem
    with pytest.raises(ValueError, match="mine:Plain leaves its gain out of its derivatives: a match"):
        problem.with_gain("attached")


@pytest.mark.parametrize(("name", "variant"), [(n, v) for n, system in SYSTEMS.items() for v in system.variants])
def test_attached_gain_changes_the_slope_and_not_the_sound(name, variant):
    problem = get_problem(GridConfig(name, variant, 5))
    attached = problem.with_gain("attached")
    assert problem.with_gain("detached") is problem
    theta, step = THETA[name], THETA[name] * 1e-7
    assert torch.equal(attached.synth(theta), problem.synth(theta))
    change = (attached.synth(theta + step) - attached.synth(theta - step)) / 2
    slopes = [torch.func.jvp(p.synth, (theta,), (step,))[1] for p in (attached, problem)]
    torch.testing.assert_close(slopes[0], change, rtol=1e-4, atol=1e-4 * float(change.abs().max()))
    left_out = problem.synth.log_gain_gradient(theta) @ step
    assert left_out != 0
    torch.testing.assert_close(slopes[0] - slopes[1], left_out * problem.synth(theta), rtol=1e-4, atol=1e-15)
