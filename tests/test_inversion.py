"""Descent from a first guess: exact for a linear model, monotone when damped, and honest about its range."""

import pytest
import torch

from pnpkit.inversion import levenberg_marquardt
from pnpkit.synth import Parameter, ParameterSpace

SPACE = ParameterSpace((Parameter("a", "a", "1", -2.0, 2.0), Parameter("b", "b", "1", 1.0, 100.0, "log")))
A = torch.tensor([[1.0, 0.3], [0.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
TRUTH = torch.tensor([0.5, 20.0], dtype=torch.float64)
START = torch.tensor([-1.0, 3.0], dtype=torch.float64)


def linear(theta):
    return SPACE.encode(theta, "logminmax") @ A.mT


def curved(theta):
    u = SPACE.encode(theta, "logminmax")
    return torch.stack([u[..., 0] ** 3 + u[..., 1], torch.sin(3 * u[..., 1]), u[..., 0]], -1)


def test_without_damping_a_linear_model_takes_one_step():
    path = levenberg_marquardt(linear, lambda x: x, linear(TRUTH), START, SPACE, lam=0.0, steps=2)
    assert path.distance[1] < 1e-12
    assert path.loc[1, ["a", "b"]].tolist() == pytest.approx(TRUTH.tolist())
    assert path.loc[0, ["a", "b"]].tolist() == START.tolist()


def test_the_answer_stays_within_the_ranges():
    target = A @ torch.tensor([1.5, 2.0], dtype=torch.float64)  # of coordinates outside [−1, 1]
    path = levenberg_marquardt(linear, lambda x: x, target, START, SPACE, lam=0.0, steps=3)
    assert path.iloc[-1][["a", "b"]].tolist() == pytest.approx([2.0, 100.0])


def test_undamped_every_step_is_kept_even_one_that_leads_away():
    bend = lambda theta: torch.atan(4 * SPACE.encode(theta, "logminmax"))  # noqa: E731  # every step goes too far
    start = SPACE.decode(torch.tensor([0.9, 0.9], dtype=torch.float64), "logminmax")
    path = levenberg_marquardt(bend, lambda x: x, torch.zeros(2, dtype=torch.float64), start, SPACE, lam=0.0, steps=6)
    assert path.kept.all()
    assert not path.distance.is_monotonic_decreasing


def test_damped_steps_only_come_closer_and_the_damping_follows_them():
    path = levenberg_marquardt(curved, lambda x: x, curved(TRUTH), START, SPACE, lam=1e-3, steps=25)
    assert not path.kept.all()
    assert path.distance[path.kept].is_monotonic_decreasing
    assert path.distance[path.kept].iloc[-1] < 1e-8
    tried = path.iloc[1:]
    for now, then in zip(tried.itertuples(), tried.iloc[1:].itertuples(), strict=False):
        assert then.lam == pytest.approx(now.lam / 10 if now.kept else now.lam * 10)


def test_a_singular_metric_is_no_obstacle():
    flat = lambda theta: SPACE.encode(theta, "logminmax")[..., :1].expand(*theta.shape[:-1], 3)  # noqa: E731
    path = levenberg_marquardt(flat, lambda x: x, flat(TRUTH), START, SPACE, lam=0.0, steps=2)
    assert path.distance.iloc[-1] < 1e-12
    assert path.b.iloc[-1] == pytest.approx(3.0)  # nothing speaks for moving it


def test_bad_input():
    with pytest.raises(ValueError, match="not negative, not -1"):
        levenberg_marquardt(linear, lambda x: x, linear(TRUTH), START, SPACE, lam=-1.0)
    with pytest.raises(ValueError, match=r"target has shape \(2,\), Φ of a sound \(3,\)"):
        levenberg_marquardt(linear, lambda x: x, linear(TRUTH)[:2], START, SPACE)
    with pytest.raises(ValueError, match=r"start \[5.0, 3.0\] lies outside"):
        levenberg_marquardt(linear, lambda x: x, linear(TRUTH), torch.tensor([5.0, 3.0]), SPACE)
