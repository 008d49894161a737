"""A worker without Meta-World, run as a script: a point that must come to x >= 0.1 m. It writes the frames by hand.

The name of the task says how it behaves: 'door-open-v3' well; 'fragile' breaks for good when pushed aside by more than
3 mm; 'hopeless' never succeeds; 'die', 'hang', 'babble', 'leak' do on reset what they say.
"""

import random
import struct
import sys
import time


def take(count: int) -> bytes:
    body = sys.stdin.buffer.read(count)
    if len(body) < count:
        sys.exit(0)
    return body


def give(kind: int, body: bytes) -> None:
    sys.stdout.buffer.write(struct.pack("<IB", len(body), kind) + body)
    sys.stdout.buffer.flush()


class Point:
    """x grows by a hundredth of the action's first number at each step; y is where the noise pushes it."""

    def __init__(self, size: int) -> None:
        self.size, self.name = size, ""
        self.xyz, self.steps, self.success, self.broken = [0.0, 0.0, 0.0], 0, False, False

    def reset(self, name: str, seed: int) -> None:
        self.name, self.steps, self.success, self.broken = name, 0, False, False
        self.xyz = [0.05 * random.Random(seed).random(), 0.0, 0.0]

    def step(self, action: tuple[float, ...]) -> None:
        self.xyz = [p + 0.01 * a for p, a in zip(self.xyz, action[:3])]  # noqa: B905
        self.steps += 1
        self.broken |= self.name == "fragile" and abs(self.xyz[1]) > 0.003
        self.success = self.xyz[0] >= 0.1 and not self.broken and self.name != "hopeless"

    def expert(self, horizon: int) -> bytes:
        x, y, z = self.xyz
        out = b""
        for _ in range(horizon):
            action = (0.5, *(max(-1.0, min(1.0, -10.0 * p)) for p in (y, z)), -1.0)
            out += struct.pack("<4f", *action)
            x, y, z = x + 0.005, y + 0.01 * action[1], z + 0.01 * action[2]
        return out

    def seen(self, draw: bool) -> bytes:
        head = struct.pack("<IB4f", self.steps, self.success, *self.xyz, 0.5)
        return head + bytes([self.steps % 256]) * (3 * self.size**2) if draw else head


def main() -> None:
    point = Point(int(sys.argv[3]))
    give(11, b"")
    while True:
        length, kind = struct.unpack("<IB", take(5))
        body = take(length)
        if kind == 1:
            name = body[8:].decode()
            point.reset(name, struct.unpack("<q", body[:8])[0])
            if name == "die":
                print("the graphics card is on fire", file=sys.stderr)
                sys.exit(7)
            if name == "hang":
                time.sleep(60)
            if name == "babble":
                sys.stdout.buffer.write(b"warning: something\n" * 3)
            give(12, point.seen(True) + (b"object" if name == "leak" else b""))
        elif kind == 2:
            before = point.success
            for k in range((length - 1) // 16):
                point.step(struct.unpack_from("<4f", body, 1 + 16 * k))
                if point.success and not before:
                    break
            give(12, point.seen(bool(body[0])))
        elif kind == 3 and sys.argv[2] == "demonstrate":
            give(13, point.expert(struct.unpack("<I", body)[0]))
        else:
            give(14, b"no such request")


if __name__ == "__main__":
    main()
