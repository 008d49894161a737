"""One class per failure; each message is one sentence: what was got, what was expected, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class VlaError(Exception):
    """Base of every failure that a user can mend.

    Attributes:
        code: Short stable name of the failure, used in action results and counters.
    """

    code = "error"

    def __init__(self, got: str, expected: str, fix: str) -> None:
        self.got, self.expected, self.fix = got, expected, fix
        super().__init__(f"got {got}; expected {expected}; fix: {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        """Between processes: an error that can't be unpacked hangs the pool that waits for it."""
        return _rebuilt, (type(self), self.got, self.expected, self.fix)


def _rebuilt(kind: type[VlaError], got: str, expected: str, fix: str) -> VlaError:
    """An error as it was, whatever its own class takes."""
    error = kind.__new__(kind)
    VlaError.__init__(error, got, expected, fix)
    return error


class ContractError(VlaError):
    """A contract file is broken, or two parts of the stack follow different contracts."""

    code = "contract"


class ObservationError(VlaError):
    """An image or joint state doesn't satisfy the contract."""

    code = "observation"


class ChunkError(VlaError):
    """An action chunk can't be executed: shape, NaN, contract, age or reachability."""

    code = "chunk"


class PolicyError(VlaError):
    """A policy can't be loaded or run."""

    code = "policy"


class WeightsError(PolicyError):
    """A weight file is corrupt or belongs to another contract."""

    code = "weights"


class UnknownObjectError(VlaError):
    """The instruction names something that the policy has never been taught."""

    code = "unknown_object"


class InstructionError(VlaError):
    """An instruction can't be understood."""

    code = "instruction"


class ScanError(VlaError):
    """A laser scan, or the odometry that comes with it, can't be used."""

    code = "scan"


class TransformError(VlaError):
    """A transform between two coordinate frames is missing, or not known for that time."""

    code = "transform"


class MapError(VlaError):
    """A map can't be read, written or used."""

    code = "map"


class ConfigError(VlaError):
    """A configuration file or parameter is missing or out of range."""

    code = "config"


class UnknownNameError(ConfigError):
    """A name is not in its registry; the message lists the known ones."""

    code = "unknown_name"

    def __init__(self, kind: str, got: str, known: Iterable[str]) -> None:
        super().__init__(f"{kind} '{got}'", f"one of: {', '.join(sorted(known))}", f"choose a listed {kind}")


class LinkError(VlaError):
    """The shared-memory link between two processes is missing or stalled."""

    code = "link"


class GraphError(VlaError):
    """A process of the running graph did not start, or ended by itself."""

    code = "graph"


class SetupError(VlaError):
    """Something that the machine must provide is missing."""

    code = "setup"
