"""What each step of a process takes: time, memory, bytes written. Linux only."""

import threading
import time
from pathlib import Path
from typing import Any


class Meter:
    """Wall, processor time, peak memory and bytes written of this process, step by step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()
        self._begin()

    def end(self, step: str) -> None:
        """A step has ended, and the next one begins."""
        self.rows.append(
            {
                "step": step,
                "seconds": time.perf_counter() - self._started,
                "processor_seconds": time.process_time() - self._processor,
                "peak_gib": max(self._peak, _size("VmRSS")),
                "written_mib": (_written() - self._written) / 2**20,
            }
        )
        self._begin()

    def _begin(self) -> None:
        self._started, self._processor, self._written = time.perf_counter(), time.process_time(), _written()
        self._peak = 0.0

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, _size("VmRSS"))
            time.sleep(0.02)


def _size(name: str) -> float:
    """A size of this process in GiB; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError(f"/proc/self/status has no {name}")


def _written() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/io has no write_bytes")
