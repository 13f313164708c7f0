"""What one tenant notices of another that asks for ten times its fair share and more.

    python bench/fairness.py FOLDER [--rounds 3] [--seconds 4] [--json FILE]

One `satchel serve`, two tenants, the folder synced to each. The quiet one asks 30 times a second: a list of projects, a
page of artifacts, a search, in turn. The noisy one either has a limit of as many requests and sends ten times that,
measured once its limit is reached; or it has none, and so many connections that ask again as soon as they are answered:
8, which keep the server busy, 80, and 400, most of which are refused. Rounds alternate between alone and beside the
noisy one; reported are the quiet one's latencies and the ratio of the medians of p95.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from api import stored_key
from load import Load, result, start
from measure import machine, median, percentile, report, run, satchel_command, save
from serving import satchel_served

RATE = 30.0


class Noise(NamedTuple):
    """What the noisy tenant does."""

    connections: int
    rate: float = 0
    """Requests a second; 0 asks again as soon as it was answered."""
    limit: int | None = None
    """Requests a minute it may make."""
    warm: float = 0.5
    """Seconds before it is measured beside."""


NOISES = {
    "ten times its limit": Noise(40, 10 * RATE, int(60 * RATE), 60 * RATE / (10 * RATE) + 2),
    "no limit, 8 connections": Noise(8),
    "no limit, 80 connections": Noise(80),
    "no limit, 400 connections": Noise(400),
}
PATHS = ("/api/v1/projects", "/api/v1/projects/bench/artifacts?limit=20", "/api/v1/projects/bench/search?q=design")


def post(url: str, key: str, path: str, body: object) -> dict[str, str]:
    return call("POST", url, key, path, body)


def call(method: str, url: str, key: str, path: str, body: object = None) -> dict[str, str]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/v1{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request) as answer:
        made: dict[str, str] = json.load(answer)
    return made


def quiet(url: str, key: str, seconds: float) -> Load:
    return result(start(url, PATHS, key, connections=1, seconds=seconds, rate=RATE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
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
            noisy_key = stored_key(Path(name, "home"))
            other = post(url, noisy_key, "/admin/tenants", {"slug": "quiet", "name": "Quiet"})["adminKey"]
            second = {**env, "SATCHEL_URL": url, "SATCHEL_KEY": other}
            shutil.rmtree(folder / ".satchel")
            run([*satchel_command(), "init"], cwd=folder, env=second)
            run([*satchel_command(), "remote", "add", url], cwd=folder, env=second)
            run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=second)
            measure(options, url, noisy_key, other)


def limit(url: str, key: str, requests: int | None) -> None:
    """Let the tenant of an operator's key make so many requests a minute."""
    tenant = call("GET", url, key, "/tenant")["id"]
    call("PATCH", url, key, f"/admin/tenants/{tenant}", {"quota": {"requestsPerMinute": requests}})


def measure(options: argparse.Namespace, url: str, noisy_key: str, quiet_key: str) -> None:
    quiet(url, quiet_key, 1)
    alone: list[float] = []
    beside: dict[str, list[float]] = {what: [] for what in NOISES}
    loads: dict[str, list[Load]] = {what: [] for what in NOISES}
    alone_p50: list[float] = []
    for what, noise in NOISES.items():  # what has a limit comes first: it is taken away where none is
        for _ in range(options.rounds):
            found = quiet(url, quiet_key, options.seconds)
            alone.append(percentile(found.latencies, 0.95))
            alone_p50.append(percentile(found.latencies, 0.5))
            if noise.limit is None or not loads[what]:
                limit(url, noisy_key, noise.limit)
            warm = noise.warm if not loads[what] else 0.5
            seconds = warm + options.seconds + 1
            noisy = start(url, PATHS, noisy_key, connections=noise.connections, seconds=seconds, rate=noise.rate)
            time.sleep(warm)
            found = quiet(url, quiet_key, options.seconds)
            beside[what].append(percentile(found.latencies, 0.95))
            loads[what].append(result(noisy))
        if noise.limit is not None:
            time.sleep(61)  # until the operator's key is let in again
    rows = [["alone", f"{median(alone_p50):.1f}", f"{median(alone):.1f}", "1", "-", "-"]]
    figures = {"alone_p95_ms": median(alone)}
    for what, values in beside.items():
        served = median([load.per_second for load in loads[what]])
        refused = median([load.statuses.get("429", 0) / load.seconds for load in loads[what]])
        figures[f"{what}_p95_ms"], ratio = median(values), median(values) / median(alone)
        rows.append([what, "", f"{median(values):.1f}", f"{ratio:.2f}", f"{served:.0f}", f"{refused:.0f}"])
    report(
        "a quiet tenant beside a noisy one",
        rows,
        ["noisy tenant", "p50 ms", "p95 ms", "ratio of p95", "answered to the noisy one /s", "refused /s"],
    )
    save(options.json, figures)


if __name__ == "__main__":
    main()
