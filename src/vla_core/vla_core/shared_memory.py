"""One-writer mailboxes between unrelated processes: a seqlock over a /dev/shm file, and a futex to wait for news.

`multiprocessing.shared_memory` is not used: before Python 3.13 a process that merely attaches unlinks the
segment when it exits. Layout: one int64 counter (odd while a write is under way), one int32 futex word, four bytes
of padding, one int64 with the owner's process id, then the record.

The owner holds an exclusive flock on its file for as long as it lives. The kernel lets go of it however the owner
ends, so a file without a lock is one that nobody owns.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from vla_core.errors import LinkError

_HEADER = 64  # [bytes], keeps the record on a cache line of its own
_PID_AT = 16  # [bytes]
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
        LinkError: the file is missing or has another size; with `create`, it has an owner that lives.
    """

    def __init__(self, path: Path, dtype: np.dtype, create: bool = False) -> None:
        self.path = path
        size = _HEADER + dtype.itemsize
        if create:
            fd = _own(path, size)
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
        self._lock_fd = fd if create else None  # its lock is our ownership; not inherited by programs that we start
        if not create:
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
        """Let go of the mapping and of the ownership; with `unlink`, the owner also removes the file if it is there."""
        if unlink and self.current:
            self.path.unlink(missing_ok=True)
        if self._lock_fd is not None:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)  # the mapping has a duplicate of fd, which may live longer
            os.close(self._lock_fd)
            self._lock_fd = None
        self._counter.release()
        self._word.release()
        del self._record
        with contextlib.suppress(BufferError):  # a caller still holds a view; the mapping goes with it
            self._map.close()


def _own(path: Path, size: int) -> int:
    """Put a fresh file of `size` bytes, locked by us, in the place of `path`; its descriptor.

    Raises:
        LinkError: the file that is there has an owner that lives.
    """
    # moved when whole: no reader meets an empty file
    fresh = path.with_name(f"{path.name}.{threading.get_native_id()}")
    fresh.unlink(missing_ok=True)  # of a dead process with our number
    fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, os.getpid().to_bytes(8, sys.byteorder), _PID_AT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        while not _put(fresh, path):  # somebody was faster: look again
            pass
    except BaseException:
        fresh.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


def _put(fresh: Path, path: Path) -> bool:
    """Move `fresh` to `path` unless a living owner's file is there; False when it came or went while we looked.

    Two processes can't both succeed: a link fails where there is a file, and a file is replaced under its own lock.

    Raises:
        LinkError: the file has an owner that lives.
    """
    try:
        old = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        try:
            os.link(fresh, path)
        except FileExistsError:
            return False
        fresh.unlink()
        return True
    except PermissionError as error:
        raise LinkError(f"{path.name} of another user", "a file of our own", "choose another link") from error
    try:
        try:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = int.from_bytes(os.pread(old, 8, _PID_AT), sys.byteorder)
            got = f"link '{_link_name(path)}', which is in use by pid {pid} ({path.name})"
            fix = "end that graph, or pass link:=NAME"
            raise LinkError(got, "a link of its own for every running graph", fix) from error
        try:
            if os.fstat(old).st_ino != os.stat(path).st_ino:
                return False
        except FileNotFoundError:
            return False
        os.rename(fresh, path)
        return True
    finally:
        os.close(old)  # and with it the lock


def _link_name(path: Path) -> str:
    return path.name.removeprefix("vla_").rpartition("_")[0]
