"""What the mission remembers, and the one place that says what a failure leads to."""

from __future__ import annotations

from dataclasses import dataclass, field

from vla_core.errors import ConfigError
from vla_core.types import NS
from vla_navigation.core.explore.search import EXPLORED
from vla_navigation.core.fetch.skills import OTHER, Candidate, Report
from vla_navigation.core.task.meaning import Meaning, Relation

(SUCCESS, NOT_FOUND, UNREACHABLE, GRASP_FAILED, PLACE_FAILED, LOST, BATTERY_LOW, CANCELLED, SAFETY_STOP, TIMEOUT,
 NO_WAY_BACK, NO_SUCH_PLACE, SEARCH_FAILED, UNCONFIRMED) = CODES = (
    "", "not_found", "unreachable", "grasp_failed", "place_failed", "lost", "battery_low", "cancelled", "safety_stop",
    "timeout", "no_way_back", "no_such_place", "search_failed", "unconfirmed",
)  # fmt: skip
#: Steps in the order in which a task that goes well takes them.
STAGES = (
    "understood",
    "explore",
    "look",
    "approach",
    "recognise",
    "grasp",
    "check",
    "drive",
    "place",
    "confirm",
    "done",
)
_MESSAGES = {
    SUCCESS: "carried out",
    NOT_FOUND: "got every reachable place seen without {thing}; expected to find it; fix: say where it is, open doors",
    UNREACHABLE: "got {thing} where the arm can't get; expected a place to stand before it; fix: clear the way",
    GRASP_FAILED: "got {thing} not in the hand after {grasps} tries; expected a grasp; fix: set it free",
    PLACE_FAILED: "got {thing} still in the hand; expected it put down; fix: clear the place, take it from the hand",
    LOST: "got no pose for {lost_s:g} s; expected the robot to know where it is; fix: drive it where the map is known",
    BATTERY_LOW: "got a low battery; expected enough for the task; fix: charge, send the task again",
    CANCELLED: "got a cancellation; expected the mission to finish; fix: send the task again",
    SAFETY_STOP: "got a safety stop ({cause}); expected a free robot; fix: remove the cause, release, send again",
    TIMEOUT: "got no end within {timeout_s:g} s; expected one; fix: allow more time",
    NO_WAY_BACK: "got no way to where it was to go; expected one; fix: open the doors{and_hand}",
    SEARCH_FAILED: "got {searches} searches that broke off ({why}); expected all seen; fix: see explorer_node",
    UNCONFIRMED: "got {thing} put down but no picture of it there; expected to see it; fix: look where it has gone",
    NO_SUCH_PLACE: "got every reachable place seen without {place}; expected to find it; fix: say another{and_hand}",
}


@dataclass(frozen=True, slots=True)
class FetchParameters:
    """Bounds of a mission.

    Attributes:
        timeout_s: Of all of it [s, ROS clock].
        lost_s: Without a pose for so long it is given up [s, ROS clock].
        looks: Views of a doubtful thing, >= 1.
        poses: Places to stand that are tried before a thing, >= 1.
        grasps: Tries of the hand before a thing, >= 1.
        candidates: Things that are tried, >= 1.
        again_s: A thing without a place to stand is tried once more after so long, or when all is seen: the map may
            have become clearer [s, ROS clock].
        drives: Tries to get to the destination, >= 1.
        searches: Tries to search that end before all is seen, >= 1.
    """

    timeout_s: float
    lost_s: float
    looks: int
    poses: int
    grasps: int
    candidates: int
    drives: int
    searches: int
    again_s: float

    def __post_init__(self) -> None:
        counts = self.looks, self.poses, self.grasps, self.candidates, self.drives, self.searches
        if min(self.timeout_s, self.lost_s, self.again_s) <= 0.0 or min(counts) < 1:
            raise ConfigError(f"{self}", "times > 0, numbers >= 1", "mend config/navigation.yaml")


@dataclass(slots=True)
class Progress:
    """Of one mission; behaviours read and write it.

    Attributes:
        meaning: The task, as it stands after interjections.
        home: (x, y, yaw) where the robot was told; None until it knows where it is.
        chosen: What is taken for the thing.
        excluded: Objects that it isn't, or that can't be taken.
        later: Objects that couldn't be reached, and from when on they are tried again [ns, ROS clock].
        tried_again: Those that were tried again.
        now_ns: Of the last tick.
        near: The robot stands before `chosen`.
        holding: The thing is in the hand.
        placed: It has been put down where it was to go.
        done: The task is.
        leaving: Code of the failure for which the robot goes home, or None.
        code: How it ended, or None.
        stage, furthest: The running step, and the furthest one so far, of STAGES.
        notes: What failed on the way, in order.
    """

    meaning: Meaning
    params: FetchParameters
    start_ns: int
    home: tuple[float, float, float] | None = None
    chosen: Candidate | None = None
    place: Candidate | None = None
    excluded: set[int] = field(default_factory=set)
    later: dict[int, int] = field(default_factory=dict)
    tried_again: set[int] = field(default_factory=set)
    near: bool = False
    holding: bool = False
    placed: bool = False
    done: bool = False
    leaving: str | None = None
    code: str | None = None
    stage: str = STAGES[0]
    furthest: str = STAGES[0]
    cause: str = ""
    looks: int = 0
    poses: int = 0
    grasps: int = 0
    things: int = 0
    drives: int = 0
    searches: int = 0
    worst: str = NOT_FOUND
    why: str = ""
    lost_ns: int | None = None
    now_ns: int = 0
    notes: list[str] = field(default_factory=list)

    def begin(self, step: str) -> None:
        """A step of STAGES starts."""
        self.stage = step
        if self.leaving is None:
            self.furthest = max(self.furthest, step, key=STAGES.index)

    def choose(self, candidate: Candidate | None) -> None:
        """Go for this one; None: the map knows none any more."""
        if candidate is None or self.chosen is None or self.chosen.id != candidate.id:
            self.poses = self.grasps = self.looks = 0
            self.near = False
        self.chosen = candidate

    def unwanted(self) -> frozenset[int]:
        """Objects that are no choice now."""
        waiting = {number for number, from_ns in self.later.items() if self.now_ns < from_ns}
        return frozenset(self.excluded | waiting)

    def looked(self, why: str = "doubtful") -> None:
        """Once more at what is chosen; what stays doubtful isn't it."""
        self.looks += 1
        if self.looks >= self.params.looks:
            self.drop_choice(why)

    def refuse(self) -> None:
        """Somebody says that it isn't this one; that is no failure."""
        assert self.chosen is not None
        self.excluded.add(self.chosen.id)
        self.chosen, self.near = None, False

    def drop_choice(self, why: str) -> None:
        """It isn't this one, or this one can't be had; `why` is told if no other is found."""
        if self.chosen is not None:
            number = self.chosen.id
            self.notes.append(f"{self.chosen.name} {number}: {why}")
            if why == UNREACHABLE and number not in self.tried_again:
                self.tried_again.add(number)
                self.later[number] = self.now_ns + round(self.params.again_s * NS)
            else:
                self.excluded.add(number)
                self.things += 1
        self.chosen, self.near = None, False
        self.worst = why if why in CODES else NOT_FOUND
        if self.things >= self.params.candidates:
            self.give_up(self.worst)

    def failed(self, step: str, report: Report) -> None:
        """What follows from a failure: another pose, another try, another thing, or the way home."""
        self.notes.append(f"{step}: {report.code or 'failed'} {report.message}".rstrip())
        if step == "explore":
            self._searched(report)
        elif step == "look":
            self.looked("not seen again")  # a detector misses things: from another side it may see it
        elif step == "approach":
            self.poses += 1
            self.near = False
            if report.code == UNREACHABLE or self.poses >= self.params.poses:
                self.drop_choice(UNREACHABLE)
        elif step == "recognise":
            self.near = False
            self.poses += 1
            if report.code == OTHER or self.poses >= self.params.poses:
                self.drop_choice(report.code or "not recognised")
        elif step in ("grasp", "check"):
            self.grasps += 1
            self.holding = False  # it may have been lost on the way
            self.near = False  # the try may have moved it: from another place, after another look
            self.poses += 1
            if self.grasps >= self.params.grasps:
                self.drop_choice(GRASP_FAILED)
        elif step == "drive":
            self.drives += 1
            if self.drives >= self.params.drives:
                self.end(self.leaving or NO_WAY_BACK)
        elif step == "place":
            self.end(PLACE_FAILED)
        elif step == "confirm":
            self.end(UNCONFIRMED)

    def _searched(self, report: Report) -> None:
        """A search has ended in vain: because all is seen, or because it broke."""
        if report.code == EXPLORED:
            if self.unwanted() - self.excluded:  # nothing is left to wait for
                self.later.clear()
                return
            looks_for_place = self.holding or self.meaning.thing is None
            self.give_up(NO_SUCH_PLACE if looks_for_place else self.worst)
            return
        self.searches += 1
        self.why = f"{report.code or 'failed'} {report.message}".rstrip()
        if self.searches >= self.params.searches:
            self.give_up(SEARCH_FAILED)

    def give_up(self, code: str) -> None:
        """Go home and say so."""
        self.leaving = code
        self.drives = 0

    def end(self, code: str) -> None:
        """It is over."""
        if self.code is None:
            self.code = code

    def message(self) -> str:
        """How it ended, one sentence."""
        thing = "what was meant" if self.meaning.thing is None else f"the {self.meaning.thing}"
        params, place = self.params, self.meaning.destination
        return _MESSAGES[self.code or SUCCESS].format(
            thing=thing, grasps=self.grasps or params.grasps, lost_s=params.lost_s, timeout_s=params.timeout_s,
            cause=self.cause, searches=self.searches, why=self.why,
            place=f"the {place.anchor}" if isinstance(place, Relation) else "its place",
            and_hand=f", take {thing} from the hand" if self.holding else "",
        )  # fmt: skip

    def overdue(self, now_ns: int) -> bool:
        """Whether the time is up."""
        return now_ns - self.start_ns >= self.params.timeout_s * NS
