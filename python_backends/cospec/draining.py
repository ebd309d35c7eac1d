"""Ending without cutting a stream: the server and its orchestrator are two processes that share a few bytes of a file.

The orchestrator writes how many requests it answers, the server whether any more are taken in; each reads the other's.
"""

import mmap
import struct
import time
from pathlib import Path

NAME = "gate"  # of the file, beside the settings that the models of a running server read
LIVE, CLOSED = 0, 8  # where the two numbers are
SIZE = 16
INTERVAL = 0.05  # seconds between two looks
FLUSH = 0.3  # seconds for the last pieces to leave Triton, which an answered request may still be in


class Gate:
    def __init__(self, settings: Path) -> None:
        """The gate beside these settings; one of its own where no server made a file."""
        path = settings.with_name(NAME)
        if path.is_file():
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), SIZE)
        else:
            self._memory = mmap.mmap(-1, SIZE)

    @staticmethod
    def make(settings: Path) -> "Gate":
        settings.with_name(NAME).write_bytes(bytes(SIZE))
        return Gate(settings)

    @property
    def live(self) -> int:
        """Requests that are being answered."""
        return self._read(LIVE)

    @live.setter
    def live(self, count: int) -> None:
        struct.pack_into("<q", self._memory, LIVE, count)

    @property
    def is_closed(self) -> bool:
        return bool(self._read(CLOSED))

    def drain(self, limit: float) -> int:
        """Take in no more, and wait for those that are there, `limit` seconds at most; returns how many are left."""
        struct.pack_into("<q", self._memory, CLOSED, 1)
        deadline = time.monotonic() + limit
        while self.live and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        time.sleep(FLUSH)
        return self.live

    def _read(self, offset: int) -> int:
        return int(struct.unpack_from("<q", self._memory, offset)[0])
