"""Idle processors kept awake, so that timers and frames are on time.

An idle processor goes to sleep, and a virtual one returns to its host. A timer that is due, or a frame that arrives,
waits until the processor runs again. Through the kernel's power management (PM QoS, `/dev/cpu_dma_latency`) a program
may ask that waking up takes no time: idle processors then poll. This costs electricity, but no CPU time that others
could use, for polling ends as soon as there is work.

Decision 042: processors stay awake while a network runs (docs/decisions/042-idle-processors-stay-awake.md).
"""

import contextlib
from pathlib import Path
from typing import BinaryIO

LATENCY_FILE = Path("/dev/cpu_dma_latency")
_NONE = bytes(4)  # microseconds that waking up may take, a 32-bit number


class AwakeCpus:
    """A request for awake processors from `begin` to `end`; the kernel drops it when this process ends."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def begin(self) -> bool:
        """Make the request; False, without any effect, if this process may not make it or the kernel lacks it."""
        if self._file is None:
            with contextlib.suppress(OSError):
                file = LATENCY_FILE.open("wb", buffering=0)
                file.write(_NONE)
                self._file = file
        return self._file is not None

    def end(self) -> None:
        """Let processors sleep again; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
