"""Processes that work on shards: started when there is work, restarted where they die, gone with the run.

A worker is told what to do by one JSON object a line, and answers by lines too, over a socket that only both have. No
row of a user goes through it: rows lie in the shards' files. A worker whose driver is gone ends at once, in the middle
of what it does: a transaction is then undone by the next who opens the file.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.errors import ExpectedError, JourneysError

MODULE = "journeys_dagster.shard_worker"
_ATTEMPTS = 3
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
_END_SECONDS = 10.0
Request = Mapping[str, Any]
Reply = dict[str, Any]


class WorkerError(JourneysError, RuntimeError, carries_user_text=True):
    """What a worker was asked for failed; the message is the worker's."""


class WorkerLostError(ExpectedError, RuntimeError, carries_user_text=False):
    """A worker's process died again and again; the message says with what status."""


class Workers:
    """A number of processes, each of which takes the shards whose number leaves its own as a remainder.

    Parameters
    ----------
    hello : mapping
        What each is told when it starts.
    log, warn : callable
        Take a line: what a worker logs, and that one has died.
    """

    def __init__(
        self, count: int, hello: Request, *, log: Callable[[str], object], warn: Callable[[str], object]
    ) -> None:
        self._hello, self._log, self._warn = hello, log, warn
        self._processes: list[_Process | None] = [None] * count

    @property
    def count(self) -> int:
        """How many there are at most."""
        return len(self._processes)

    def run(self, requests: Sequence[Request]) -> list[Reply]:
        """What each request gives, in order; one of shard 5 of 2 workers is the second one's.

        Raises
        ------
        WorkerError
            One of them failed; the others were carried out.
        WorkerLostError
            A worker died at one of them three times.
        """
        places = [int(request.get("shard", number)) % len(self._processes) for number, request in enumerate(requests)]
        of_workers = [
            [number for number, place in enumerate(places) if place == worker] for worker in range(len(self._processes))
        ]
        replies: list[Reply] = [{} for _ in requests]

        def work(worker: int) -> None:
            for number in of_workers[worker]:
                replies[number] = self._carry_out(worker, requests[number])

        busy = [worker for worker, numbers in enumerate(of_workers) if numbers]
        if len(busy) <= 1:
            for worker in busy:
                work(worker)
        else:
            with ThreadPoolExecutor(len(busy), thread_name_prefix="shards") as threads:
                list(threads.map(work, busy))
        for reply in replies:
            if "error" in reply:
                raise WorkerError(reply["error"])
        return replies

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process is not None:
                process.close()
        self._processes = [None] * len(self._processes)

    def process_ids(self) -> list[int]:
        """Of the processes that have been started."""
        return [process.id for process in self._processes if process is not None]

    def _carry_out(self, worker: int, request: Request) -> Reply:
        """Ask a worker; what was begun by one that died is done again, which replaces exactly what it wrote."""
        status: int | None = None
        for _ in range(_ATTEMPTS):
            process = self._processes[worker]
            if process is None:
                process = self._processes[worker] = _Process(self._hello, len(self._processes), self._log)
            try:
                return process.ask(request)
            except (OSError, EOFError):
                status = process.close()
                self._processes[worker] = None
                self._warn(f"worker {worker} died (status {status}) at {_named(request)}; another one is started")
        raise WorkerLostError(
            f"a worker died {_ATTEMPTS} times at {_named(request)}, the last time with status {status}. -9 is what the "
            "system does where memory runs out: raise run.shards, or lower run.workers, run.users_per_batch or "
            "run.warehouse_memory_limit"
        )


class _Process:
    def __init__(self, hello: Request, workers: int, log: Callable[[str], object]) -> None:
        self._log = log
        own, others = socket.socketpair()
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
        if workers > 1:
            for name in _THREADS:
                environment.setdefault(name, str(max(1, len(os.sched_getaffinity(0)) // workers)))
        command = [sys.executable, "-m", MODULE, str(others.fileno())]
        self._process = subprocess.Popen(command, env=environment, pass_fds=[others.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603 - of this installation
        others.close()
        self._socket = own
        self._lines = own.makefile("r", encoding="utf-8", newline="\n")
        self._send(hello)

    @property
    def id(self) -> int:
        return self._process.pid

    def ask(self, request: Request) -> Reply:
        self._send(request)
        while line := self._lines.readline():
            reply = json.loads(line)
            if "log" not in reply:
                return reply
            self._log(reply["log"])
        raise EOFError

    def close(self) -> int | None:
        """End it; its status."""
        with suppress(OSError):
            self._lines.close()
            self._socket.close()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self, message: Request) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")


def _named(request: Request) -> str:
    shard = f" of shard {request['shard']}" if "shard" in request else ""
    return f"{request.get('asset') or request.get('source') or request['do']}{shard}"
