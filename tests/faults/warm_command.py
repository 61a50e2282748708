"""The `journeys` command in processes that can be killed, forked from one that has imported everything."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Nothing is computed before the fork, so no thread holds a lock that the child would inherit.
_FORK = """
import json, os, sys
import duckdb, numba, polars, torch
import journeys_dagster.cli, journeys_dagster.definitions, journeys_dagster.inference.encoders
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        os.environ.update(order["environment"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["journeys", *order["words"]]
        journeys_dagster.cli.main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Command:
    """One command under way, in its own process group."""

    process: int
    began: float
    log: Path
    _parent: "subprocess.Popen[str]" = field(repr=False)

    def kill(self) -> None:
        """SIGKILL to its whole process group; one that has ended is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)

    def alive(self) -> bool:
        """Whether it is still running; not to be asked after `wait`."""
        with open(f"/proc/{self.process}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"

    def wait(self) -> int:
        """Its exit status; -9 where it was killed."""
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


class WarmCommand:
    """Starts commands one at a time."""

    def __init__(self, parent: "subprocess.Popen[str]") -> None:
        self._parent = parent

    def start(self, *words: str, home: Path, log: Path, **environment: str) -> Command:
        """Start ``journeys WORDS`` in a home."""
        order: dict[str, Any] = {
            "words": words,
            "environment": {"JOURNEYS_HOME": str(home), "COLUMNS": "250", **environment},
            "log": str(log),
        }
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return Command(int(self._parent.stdout.readline()), time.monotonic(), log, self._parent)

    def run(self, *words: str, home: Path, log: Path, **environment: str) -> float:
        """Run a command that has to succeed; returns the seconds it took."""
        command = self.start(*words, home=home, log=log, **environment)
        assert command.wait() == 0, log.read_text()
        return time.monotonic() - command.began


@contextmanager
def warm_command() -> Iterator[WarmCommand]:
    """A process that has imported everything and forks commands."""
    with subprocess.Popen(
        [sys.executable, "-c", _FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "ready\n"
            yield WarmCommand(parent)
        finally:
            parent.kill()
