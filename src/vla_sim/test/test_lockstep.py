"""Pacing: the world waits for servo, cameras and policy in lockstep, and for nobody in real time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sim_peers import FakeCamera, FakeServo, FakeWorld, PlanBox, new_link

from vla_core.errors import ConfigError
from vla_core.shared_memory import link_path
from vla_sim.core.lockstep import Lockstep, LockstepParameters
from vla_sim.core.real_time import RealTime, RealTimeParameters
from vla_sim.core.records import Start
from vla_sim.core.simulation import START_NS, Simulation, camera_period_ns

FRAME_NS = 50_000_000
START = Start(3, "", "train", "")


def observe(bench: Bench, camera: FakeCamera) -> None:
    """Observe the newest frame; joint states may be a little older."""
    if camera.seen:
        bench.pacing.observed(camera.seen[-1] - 10_000_000)


class Bench:
    """A simulation with fake peers, paced in this thread."""

    def __init__(self, lockstep: bool = True, **changes: Any) -> None:
        self.link = new_link()
        self.world = FakeWorld()
        self.sim = Simulation(self.world, self.link, lockstep, START)
        self.stamps: list[int] = []
        self.frames_at_tick: list[int] = []
        self.warnings: list[str] = []
        self.on_poll: Callable[[], None] = lambda: None
        hooks = (lambda: self.stamps.append(self.sim.stamp_ns), lambda: self.on_poll(), self.warnings.append)
        values = {
            "wait_for_policy": False,
            "wait_for_instruction": True,
            "observation_period_s": 0.05,
            "replan_period_s": 0.2,
            "policy_timeout_s": 60.0,
            "camera_timeout_s": 60.0,
            "observation_timeout_s": 60.0,
            "servo_warning_s": 60.0,
        }
        if lockstep:
            self.pacing: Lockstep | RealTime = Lockstep(self.sim, LockstepParameters(**(values | changes)), *hooks)
        else:
            self.pacing = RealTime(self.sim, RealTimeParameters(0.02), *hooks)
        self.peers: list[FakeServo | FakeCamera | PlanBox] = []

    def add(self, peer: Any) -> Any:
        self.peers.append(peer)
        return peer

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.pacing.tick()

    def close(self) -> None:
        for peer in self.peers:
            peer.close() if isinstance(peer, PlanBox) else peer.stop()
        self.sim.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(**getattr(request, "param", {}))
    yield made
    made.close()
    assert not link_path(made.link, "state").exists() and not link_path(made.link, "snapshot").exists()


def test_every_tick_is_answered_once(bench: Bench) -> None:
    servo, camera = bench.add(FakeServo(bench.link)), bench.add(FakeCamera(bench.link, delay_s=0.002))
    bench.run(201)
    assert bench.world.steps == 201 and servo.seen == list(range(201))
    assert bench.world.q == START.seed + 201, "every step used that tick's torque"
    assert camera.seen == [START_NS + i * FRAME_NS for i in range(5)], "the world waited for every frame"
    assert bench.stamps == [START_NS + i * 1_000_000 for i in range(201)]
    assert not bench.warnings


def test_world_stands_still_without_a_servo(bench: Bench) -> None:
    bench.add(FakeCamera(bench.link))
    bench.sim.publish_state()

    class EndError(Exception):
        pass

    polls = iter(range(30))

    def end() -> None:
        if next(polls, None) is None:
            raise EndError

    bench.on_poll = end
    with pytest.raises(EndError):
        bench.run(1)
    assert bench.world.steps == 0 and not bench.warnings, "a servo that still starts is no fault"


@pytest.mark.parametrize("bench", [{"servo_warning_s": 0.1}], indirect=True)
def test_servo_that_dies_is_named_and_may_come_back(bench: Bench) -> None:
    servo = bench.add(FakeServo(bench.link))
    bench.add(FakeCamera(bench.link))
    servo.mute_from = 20
    revive = threading.Timer(0.4, lambda: setattr(servo, "mute_from", 1 << 62))
    revive.start()
    bench.run(40)
    assert bench.world.steps == 40 and servo.seen == list(range(40))
    assert len(bench.warnings) == 1 and "servo" in bench.warnings[0]


@pytest.mark.parametrize("bench", [{"camera_timeout_s": 0.3}], indirect=True)
def test_missing_cameras_are_waited_for_once(bench: Bench) -> None:
    bench.add(FakeServo(bench.link))
    bench.run(151)
    assert bench.world.steps == 151
    assert len(bench.warnings) == 1 and bench.pacing.timeouts == {"camera": 1, "observation": 0, "policy": 0}
    camera = bench.add(FakeCamera(bench.link))
    bench.run(150)
    bench.on_poll = lambda: None
    assert camera.seen and not bench.warnings[1:]


@pytest.mark.parametrize("bench", [{"wait_for_policy": True}], indirect=True)
@pytest.mark.parametrize("early", [True, False])
def test_time_stands_still_until_the_first_instruction(bench: Bench, early: bool) -> None:
    """However early the instruction comes, the first frame that the policy must answer is the same."""
    bench.add(FakeServo(bench.link))
    camera, plan = bench.add(FakeCamera(bench.link)), bench.add(PlanBox(bench.link))
    asked: list[int] = []

    def policy() -> None:
        observe(bench, camera)
        if bench.sim.started and camera.seen and bench.pacing.gate.due(camera.seen[-1], bench.pacing._answers_ns()):
            asked.append(camera.seen[-1])
            plan.answer(camera.seen[-1])

    if early:
        bench.pacing.instruct("open the drawer")
        bench.on_poll = policy
    else:
        polls = iter(range(10))

        def late() -> None:
            if next(polls, None) is None:
                bench.pacing.instruct("open the drawer")
                bench.on_poll = policy

        bench.on_poll = late
    bench.run(1)
    assert bench.sim.started and camera.seen == ([] if early else [START_NS])
    bench.run(500)
    assert asked == [START_NS + FRAME_NS, START_NS + 5 * FRAME_NS, START_NS + 9 * FRAME_NS]
    assert not bench.warnings and bench.pacing.timeouts["policy"] == 0


@pytest.mark.parametrize("bench", [{"wait_for_policy": True, "policy_timeout_s": 0.3}], indirect=True)
def test_silent_policy_costs_one_timeout(bench: Bench) -> None:
    bench.add(FakeServo(bench.link))
    camera = bench.add(FakeCamera(bench.link))
    bench.on_poll = lambda: observe(bench, camera)
    bench.pacing.instruct("open the drawer")
    bench.run(500)
    assert bench.pacing.timeouts["policy"] == 1
    assert len(bench.warnings) == 1 and "no answer to the frame at 1.05 s" in bench.warnings[0]


@pytest.mark.parametrize("bench", [{"wait_for_policy": True}], indirect=True)
def test_no_frame_is_taken_before_the_last_one_is_observed(bench: Bench) -> None:
    """Regression: between two answers the world ran ahead, and on a busy machine frames got lost."""
    bench.add(FakeServo(bench.link))
    camera, plan = bench.add(FakeCamera(bench.link)), bench.add(PlanBox(bench.link))
    polls = 0

    def slowly() -> None:
        nonlocal polls
        polls += 1
        if camera.seen:
            plan.answer(camera.seen[-1])
            if polls % 7 == 0:
                observed.append(camera.seen[-1])
                bench.pacing.observed(camera.seen[-1])

    observed: list[int] = []
    bench.on_poll = slowly
    bench.pacing.instruct("open the drawer")
    bench.run(500)
    assert len(camera.seen) == 9 and set(observed[:-1]) <= set(camera.seen) <= set(observed)
    assert bench.pacing.timeouts["observation"] == 0


@pytest.mark.parametrize("bench", [{"wait_for_policy": True, "wait_for_instruction": False}], indirect=True)
def test_without_an_instruction_a_robot_that_drives_is_one_frame_ahead_of_its_pictures(bench: Bench) -> None:
    bench.add(FakeServo(bench.link))
    camera = bench.add(FakeCamera(bench.link, delay_s=0.02))
    ahead: list[int] = []

    def look() -> None:
        observe(bench, camera)
        if bench.sim.at_camera_instant or not camera.seen:
            return
        ahead.append((bench.sim.stamp_ns - camera.seen[-1]) // FRAME_NS)

    bench.on_poll = look
    bench.run(500)
    taken = [START_NS + i * FRAME_NS for i in range(10)]
    assert camera.seen[:9] == taken[:9], "a frame was lost, or taken twice"
    assert max(ahead) == 1 and not any(bench.pacing.timeouts.values())
    plan = bench.add(PlanBox(bench.link))
    bench.pacing.instruct("open the drawer")
    ahead.clear()

    def work() -> None:
        look()
        if camera.seen:
            plan.answer(camera.seen[-1])

    bench.on_poll = work
    bench.run(FRAME_NS // 1_000_000 + 1)  # to the first frame under the instruction, which is waited for
    ahead.clear()
    bench.run(500)
    assert max(ahead) == 0 and not any(bench.pacing.timeouts.values())


@pytest.mark.parametrize(
    "bench", [{"wait_for_policy": True, "observation_timeout_s": 0.2, "policy_timeout_s": 0.2}], indirect=True
)
def test_missing_observations_cost_one_timeout_until_they_come_back(bench: Bench) -> None:
    bench.add(FakeServo(bench.link))
    camera = bench.add(FakeCamera(bench.link))
    bench.pacing.instruct("open the drawer")
    bench.run(300)
    assert bench.pacing.timeouts["observation"] == 1 and "no observation within 0.2 s" in bench.warnings[0]
    bench.on_poll = lambda: observe(bench, camera)
    bench.run(200)
    bench.on_poll = lambda: None
    bench.run(100)
    assert bench.pacing.timeouts["observation"] == 2


def test_reset_moves_time_on_to_a_camera_instant(bench: Bench) -> None:
    bench.add(FakeServo(bench.link)), bench.add(FakeCamera(bench.link))
    bench.run(73)
    text = bench.sim.reset(Start(9, "close the drawer", "train", ""))
    assert text == "close the drawer" and bench.world.resets[-1] == (9, "close the drawer", "train", None)
    assert bench.sim.stamp_ns == bench.sim.epoch_ns == START_NS + 2 * FRAME_NS == bench.world.time_offset_ns
    bench.run(10)
    assert bench.stamps == sorted(set(bench.stamps))
    assert bench.sim.hardware._state["epoch_ns"][0] == bench.sim.epoch_ns


def test_reset_while_waiting_abandons_the_tick(bench: Bench) -> None:
    """The command of the old world must not move the new one."""
    servo = bench.add(FakeServo(bench.link))
    bench.add(FakeCamera(bench.link))
    bench.run(5)
    servo.mute_from = 5

    def reset() -> None:
        bench.on_poll = lambda: None
        bench.sim.reset(Start(100, "", "train", ""))
        servo.mute_from = 1 << 62

    bench.on_poll = reset
    bench.run(1)
    assert bench.world.steps == 5 and bench.sim.generation == 2 and bench.world.q == 100.0
    bench.run(5)
    assert bench.world.q == 105.0


@pytest.mark.parametrize("bench", [{"lockstep": False}], indirect=True)
def test_real_time_uses_the_newest_command(bench: Bench) -> None:
    bench.run(30)
    assert bench.world.steps == 0, "no servo yet: the arm is on its brakes"
    servo = bench.add(FakeServo(bench.link))
    for _ in range(1000):
        bench.run(1)
        if bench.world.steps >= 200:
            break
    assert bench.world.steps >= 200
    before = bench.sim.tick
    servo.mute_from = before
    bench.run(200)
    assert bench.sim.tick <= before + 25, "without commands the world stops"
    assert "no command" in bench.warnings[0]
    assert bench.stamps == sorted(set(bench.stamps)), "a standing world publishes no tick twice"


@pytest.mark.parametrize(
    ("rates", "text"), [((20.0, 30.0), "one rate"), ((30.0,), "33.3"), ((2000.0,), "multiple of 10 ms")]
)
def test_camera_rates_that_do_not_fit(rates: tuple[float, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        camera_period_ns([{"rate_hz": r} for r in rates])


def test_timestep_that_does_not_fit_leaves_no_mailbox() -> None:
    link = new_link()
    with pytest.raises(ConfigError, match=r"timestep_s 0\.002"):
        Simulation(FakeWorld(timestep_s=0.002), link, True, START)
    assert not link_path(link, "state").exists()
