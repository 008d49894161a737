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
        out = flow.integrate(lambda x, t: (target - x) / (1 - t[..., None]), noise, steps)
        torch.testing.assert_close(out, target)


def test_a_prefix_is_kept_and_told_to_the_field() -> None:
    prefix, noise, seen = torch.full((2, 3, 1), 9.0), torch.zeros(2, 8, 1), []

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append((x[:, :3].clone(), t.clone()))
        return torch.ones_like(x)

    out = flow.integrate(field, noise, 4, prefix)
    assert torch.equal(out[:, :3], prefix) and torch.allclose(out[:, 3:], torch.ones(2, 5, 1))
    assert all(torch.equal(x, prefix) and bool((t[:, :3] == 1.0).all()) for x, t in seen)
    assert [float(t[0, 3]) for _, t in seen] == [0.0, 0.25, 0.5, 0.75] and not noise.any()


def test_prefixes_are_beginnings_of_half_of_the_rows() -> None:
    torch.manual_seed(0)
    given = flow.sample_prefix(10_000, 20, 6)
    lengths = given.sum(1)
    assert torch.equal(given, torch.arange(20) < lengths[:, None]), "always the first steps"
    assert abs(float((lengths == 0).float().mean()) - 0.5) < 0.03 and set(lengths.unique().tolist()) == set(range(7))
    assert not flow.sample_prefix(100, 20, 0).any()


def test_times_are_denser_near_noise() -> None:
    torch.manual_seed(0)
    time = flow.sample_time(20_000)
    assert float(time.min()) >= 0 and float(time.max()) < 1
    assert abs(float(time.mean()) - 0.4) < 0.01  # 1 - E[Beta(1.5, 1)]
