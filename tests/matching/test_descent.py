"""Descent from first guesses: exact for a linear model, monotone when damped, honest about its range, batch or not."""

import pytest
import torch
from bell import Bell, drawn, phi

from pnpkit.matching import descent, refine
from pnpkit.synth import Parameter, ParameterSpace

SPACE = ParameterSpace((Parameter("a", "a", "1", -2.0, 2.0), Parameter("b", "b", "1", 0.2, 100.0, "log")))
A = torch.tensor([[1.0, 0.3], [0.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
TRUTH = torch.tensor([0.5, 20.0], dtype=torch.float64)
START = torch.tensor([-1.0, 3.0], dtype=torch.float64)
NEVER = {"tolerance": 0.0, "cosine": 0.0}


def same(x):
    return x


def linear(theta):
    return SPACE.encode(theta, "logminmax") @ A.mT


def curved(theta):
    u = SPACE.encode(theta, "logminmax")
    return torch.stack([u[..., 0] ** 3 + u[..., 1], torch.sin(3 * u[..., 1]), u[..., 0]], -1)


def test_without_damping_a_linear_model_takes_one_step():
    end = refine(linear, same, linear(TRUTH), START, space=SPACE, lam=0.0, tolerance=1e-9)
    assert end.jacobians == 2
    assert end.converged
    assert end.distance < 1e-12
    assert end.theta.tolist() == pytest.approx(TRUTH.tolist())
    assert end.path[0].tolist() == pytest.approx(START.tolist())


def test_the_answer_stays_within_the_ranges_and_is_a_start():
    target = A @ torch.tensor([1.5, -2.0], dtype=torch.float64)  # of coordinates outside [−1, 1]
    end = refine(linear, same, target, START, space=SPACE)
    assert end.theta.tolist() == pytest.approx([2.0, 0.2])
    assert end.converged  # at a corner, with a slope that leads out of it
    again = refine(linear, same, target, end.theta, space=SPACE)
    assert again.jacobians == 1
    assert again.theta.tolist() == pytest.approx([2.0, 0.2])
    above = torch.tensor([2.0, 0.20000000000000004]).double() * (1 - 1e-16)
    assert refine(linear, same, target, above, space=SPACE).converged
    assert refine(linear, same, target, torch.tensor([2.0, 0.2]), space=SPACE).converged  # float32 says 0.2 otherwise


def test_a_parameter_at_a_bound_does_not_hold_up_the_others():
    target = A @ torch.tensor([1.5, 0.25], dtype=torch.float64)
    end = refine(linear, same, target, START, space=SPACE, tolerance=1e-9, cosine=0.0)
    u = SPACE.encode(end.theta, "logminmax")
    best = (A[:, 1] @ (target - A[:, 0])) / (A[:, 1] @ A[:, 1])  # least squares with the first at its bound
    assert u.tolist() == pytest.approx([1.0, float(best)], abs=1e-6)


def test_undamped_every_step_is_kept_even_one_that_leads_away():
    bend = lambda theta: torch.atan(4 * SPACE.encode(theta, "logminmax"))  # noqa: E731  # every step goes too far
    start = SPACE.decode(torch.tensor([0.9, 0.9], dtype=torch.float64), "logminmax")
    path = refine(bend, same, torch.zeros(2).double(), start, space=SPACE, lam=0.0, steps=6, **NEVER).table()
    assert path.kept.all()
    assert not path.distance.is_monotonic_decreasing


def test_damped_steps_only_come_closer_and_the_damping_follows_them():
    path = refine(curved, same, curved(TRUTH), START, space=SPACE, lam=1e-3, steps=25, **NEVER).table()
    assert not path.kept.all()
    assert path.distance[path.kept].is_monotonic_decreasing
    assert path.distance[path.kept].iloc[-1] < 1e-8
    tried = path.iloc[1:]
    for now, then in zip(tried.itertuples(), tried.iloc[1:].itertuples(), strict=False):
        assert then.lam == pytest.approx(max(now.lam / 10, 1e-6) if now.kept else now.lam * 10)


def test_a_singular_metric_is_no_obstacle():
    flat = lambda theta: SPACE.encode(theta, "logminmax")[..., :1].expand(*theta.shape[:-1], 3)  # noqa: E731
    end = refine(flat, same, flat(TRUTH), START, space=SPACE, lam=0.0)
    assert end.distance < 1e-12
    assert end.theta[1].item() == pytest.approx(3.0)  # nothing speaks for moving it


@pytest.mark.parametrize("together", [1, 4, 100])
def test_a_batch_is_a_loop_each_item_at_its_own_pace(together):
    u = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    starts, truths = SPACE.decode(0.9 * u, "logminmax"), SPACE.decode(u[:, 0].flip(0), "logminmax")
    targets = curved(truths).unsqueeze(1)
    end = refine(curved, same, targets, starts, space=SPACE, together=together)
    assert end.theta.shape == (3, 2, 2)
    assert len(end.jacobians.unique()) > 1
    for i in range(3):
        for j in range(2):
            alone = refine(curved, same, targets[i, 0], starts[i, j], space=SPACE)
            assert alone.theta.tolist() == pytest.approx(end.theta[i, j].tolist(), rel=1e-9)
            assert alone.jacobians == end.jacobians[i, j]
            assert alone.table().distance.tolist() == pytest.approx(end.table(i, j).distance.tolist(), abs=1e-12)


@pytest.mark.parametrize("budget", [1, 3 * 3 * 4096, 2**19])
def test_what_passes_at_once_is_bounded_whatever_the_batch(monkeypatch, budget):
    """Samples of waveforms and tangents: a Jacobian in two parameters is three waveforms."""
    passed = []

    def listening(x):
        passed.append(len(x))
        return x[..., ::64]

    monkeypatch.setattr(descent, "TOGETHER", budget)
    refine(Bell(), listening, Bell()(drawn(50))[:, ::64], drawn(50, seed=1), steps=1)
    assert 3 * 4096 * max(passed) <= max(budget, 3 * 4096)
    assert sum(passed) >= 50  # all the same


def test_a_network_s_answer_is_a_start_and_its_graph_ends_there():
    end = refine(curved, same, curved(TRUTH).requires_grad_(), START.clone().requires_grad_(), space=SPACE, steps=1)
    assert not end.theta.requires_grad
    assert len(end.table()) == 2


def test_one_that_ran_out_of_steps_says_so():
    end = refine(curved, same, curved(TRUTH), START, space=SPACE, steps=1, tolerance=1e-6, cosine=0.0)
    assert not end.converged
    assert end.jacobians == 2


def test_what_the_tangent_can_remove_decides_far_from_the_model_too():
    off = torch.tensor([0.3, -0.2, -0.8]).double()
    end = refine(linear, same, linear(TRUTH) + off, START, space=SPACE, tolerance=0.0, cosine=1e-3)
    residual = SPACE.encode(end.theta, "logminmax") @ A.mT - linear(TRUTH) - off
    assert end.converged
    assert end.distance > 0.1
    assert (A.mT @ residual).norm() < 1e-2 * residual.norm()


def test_jtfs_leads_back_to_the_parameters_of_a_sound():
    g, truths = Bell(), drawn(4)
    u = torch.tensor([0.01, -0.1], dtype=torch.float64)
    starts = g.parameters.decode(g.parameters.encode(truths, "logminmax") + u, "logminmax")
    end = refine(g, phi, phi(g(truths)), starts)
    assert end.converged.all()
    assert torch.allclose(end.theta, truths, rtol=1e-3)
    assert (end.distance < 0.05).all()


def test_bad_input():
    with pytest.raises(ValueError, match="not negative, not -1"):
        refine(linear, same, linear(TRUTH), START, space=SPACE, lam=-1.0)
    with pytest.raises(ValueError, match=r"target has shape \(2,\), Φ of a sound \(3,\)"):
        refine(linear, same, linear(TRUTH)[:2], START, space=SPACE)
    with pytest.raises(ValueError, match=r"theta = \[5.0, 3.0\] lies outside"):
        refine(linear, same, linear(TRUTH), torch.tensor([5.0, 3.0]), space=SPACE)
    with pytest.raises(ValueError, match="theta must be finite"):
        refine(linear, same, linear(TRUTH), torch.tensor([float("nan"), 3.0]), space=SPACE)
    with pytest.raises(ValueError, match=r"Φ of the starts.* must be finite"):
        refine(lambda theta: linear(theta) * torch.nan, same, linear(TRUTH), START, space=SPACE)
    with pytest.raises(ValueError, match="space said"):
        refine(linear, same, linear(TRUTH), START)


def test_each_parameter_in_its_own_unit_whatever_that_is():
    """A change of unit of one parameter, after which it is a thousand times as steep, changes nothing."""
    steep = ParameterSpace((SPACE.parameters[0], Parameter("b", "b", "1", -1000.0, 1000.0)))
    stretched = lambda theta: torch.stack([theta[..., 0], torch.sin(theta[..., 1] * 3), theta[..., 1] ** 2], -1)  # noqa: E731
    narrow = ParameterSpace((SPACE.parameters[0], Parameter("b", "b", "1", -1.0, 1.0)))
    target, start = torch.tensor([0.3, 1.1, 0.5]).double(), torch.tensor([-0.5, 0.1]).double()
    ends = [refine(stretched, same, target, start, space=s, own=True, steps=6, **NEVER).theta for s in (steep, narrow)]
    assert ends[0].tolist() == pytest.approx(ends[1].tolist(), rel=1e-9)


def test_a_parameter_that_is_not_heard_at_the_start_holds_up_nobody():
    """The second has a say only once the first is where it is heard."""
    space = ParameterSpace(tuple(Parameter(n, n, "1", 0.0, 1.0) for n in "ab"))
    hidden = lambda theta: torch.stack([theta[..., 0], 0.3 * (theta[..., 0] - 0.2).relu() * theta[..., 1]], -1)  # noqa: E731
    start, truth = torch.tensor([0.0, 0.2]).double(), torch.tensor([0.8, 0.7]).double()
    end = refine(hidden, same, hidden(truth), start, space=space, own=True, tolerance=1e-6, cosine=0.0)
    assert end.converged
    assert end.theta.tolist() == pytest.approx(truth.tolist(), abs=1e-4)


def test_a_plain_function_passes_as_few_at_a_time_as_a_synthesiser():
    passed = []

    def long(theta):
        passed.append(theta.shape[:-1].numel())
        return theta[..., :1] + torch.zeros(2**18)

    starts = START.expand(5, 2)
    refine(long, lambda x: x[..., :1], torch.zeros(5, 1), starts, space=SPACE, steps=2)
    assert max(passed) == 1


@pytest.mark.parametrize("still", [0.1, 0.3])
def test_the_first_free_step_that_brings_too_little_is_the_last(still):
    target = curved(TRUTH) + torch.tensor([0.5, 0.5, 0.5]).double()
    path = refine(curved, same, target, START, space=SPACE, steps=25, **NEVER).table()
    before = path.distance.where(path.kept).ffill().shift()
    little = path.kept & (path.lam <= 10) & (before - path.distance <= still * before)
    end = refine(curved, same, target, START, space=SPACE, steps=25, still=still, **NEVER)
    assert end.converged
    assert end.jacobians == 1 + little.idxmax() > 2
    assert end.table().distance.iloc[-1] == pytest.approx(path.distance[little.idxmax()])
