"""What reading through a server costs, on SQLite and on PostgreSQL, beside a bare FastAPI endpoint in the same run.

    python bench/reads.py FOLDER [--seconds 3] [--rounds 3] [--json FILE]

One `satchel serve` worker with the folder and nine more projects. Printed are the server's CPU for each authenticated
list of projects and for each answer of the bare endpoint, in turn; the cost of warm authentication, authorization and
rate check in process; p50 of each read on both databases, one at a time; and p50, p95 and p99 of all reads together at
half of the load that saturates the server, from the time each was due: the same nine again and again, as agents ask,
and 5,000 that are all different, none of which was answered before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from api import stored_key
from load import Load, result, start
from measure import machine, median, percentile, report, run, satchel_command, save
from serving import free_port, satchel_served, server

from satchel.config.server import ServerSettings, server_settings
from satchel.objects.ids import PrincipalId
from satchel.server.cloud import open_cloud
from tests.postgres import SERVING, Cluster, make_roles

LIST = "/api/v1/projects"
BASE = "/api/v1/projects/bench"
READS = {
    "projects": LIST,
    "project": BASE,
    "artifacts": f"{BASE}/artifacts?limit=100",
    "search": f"{BASE}/search?q=design",
    "context": f"{BASE}/context",
    "tasks": f"{BASE}/tasks",
    "versions": f"{BASE}/versions",
    "whoami": "/api/v1/auth/whoami",
    "tenant": "/api/v1/tenant",
}


DIFFERENT = 5_000


def different(folder: Path) -> list[str]:
    """Reads of which none is like another: searches for pairs of the folder's words, and pages of other lengths."""
    text = " ".join(path.read_text(errors="replace") for path in sorted(folder.rglob("*.md"))[:200])
    words = sorted(set(re.findall(r"[a-z]{5,12}", text)))
    chance = random.Random(1)
    lists = [f"{LIST}?limit={n}" for n in range(1, 1_001)]
    for what in ("artifacts", "tasks", "versions"):
        lists += [f"{BASE}/{what}?limit={n}" for n in range(1, 1_001)]
    searches = [f"{BASE}/search?q={'+'.join(chance.sample(words, 2))}" for _ in range(DIFFERENT - len(lists))]
    found = [*lists, *searches]
    chance.shuffle(found)
    return found


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of its own with durable commits; gives the settings that serve on it."""
    from satchel.catalog.scope import Catalog

    cluster = Cluster(folder, "fsync=on", "synchronous_commit=on", "full_page_writes=on")
    cluster.start()
    try:
        database = cluster.database
        asyncio.run(make_roles(database.admin))
        owner = database.owner.split("//")[1].split(":")[0]
        database.run(f"ALTER SCHEMA public OWNER TO {owner}", f"GRANT CREATE ON DATABASE postgres TO {owner}")
        asyncio.run(Catalog.migrate(database.owner, serving=SERVING))
        yield {"SATCHEL_DATABASE_URL": database.url}
    finally:
        cluster.stop()


@contextmanager
def served(folder: Path, home: Path, settings: dict[str, str]) -> Iterator[tuple[str, str, int]]:
    """A server that has the folder; gives its address, a key and its process id."""
    os.environ.update(settings)
    try:
        with satchel_served(home) as (url, env, process):
            client = {name: value for name, value in env.items() if name not in settings}
            shutil.rmtree(folder / ".satchel", ignore_errors=True)
            for command in (["init"], ["remote", "add", url], ["sync", "--to-cloud", "--quiet"]):
                run([*satchel_command(), *command], cwd=folder, env=client)
            key = stored_key(home)
            for number in range(9):
                create(url, key, f"more-{number}")
            yield url, key, process
    finally:
        for name in settings:
            os.environ.pop(name, None)


def create(url: str, key: str, slug: str) -> None:
    from fairness import post

    post(url, key, "/projects", {"slug": slug})


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(url: str, key: str, process: int, seconds: float) -> float:
    """Microseconds of CPU for each list of projects."""
    before = cpu_seconds(process)
    load = result(start(url, [LIST], key, connections=2, seconds=seconds))
    return (cpu_seconds(process) - before) / len(load.latencies) * 1e6


def each(url: str, key: str, seconds: float) -> dict[str, float]:
    """p50 of each read, one at a time."""
    found = {}
    for what, path in READS.items():
        result(start(url, [path], key, connections=1, seconds=0.3))
        load = result(start(url, [path], key, connections=1, seconds=seconds))
        found[what] = percentile(load.latencies, 0.5)
    return found


def half_load(url: str, key: str, paths: list[str], seconds: float) -> tuple[float, Load]:
    """What saturates the server, and the reads at half of it; those at half are others where there are enough."""
    most = result(start(url, paths[: len(paths) // 2 or None], key, connections=16, seconds=seconds)).per_second
    rest = paths[len(paths) // 2 :] if len(paths) > len(READS) else paths
    seconds = min(2 * seconds, len(rest) / (most / 2)) if len(paths) > len(READS) else 2 * seconds
    return most, result(start(url, rest, key, connections=16, seconds=seconds, rate=most / 2))


async def warm(settings: ServerSettings, key: str, rounds: int = 20_000) -> float:
    """Microseconds of one warm check of a key with a rate, its authorization and its count."""
    from satchel.auth.policy import Action, decide
    from satchel.objects.ids import ProjectId

    async with open_cloud(settings) as cloud:
        header, project = f"Bearer {key}", ProjectId("prj_x")
        await cloud.watch.listen()

        async def once() -> None:
            checked = await cloud.authenticator.check(header)
            who = checked.principal
            cloud.rates.spend(who.tenant, 10_000_000, PrincipalId(who.id), 10_000_000).enforce()
            decide(who, Action.PROJECT_READ, project)

        await once()
        took = []
        for _ in range(20):
            began = time.process_time()
            for _ in range(rounds // 20):
                await once()
            took.append((time.process_time() - began) / (rounds // 20) * 1e6)
            await cloud.watch.listen()
    return median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name, ExitStack() as stack:
        os.chmod(name, 0o755)
        folder = Path(name, "bench")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        small = stack.enter_context(served(folder, Path(name, "sqlite"), {}))
        port = free_port()
        bare_url = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(Path(__file__).with_name("bare.py")), str(port), "10"]
        bare: subprocess.Popen[str] = stack.enter_context(server(command, bare_url, dict(os.environ)))
        costs: dict[str, list[float]] = {"bare FastAPI": [], "SQLite": [], "PostgreSQL": []}
        Path(name, "pg").mkdir()
        database = stack.enter_context(postgres(Path(name, "pg")))
        large = stack.enter_context(served(folder, Path(name, "postgres"), database))
        for _ in range(options.rounds):
            costs["bare FastAPI"].append(cost(bare_url, "", bare.pid, options.seconds))
            costs["SQLite"].append(cost(*small, options.seconds))
            costs["PostgreSQL"].append(cost(*large, options.seconds))
        base = median(costs["bare FastAPI"])
        rows = [[what, f"{median(took):.0f}", f"{median(took) / base:.2f}"] for what, took in costs.items()]
        report("CPU for a list of 10 projects", rows, ["", "µs of the server's CPU", "ratio"])
        figures["list_cpu_us"] = {what: median(took) for what, took in costs.items()}
        one, two = each(*small[:2], options.seconds / 3), each(*large[:2], options.seconds / 3)
        rows = [[what, f"{one[what]:.2f}", f"{two[what]:.2f}", f"{two[what] - one[what]:+.2f}"] for what in READS]
        report("p50 of a read, one at a time", rows, ["", "SQLite ms", "PostgreSQL ms", "difference"])
        figures["p50_ms"] = {"SQLite": one, "PostgreSQL": two}
        rows = []
        kinds = {"the same": list(READS.values()), "all different": different(folder)}
        for (engine, (url, key, _)), (kind, paths) in product(
            (("SQLite", small), ("PostgreSQL", large)), kinds.items()
        ):
            most, load = half_load(url, key, paths, options.seconds)
            what = f"{engine}, {kind}"
            shares = [percentile(load.latencies, share) for share in (0.5, 0.95, 0.99)]
            figures[f"half_load_{what}"] = dict(zip(("p50", "p95", "p99"), shares, strict=True))
            rows.append([what, f"{most:.0f}", f"{load.per_second:.0f}", *(f"{share:.1f}" for share in shares)])
        header = ["", "saturated /s", "measured at /s", "p50 ms", "p95 ms", "p99 ms"]
        report("all reads in turn, at half the load that saturates", rows, header)
        data = Path(name, "sqlite", "served")
        took_us = asyncio.run(warm(server_settings({"data": data}, env={}), small[1]))
        figures["warm_check_us"] = took_us
        print(f"\nWarm authentication, authorization and rate check: {took_us:.1f} µs")
    save(options.json, figures)


if __name__ == "__main__":
    main()
