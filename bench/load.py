"""Load on an HTTP server from a process of its own: connections that ask again and again, or at a steady pace.

    python bench/load.py URL PATH [PATH ...] --key KEY [--connections 8] [--seconds 5] [--rate 0]

With ``--rate`` that many requests a second begin at even times over all connections, and a latency counts from the time
the request was due, so that a server that stalls cannot hide it; without, each connection asks as soon as it was
answered. Prints one line of JSON: statuses with their counts, and the latencies of answers with status 200 in
milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop


class Load(NamedTuple):
    """What came back."""

    statuses: dict[str, int]
    latencies: list[float]
    """Milliseconds, of answers with status 200."""
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def start(
    url: str, paths: Sequence[str], key: str, *, connections: int, seconds: float, rate: float = 0
) -> subprocess.Popen[str]:
    """Begin a load in a process of its own; ``result`` waits for its end."""
    command = [sys.executable, str(Path(__file__)), url, *paths, "--key", key, "--connections", str(connections)]
    command += ["--seconds", str(seconds), "--rate", str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(load: subprocess.Popen[str]) -> Load:
    said, _ = load.communicate()
    if load.returncode:
        sys.exit(f"the load ended with {load.returncode}")
    return Load(**json.loads(said))


class _Asking:
    def __init__(self, paths: Sequence[str], host: str, port: int, key: str, until: float) -> None:
        self.heads = [
            f"GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key or '-'}\r\n\r\n".encode()
            for path in paths
        ]
        self.host, self.port, self.until = host, port, until
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []

    async def connection(self, number: int, every: float) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        due = time.perf_counter() + every * number
        asked = number
        while True:
            now = time.perf_counter()
            if every and due > now:
                await asyncio.sleep(due - now)
            begun = due if every else now
            if begun >= self.until:
                break
            writer.write(self.heads[asked % len(self.heads)])
            status = await _answer(reader)
            self.statuses[status] += 1
            if status == "200":
                self.latencies.append((time.perf_counter() - begun) * 1000)
            asked += self.connections  # all together ask for each path in turn
            due += every * self.connections
        writer.close()

    async def run(self, connections: int, rate: float) -> None:
        self.connections = connections
        every = 1 / rate if rate else 0.0
        await asyncio.gather(*(self.connection(number, every) for number in range(connections)))


async def _answer(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.index(b"content-length: ") + 16
    await reader.readexactly(int(lower[start : lower.index(b"\r", start)]))
    return head[9:12].decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--key", default="")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args()
    parts = urllib.parse.urlsplit(options.url)
    began = time.perf_counter()
    asking = _Asking(options.paths, parts.hostname or "", parts.port or 80, options.key, began + options.seconds)
    uvloop.run(asking.run(options.connections, options.rate))
    took = time.perf_counter() - began
    os.set_blocking(sys.stdout.fileno(), True)  # who reads may be busy, and a pipe takes 64 KiB
    latencies = [round(one, 3) for one in asking.latencies]
    said = json.dumps({"statuses": asking.statuses, "latencies": latencies, "seconds": took}).encode()
    while said:  # where Python does not buffer its output, what a pipe does not take at once would be lost
        said = said[os.write(sys.stdout.fileno(), said) :]


if __name__ == "__main__":
    main()
