"""The reading end of a mailbox that another process owns, starts late or starts anew."""

from __future__ import annotations

import time

import numpy as np

from vla_core.errors import LinkError
from vla_core.shared_memory import Mailbox, link_path

_RETRY_S = 0.02


class Peer:
    """Newest whole record of a mailbox, in a buffer that stays the same object.

    Args:
        link: Name of the link.
        box: Name of the mailbox on it.
        dtype: Its record.

    Attributes:
        record: Newest record, shape (1,), never torn; zeros until the first one, the last one when the owner is gone.
        version: Version of `record` in the present file; 0: none yet.
    """

    def __init__(self, link: str, box: str, dtype: np.dtype) -> None:
        self._path, self._dtype = link_path(link, box), dtype
        self._box: Mailbox | None = None
        self.record = np.zeros(1, dtype)
        self._arriving = np.zeros(1, dtype)
        self._bytes, self._arriving_bytes = self.record.view(np.uint8), self._arriving.view(np.uint8)
        self.version = 0

    def poll(self) -> bool:
        """Take the newest record; True if it is news. Never waits and opens no file, so a control tick may call it."""
        if self._box is None:
            return False
        version = self._box.poll(self._arriving, self.version)
        if version == self.version:
            return False
        self._bytes[:] = self._arriving_bytes
        self.version = version
        return True

    def refresh(self) -> bool:
        """Open the mailbox if it has appeared or was re-created; True if a file is open. Not for a control tick.

        Raises:
            LinkError: it has another size than the record.
        """
        if self._box is not None and self._box.current:
            return True
        if self._path.exists():
            fresh = Mailbox(self._path, self._dtype)
            self.close()
            self._box, self.version = fresh, 0
        return self._box is not None

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there is news, take it and return True; False after `timeout_s`."""
        if self._box is None:
            time.sleep(min(timeout_s, _RETRY_S))
        else:
            self._box.wait(self.version, timeout_s)
        return self.poll()

    def wait_first(self, timeout_s: float) -> None:
        """Wait until the owner has written its first record, and take it.

        Raises:
            LinkError: it hasn't within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not (self.refresh() and self.wait(_RETRY_S)):
            if time.monotonic() > deadline:
                got = f"nothing in mailbox {self._path.name} for {timeout_s:g} s"
                raise LinkError(got, "a running peer", "start the process that owns it, on the same link")
            if self._box is None:
                time.sleep(_RETRY_S)

    def close(self) -> None:
        """Let go of the mailbox; the record stays."""
        if self._box is not None:
            self._box.close()
            self._box = None
