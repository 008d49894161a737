"""Flow matching on straight paths."""

from __future__ import annotations

import torch

from vla_policy.core import flow


def test_velocity_is_the_derivative_of_the_path() -> None:
    torch.manual_seed(0)
    data, noise, time = torch.randn(4, 5, 3).double(), torch.randn(4, 5, 3).double(), torch.rand(4).double()
    point, velocity = flow.path(data, noise, time)
    step = 1e-6
    later, _ = flow.path(data, noise, time + step)
    torch.testing.assert_close((later - point) / step, velocity, atol=1e-8, rtol=0)


def test_path_runs_from_noise_to_data() -> None:
    data, noise = torch.ones(1, 2, 3), torch.full((1, 2, 3), 5.0)
    torch.testing.assert_close(flow.path(data, noise, torch.zeros(1))[0], noise)
    torch.testing.assert_close(flow.path(data, noise, torch.ones(1))[0], data)


def test_few_euler_steps_follow_one_straight_path_exactly() -> None:
    """The field of a single target is (target - x) / (1 - t): straight lines, so Euler makes no error."""
    target, noise = torch.full((2, 4, 3), 0.7), torch.randn(2, 4, 3)
    for steps in (1, 3, 8):
        out = flow.integrate(lambda x, t: (target - x) / (1 - t[:, None, None]), noise, steps)
        torch.testing.assert_close(out, target)


def test_times_are_denser_near_noise() -> None:
    torch.manual_seed(0)
    time = flow.sample_time(20_000)
    assert float(time.min()) >= 0 and float(time.max()) < 1
    assert abs(float(time.mean()) - 0.4) < 0.01  # 1 - E[Beta(1.5, 1)]
