"""How fast `journeys serve` answers on loopback while a process writes to the warehouse again and again.

Run ``python benchmarks/serving.py HOME --per-second 500 --seconds 20``. Requests are sent at a steady rate over a few
connections, whether or not the earlier ones are answered; a request's time runs from when it was due.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from journeys_dagster.resources.home import Home

WRITER = """
import sys, time
from pathlib import Path
from journeys_dagster.resources.home import Home
file = Home(Path(sys.argv[1])).look_up()
while True:
    with file.write() as connection:
        connection.execute("create or replace table written_by_a_benchmark as select range as i from range(3000000)")
    time.sleep(.05)
"""
SERVER = "from journeys_dagster.cli import main; main()"


async def ask(port: int, users: list[str], *, per_second: float, seconds: float, connections: int) -> dict[str, float]:
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    count = int(per_second * seconds)
    taken, statuses = np.empty(count), np.empty(count, dtype=np.int64)
    begun = time.perf_counter() + 0.1

    async def over(connection: int) -> None:
        reader, writer = pairs[connection]
        for number in range(connection, count, connections):
            due = begun + number / per_second
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            path = f"/v1/users/{users[number % len(users)]}/journeys"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            taken[number], statuses[number] = time.perf_counter() - due, int(head[9:12])

    await asyncio.gather(*(over(each) for each in range(connections)))
    figures = {f"p{q:g}_ms": float(np.percentile(taken, q) * 1e3) for q in (50, 95, 99, 99.9)}
    return {"requests": count, "not_200": int((statuses != 200).sum()), **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--per-second", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    with Home(options.home).look_up().read() as connection:
        users = [user for (user,) in connection.execute("select distinct user_id from user_snapshots").fetchall()]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JOURNEYS_HOME": str(options.home)}
    command = [sys.executable, "-c", SERVER, "serve", "--port", str(port), "--per-second", "100000"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(options.home)])  # noqa: S603
    try:
        for _ in range(600):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        asked = ask(port, users, per_second=100, seconds=2, connections=options.connections)
        asyncio.run(asked)
        asked = ask(
            port, users, per_second=options.per_second, seconds=options.seconds, connections=options.connections
        )
        figures = asyncio.run(asked)
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
        figures["server_memory_mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1e3
    finally:
        for each in (server, writer):
            each.kill()
            each.wait()
    load = os.getloadavg()[0]
    print(json.dumps({**figures, "load": load}))


if __name__ == "__main__":
    main()
