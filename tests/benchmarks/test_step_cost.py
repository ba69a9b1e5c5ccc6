"""The cost of a step is what it says; how long anything takes is not asserted."""

from types import SimpleNamespace

import pytest
import step_cost


def test_steps_of_the_loop_and_bare_ones_take_turns_and_the_first_two_do_not_count(monkeypatch):
    now = [0.0]
    for loop, bare in ((9, 9), (9, 9), (3, 2), (4, 2), (5, 4)):
        now += [now[-1] + loop, now[-1] + loop + bare]
    ticks = iter(now)
    monkeypatch.setattr(step_cost, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert step_cost.loop_overhead(steps=3, batch=2) == {"loop": 4, "bare": 2, "overhead": 0.5}


def test_costs_are_medians_an_item_of_turns_after_the_first(monkeypatch):
    """A clock that tells each task's turns apart: 1 s, 2 s, … a task, ten times as much in the round not counted."""
    tasks, now = 7, []
    for turn in range(4):
        for k in range(tasks):
            before = now[-1] if now else 0.0
            now += [before, before + (k + 1) * (10 if turn == 0 else turn)]
    ticks = iter(now)
    monkeypatch.setattr(step_cost, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    costs = step_cost.step_costs(batch=2, rounds=3)
    assert costs["network"] == 1 * 2 / 2  # the median turn counts double, for two items
    assert costs["stock"] == 2 * 2 / 2
    assert costs["phi"] == 3 * 2 / 2
    assert costs["steps"] == pytest.approx({"p": 4, "pnp": 5, "pnp-mean": 6, "sp": 7})
