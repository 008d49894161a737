"""Mailboxes and their readers: whole records only, owners that die, go and come back."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vla_core.errors import LinkError
from vla_core.peer import Peer
from vla_core.shared_memory import Mailbox, link_path

RECORD = np.dtype([("number", np.int64), ("values", np.float64, 4096)], align=True)
BOX = "box"
WRITE_MANY = """
import sys
import numpy as np
from vla_core.shared_memory import Mailbox, link_path
link, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
record = np.dtype([("number", np.int64), ("values", np.float64, size)], align=True)
box, made = Mailbox(link_path(link, name), record), np.zeros(1, record)
for number in range(1, count + 1):
    made["number"], made["values"] = number, number
    box.write(made)
box.close()
"""


@pytest.fixture
def link() -> Iterator[str]:
    name = f"test{random.getrandbits(40):x}"
    yield name
    left = list(Path("/dev/shm").glob(f"vla_{name}_*"))
    for path in left:
        path.unlink()
    assert not left, f"left behind: {[p.name for p in left]}"


@pytest.fixture
def owner(link: str) -> Iterator[Mailbox]:
    box = Mailbox(link_path(link, BOX), RECORD, create=True)
    yield box
    box.close(unlink=True)


def record(number: int) -> np.ndarray:
    made = np.zeros(1, RECORD)
    made["number"], made["values"] = number, number
    return made


def test_round_trip(owner: Mailbox) -> None:
    reader, out = Mailbox(owner.path, RECORD), np.zeros(1, RECORD)
    assert reader.version == reader.read(out) == 0
    owner.write(record(7))
    assert reader.read(out) == reader.version == 1
    assert out == record(7)
    assert reader.poll(out, 1) == 1
    owner.write(record(8))
    assert reader.poll(out, 1) == 2 and out == record(8)
    reader.close()


def test_no_reader_ever_sees_a_torn_record(owner: Mailbox, link: str) -> None:
    """A second process writes 32 kB records as fast as it can.

    It is a script: what `multiprocessing` spawns can't import this file when colcon starts pytest in the package.
    """
    count = 3000
    peer, seen = Peer(link, BOX, RECORD), 0
    assert peer.refresh()
    size = RECORD["values"].shape[0]
    writer = subprocess.Popen([sys.executable, "-c", WRITE_MANY, link, BOX, str(count), str(size)])
    while peer.record["number"][0] < count and (writer.poll() is None or peer.poll()):
        if peer.poll():
            seen += 1
            assert (peer.record["values"] == peer.record["number"][0]).all()
    assert writer.wait() == 0
    peer.poll()
    assert peer.record["number"][0] == count and seen > 0
    peer.close()


def test_a_writer_that_died_in_a_write_blocks_nobody_for_long(owner: Mailbox, link: str) -> None:
    peer = Peer(link, BOX, RECORD)
    peer.refresh()
    owner.write(record(1))
    assert peer.poll()
    owner._counter[0] += 1
    owner._record[:] = 255
    assert not peer.poll() and peer.record == record(1)
    with pytest.raises(LinkError, match="locked"):
        Mailbox(owner.path, RECORD).read(np.zeros(1, RECORD))
    peer.close()


def test_wait_ends_with_the_news(owner: Mailbox) -> None:
    reader = Mailbox(owner.path, RECORD)
    assert not reader.wait(0, 0.01)
    threading.Timer(0.05, lambda: owner.write(record(1))).start()
    assert reader.wait(0, 30.0)
    assert reader.version == 1
    reader.close()


def test_reader_follows_an_owner_that_comes_late_goes_and_returns(link: str) -> None:
    peer = Peer(link, BOX, RECORD)
    assert not peer.refresh() and not peer.poll() and not peer.wait(0.01)
    first = Mailbox(link_path(link, BOX), RECORD, create=True)
    assert peer.refresh() and not peer.poll()
    first.write(record(1))
    assert peer.poll() and peer.version == 1
    second = Mailbox(link_path(link, BOX), RECORD, create=True)  # the first was killed
    assert not first.current and second.current
    second.write(record(2))
    assert not peer.poll()
    assert peer.refresh() and peer.poll() and peer.record == record(2)
    first.close(unlink=True)  # must not take the new owner's file away
    assert second.current
    second.close(unlink=True)
    peer.refresh()
    assert not peer.poll() and peer.record == record(2)  # the last word stands
    peer.close()


def test_first_record_is_waited_for(owner: Mailbox, link: str) -> None:
    peer = Peer(link, BOX, RECORD)
    with pytest.raises(LinkError, match=f"nothing in mailbox vla_{link}_{BOX}"):
        peer.wait_first(0.05)
    threading.Timer(0.05, lambda: owner.write(record(3))).start()
    peer.wait_first(30.0)
    assert peer.record == record(3)
    peer.close()


def test_missing_and_mismatched_boxes_are_named(owner: Mailbox, link: str) -> None:
    with pytest.raises(LinkError, match="no mailbox"):
        Mailbox(link_path(link, "nothing"), RECORD)
    with pytest.raises(LinkError, match="bytes"):
        Peer(link, BOX, np.dtype([("number", np.int64)])).refresh()
