"""Mailboxes and their readers: whole records only, owners that die, go and come back."""

from __future__ import annotations

import os
import random
import signal
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
    first.path.unlink()  # somebody tidied up under its feet
    second = Mailbox(link_path(link, BOX), RECORD, create=True)
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


HOLD = """
import subprocess, sys, time
import numpy as np
from pathlib import Path
from vla_core.shared_memory import Mailbox
box = Mailbox(Path(sys.argv[1]), np.dtype("f8"), create=True)
heir = subprocess.Popen(["sleep", "60"])
print(heir.pid, flush=True)
time.sleep(60)
"""


def test_a_mailbox_with_a_living_owner_is_not_taken_over(owner: Mailbox, link: str) -> None:
    """Regression: a second graph on the same link renamed over a running robot's mailboxes and commanded it."""
    owner.write(record(1))
    with pytest.raises(LinkError, match=rf"link '{link}', which is in use by pid {os.getpid()} .*; fix: .*link:=NAME"):
        Mailbox(owner.path, RECORD, create=True)
    assert owner.current
    out = np.zeros(1, RECORD)
    reader = Mailbox(owner.path, RECORD)
    assert reader.read(out) == 1 and out == record(1)
    reader.close()
    assert list(owner.path.parent.glob(f"{owner.path.name}*")) == [owner.path], "nothing half-made is left"


def test_ownership_ends_with_the_process_and_is_not_inherited(link: str) -> None:
    """A killed owner's file is free at once, even while a program that the owner had started lives on."""
    path = link_path(link, BOX)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    heir = int(process.stdout.readline())
    try:
        with pytest.raises(LinkError, match=f"in use by pid {process.pid} "):
            Mailbox(path, RECORD, create=True)
        process.kill()
        process.wait()
        Mailbox(path, RECORD, create=True).close(unlink=True)
    finally:
        process.kill()
        os.kill(heir, signal.SIGKILL)
        process.stdout.close()


def test_of_many_that_want_a_mailbox_at_once_one_gets_it(link: str) -> None:
    path, start, won, refused = link_path(link, BOX), threading.Barrier(8), [], []
    Mailbox(path, RECORD, create=True).close()  # left by a killed owner

    def want(number: int) -> None:
        start.wait()
        try:
            won.append(Mailbox(path, RECORD, create=True))
        except LinkError as error:
            refused.append(error)

    threads = [threading.Thread(target=want, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 7) and won[0].current
    won[0].close(unlink=True)
