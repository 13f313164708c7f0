"""Requests to one `satchel serve` worker on loopback: list and search, authenticated, and what authentication costs.

    python bench/api.py FOLDER [--seconds 5] [--connections 8] [--json FILE]

The folder is synced to a fresh server first. Latencies are taken one request at a time over one connection
(p50/p95/p99), throughput over several connections; generator and server share the machine's cores. The cost of
authentication is taken in process, on the same catalog, after the server has stopped: warm (the credential was seen
within seconds) and cold (looked up in the catalog).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import shutil
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from measure import machine, percentile, report, run, satchel_command, save
from serving import satchel_served

from satchel.config.server import ServerSettings
from satchel.server.cloud import open_cloud

QUERIES = ("design", "rollback approval", "feature gate", "how are errors handled", "node shutdown", "api version")


class Client:
    """One keep-alive connection that asks with one credential."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> float:
        """Seconds one GET took; anything but 200 stops the bench."""
        started = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
        return time.perf_counter() - started


def latencies(url: str, token: str | None, paths: list[str], duration: float) -> list[float]:
    client = Client(url, token)
    for path in paths:
        client.get(path)
    found = []
    end = time.monotonic() + duration
    while time.monotonic() < end:
        found.append(client.get(paths[len(found) % len(paths)]))
    return found


def throughput(url: str, token: str | None, paths: list[str], duration: float, connections: int) -> float:
    counts = [0] * connections
    end = time.monotonic() + duration

    def ask(number: int) -> None:
        client = Client(url, token)
        while time.monotonic() < end:
            client.get(paths[(counts[number] + number) % len(paths)])
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


def sign_in(url: str, key: str) -> str:
    request = urllib.request.Request(
        f"{url}/api/v1/auth/token",
        data=json.dumps({"apiKey": key}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["accessToken"])


def stored_key(home: Path) -> str:
    """The API key that `satchel login` stored."""
    text = (home / "config" / "satchel" / "credentials.json").read_text()
    return next(word for word in text.replace('"', " ").split() if word.startswith("stl_"))


async def authentication(data: Path, key: str, rounds: int = 20_000) -> dict[str, float]:
    """Microseconds of one check of an API key, warm and cold."""
    header = f"Bearer {key}"
    async with open_cloud(ServerSettings(data=data)) as cloud:
        await cloud.authenticator.check(header)
        started = time.perf_counter()
        for _ in range(rounds):
            await cloud.authenticator.check(header)
        warm = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(rounds // 20):
            await cloud.authenticator.check_text(key)
        cold = time.perf_counter() - started
    return {"warm_us": warm / rounds * 1e6, "cold_us": cold / (rounds // 20) * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        folder = Path(name, "bench")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        with satchel_served(Path(name, "home")) as (url, env, _):
            run([*satchel_command(), "init"], cwd=folder, env=env)
            run([*satchel_command(), "remote", "add", url], cwd=folder, env=env)
            run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=env)
            key = stored_key(Path(name, "home"))
            token = sign_in(url, key)
            base = "/api/v1/projects/bench"
            cases: dict[str, tuple[str | None, list[str]]] = {
                "health, no credential": (None, ["/api/v1/health/live"]),
                "whoami, key": (key, ["/api/v1/auth/whoami"]),
                "whoami, token": (token, ["/api/v1/auth/whoami"]),
                "projects": (key, ["/api/v1/projects"]),
                "artifacts, 100 a page": (key, [f"{base}/artifacts?limit=100"]),
                "search": (key, [f"{base}/search?q={urllib.parse.quote(query)}" for query in QUERIES]),
            }
            rows: list[list[str]] = []
            figures: dict[str, dict[str, float]] = {}
            for what, (credential, paths) in cases.items():
                took = latencies(url, credential, paths, options.seconds)
                rate = throughput(url, credential, paths, options.seconds, options.connections)
                p50, p95, p99 = (percentile(took, share) * 1000 for share in (0.5, 0.95, 0.99))
                figures[what] = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_second": rate}
                rows.append([what, f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}", f"{rate:.0f}"])
        figures["authentication"] = took_us = asyncio.run(authentication(Path(name, "home", "served"), key))
    report(
        f"one worker, {options.folder.name}",
        rows,
        ["", "p50 ms", "p95 ms", "p99 ms", f"requests/s, {options.connections} connections"],
    )
    print(f"\nOne check of a key in process: {took_us['warm_us']:.1f} µs warm, {took_us['cold_us']:.0f} µs cold")
    save(options.json, figures)


if __name__ == "__main__":
    main()
