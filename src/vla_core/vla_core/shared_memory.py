"""One-writer mailboxes between unrelated processes: a seqlock over a /dev/shm file, and a futex to wait for news.

`multiprocessing.shared_memory` is not used: before Python 3.13 a process that merely attaches unlinks the
segment when it exits. Layout: one int64 counter (odd while a write is under way), one int32 futex word,
then the record.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np

from vla_core.errors import LinkError

_HEADER = 64  # [bytes], keeps the record on a cache line of its own
_SYS_FUTEX = 202 if os.uname().machine == "x86_64" else 98
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def link_path(link: str, box: str) -> Path:
    """File of mailbox `box` on the link called `link` (one link per running graph)."""
    return Path("/dev/shm") / f"vla_{link}_{box}"


class Mailbox:
    """A record of one numpy dtype, written by one process and read by any number.

    Args:
        path: File in /dev/shm.
        dtype: Structured dtype of the record, the same on both sides.
        create: True for the side that owns the file: it creates it, and `close(unlink=True)` removes it. A file
            that a killed owner left is replaced, never reused, so its readers see by the inode that it is gone.

    Raises:
        LinkError: the file is missing or has another size.
    """

    def __init__(self, path: Path, dtype: np.dtype, create: bool = False) -> None:
        self.path = path
        size = _HEADER + dtype.itemsize
        if create:
            fresh = path.with_name(f"{path.name}.{os.getpid()}")  # renamed when whole: no reader meets an empty file
            fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.ftruncate(fd, size)
            os.rename(fresh, path)
        else:
            try:
                fd = os.open(path, os.O_RDWR)
            except OSError as error:
                fix = "start the process that owns it first"
                raise LinkError(f"no mailbox {path.name}", "a running peer", fix) from error
            if os.fstat(fd).st_size != size:
                got = f"{os.fstat(fd).st_size} bytes in {path.name}"
                os.close(fd)
                raise LinkError(got, f"{size} bytes", "start both sides from the same version")
        self._inode = os.fstat(fd).st_ino
        self._map = mmap.mmap(fd, size)
        os.close(fd)
        self._counter = memoryview(self._map)[:8].cast("q")
        self._word = memoryview(self._map)[8:12].cast("i")
        self._record = np.frombuffer(self._map, np.uint8, dtype.itemsize, _HEADER)  # bytes: 5x faster than fields
        self._word_address = ctypes.c_void_p(self._record.ctypes.data - _HEADER + 8)
        self._timeout = _Timespec()

    @property
    def version(self) -> int:
        """How often the record has been written."""
        return self._counter[0] >> 1

    @property
    def current(self) -> bool:
        """False when the owner has removed or re-created the file; one stat, so not for a control tick."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def write(self, record: np.ndarray) -> None:
        """Publish `record` (shape (1,), contiguous, this mailbox's dtype) and wake the readers that wait."""
        count = self._counter[0]
        self._counter[0] = count + 1
        self._record[:] = record.view(np.uint8)
        self._counter[0] = count + 2
        self._word[0] = (count + 2) & 0x7FFFFFFF
        _libc.syscall(_SYS_FUTEX, self._word_address, _FUTEX_WAKE, 1 << 30, None, None, 0)

    def poll(self, out: np.ndarray, version: int) -> int:
        """Copy the newest whole record into `out` if it is not `version`; never waits, for a control tick.

        Returns:
            The version copied, or `version` when there is nothing newer or a write was under way; then `out` may
            hold a torn record and must not be used.
        """
        before = self._counter[0]
        if before & 1 or before >> 1 == version:
            return version
        out.view(np.uint8)[:] = self._record
        return before >> 1 if self._counter[0] == before else version

    def read(self, out: np.ndarray) -> int:
        """Copy the newest whole record into `out` (shape (1,)) and return its version; 0: never written.

        Raises:
            LinkError: the writer died in the middle of a write.
        """
        for attempt in range(2000):
            before = self._counter[0]
            if before & 1 == 0:
                out.view(np.uint8)[:] = self._record
                if self._counter[0] == before:
                    return before >> 1
            if attempt > 50:
                time.sleep(50e-6)
        got = f"mailbox {self.path.name} locked for 0.1 s"
        raise LinkError(got, "a live writer", "restart the process that owns it")

    def wait(self, version: int, timeout_s: float) -> bool:
        """Sleep until the record is newer than `version`; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.version <= version:
            word = self._word[0]
            if self.version > version:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._timeout.sec, self._timeout.nsec = int(left), int((left % 1) * 1e9)
            timeout = ctypes.byref(self._timeout)
            _libc.syscall(_SYS_FUTEX, self._word_address, _FUTEX_WAIT, word, timeout, None, 0)
        return True

    def close(self, unlink: bool = False) -> None:
        """Let go of the mapping; the owner also removes the file, unless a new owner has replaced it."""
        if unlink and self.current:
            self.path.unlink(missing_ok=True)
        self._counter.release()
        self._word.release()
        del self._record
        with contextlib.suppress(BufferError):  # a caller still holds a view; the mapping goes with it
            self._map.close()
