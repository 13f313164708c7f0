"""Where an installation bends under the mix of requests of people and agents, and whether it grows while it works.

    python bench/load_mix.py [--topology one two nodes] [--rates 50 100 150 ...] [--seconds 10] [--json FILE]
    python bench/load_mix.py --soak 30 --rate 100 [--topology one]
    python bench/load_mix.py --compare 5 --rate 100
    python bench/load_mix.py --kinds --rate 40 [--topology one]
    python bench/load_mix.py --against OTHER/src [--rounds 5] [--requests 200] [--tenants 8] [--projects 6]

50 tenants with 10 projects of 20 files each; the mix is that of ``mix.py``. Topologies: ``one`` worker; ``two``, asked
in turn; two ``nodes`` behind nginx with the file of deploy/compose, TLS included. All on one PostgreSQL with durable
commits and one S3 server (SeaweedFS), which take the same cores, as does the generator: so the table has the CPU of
the servers alone, for each request. The knee is the highest rate at which all were answered, p95 was below 50 ms and
p99 below 150 ms. ``--soak`` keeps one rate for so many minutes and tells how resident memory and open files grew in ten
minutes, by least squares, without the first fifth. ``--compare`` asks one of two workers and both of them in turn, so
many rounds, and tells the CPU that a request costs either way. ``--kinds`` makes requests of one kind after the other
and tells the CPU of each, without what the server takes when nobody asks. ``--against`` makes requests of each kind,
three at a time, of a worker that runs the sources of another checkout and of one that runs these, in turn, and tells
the medians of the CPU that each took by the kernel's count: what to trust where others use the machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(1, str(Path(__file__).parents[1]))

from filling import home, open_files, status
from measure import machine, median, percentile, report, save
from mix import SHARES, Measured, Mix, found
from nodes import cpu
from reads import postgres

from tests.journeys.conftest import Server
from tests.nodes.conftest import started
from tests.nodes.nginx import Nginx
from tests.postgres import Postgres
from tests.real import SeaweedFS

P95_MS, P99_MS = 50.0, 150.0
RATES = (50, 100, 150, 200, 250, 300, 350, 400, 500, 600)
ADDRESS = "http://satchel.example"


@dataclass(frozen=True)
class Topology:
    name: str
    urls: list[str]
    nodes: list[Server]
    operator: str
    cold_seconds: float
    """From the start of the process to the open port, with nothing there."""
    database: Postgres
    certificate: str | None = None

    def taken(self) -> float:
        return sum(cpu(node) for node in self.nodes)

    def taken_by_database(self) -> float:
        """CPU seconds of PostgreSQL and its children, those that have ended too."""
        rows = self.database.run("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user")
        first = int(Path(f"/proc/{rows[0][0]}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        ticks = sum(_ticks(first)) + sum(sum(_ticks(int(child))[:2]) for child in children)
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        return sum(status(node.process.pid, "VmRSS") for node in self.nodes if node.process) / 1e6

    def files(self) -> int:
        return sum(open_files(node.process.pid) for node in self.nodes if node.process)


def _ticks(process: int) -> list[int]:
    """User and system time of a process, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return [0, 0, 0, 0]
    return [int(field) for field in fields[11:15]]


@contextmanager
def served(name: str, other: str | None = None) -> Iterator[Topology]:
    """``other`` are the sources that the first of two workers runs."""
    with ExitStack() as stack:
        place = home("mix", stack)
        place.chmod(0o755)
        for part in ("pg", "weed", "nodes", "nginx"):
            (place / part).mkdir()
        settings = stack.enter_context(postgres(place / "pg"))
        store = SeaweedFS(place / "weed")
        stack.callback(store.stop)
        store.start()
        proxy = Nginx(place / "nginx") if name == "nodes" else None
        database = Postgres(settings["SATCHEL_DATABASE_URL"])
        cluster = stack.enter_context(started(place / "nodes", database, store.bucket(), 0))
        cold = 0.0
        for number in range(1 if name == "one" else 2):
            own = {"SATCHEL_PUBLIC_URL": proxy.url} if proxy else {}
            own |= {"PYTHONPATH": other} if other and not number else {}
            node = cluster.new(SATCHEL_LOG_LEVEL="warning", **own)
            began = time.perf_counter()
            cluster.start(node)
            cold = cold or time.perf_counter() - began
        urls = [node.url for node in cluster.nodes]
        certificate = None
        if proxy is not None:
            stack.callback(proxy.stop)
            proxy.start([node.port for node in cluster.nodes])
            urls, certificate = [proxy.url], str(proxy.certificate)
        yield Topology(name, urls, cluster.nodes, cluster.operator, cold, database, certificate)


def line(topology: Topology, measured: Measured, taken: float, database: float = 0.0) -> dict[str, float]:
    every = measured.all or [float("inf")]
    return {
        "rate": measured.rate,
        "answered/s": measured.per_second,
        "p50 ms": percentile(every, 0.5),
        "p95 ms": percentile(every, 0.95),
        "p99 ms": percentile(every, 0.99),
        "failed": measured.failed,
        "CPU ms": 1_000 * taken / max(len(every), 1),
        "database CPU ms": 1_000 * database / max(len(every), 1),
        "RSS MB": topology.resident(),
        "fds": topology.files(),
    }


def holds(row: dict[str, float]) -> bool:
    """Whether everything was answered, soon enough."""
    kept_up = row["answered/s"] > 0.95 * row["rate"] and not row["failed"]
    return kept_up and row["p95 ms"] < P95_MS and row["p99 ms"] < P99_MS


async def climb(topology: Topology, mix: Mix, rates: Sequence[float], seconds: float) -> list[dict[str, float]]:
    """One line for each rate, until far more is asked than is answered."""
    rows = []
    await mix.warm()
    await mix.run(rates[0], seconds)
    for rate in rates:
        before, database = topology.taken(), await asyncio.to_thread(topology.taken_by_database)
        measured = await mix.run(rate, seconds)
        database = await asyncio.to_thread(topology.taken_by_database) - database
        rows.append(line(topology, measured, topology.taken() - before, database))
        if measured.per_second < 0.7 * rate:
            break
    await mix.close()
    return rows


def knee(rows: Sequence[dict[str, float]]) -> float:
    """The highest rate that held, if all below it did."""
    best = 0.0
    for row in rows:
        if not holds(row):
            break
        best = row["rate"]
    return best


async def soak(topology: Topology, mix: Mix, rate: float, minutes: float) -> dict[str, Any]:
    """One rate for a long time, sampled every half minute, and at least 20 times."""
    await mix.warm()
    piece = min(30.0, minutes * 60 / 20)
    samples: list[tuple[float, float, float]] = []
    total = Measured(rate)
    began = time.monotonic()
    while time.monotonic() - began < minutes * 60:
        measured = await mix.run(rate, piece)
        total.statuses += measured.statuses
        for what, values in measured.latencies.items():
            total.latencies.setdefault(what, []).extend(values)
        total.seconds += measured.seconds
        samples.append(((time.monotonic() - began) / 600, topology.resident(), topology.files()))
    await mix.close()
    warm = samples[len(samples) // 5 :]
    return {
        "minutes": minutes,
        **line(topology, total, 0.0),
        "RSS MB per 10 min": slope([(when, resident) for when, resident, _ in warm]),
        "fds per 10 min": slope([(when, files) for when, _, files in warm]),
        "samples": samples,
        "statuses": dict(total.statuses),
    }


async def compare(alone: Mix, both: Mix, topology: Topology, rate: float, seconds: float, rounds: int) -> list[float]:
    """CPU milliseconds of a request to one worker, and to two: medians of interleaved rounds."""
    costs: dict[int, list[float]] = {0: [], 1: []}
    await both.warm()
    for _ in range(rounds):
        for which, mix in enumerate((alone, both)):
            await mix.run(rate, seconds / 4)  # what the other made is followed
            before = topology.taken()
            measured = await mix.run(rate, seconds)
            costs[which].append(1_000 * (topology.taken() - before) / max(len(measured.all), 1))
    await alone.close()
    await both.close()
    return [median(costs[which]) for which in costs]


async def by_kind(topology: Topology, mix: Mix, rate: float, seconds: float) -> dict[str, tuple[float, float]]:
    """CPU milliseconds of the servers and of the database for a request of each kind, above what they take idle."""
    found: dict[str, tuple[float, float]] = {}
    await mix.warm()
    for name, _ in (("mix", 0), *SHARES):
        only = None if name == "mix" else name
        await mix.run(rate, seconds / 4, only)  # what the kind before made is followed
        before = await asyncio.to_thread(_both, topology)
        await asyncio.sleep(seconds / 4)
        rested = await asyncio.to_thread(_both, topology)
        idle = [4 * (now - was) for now, was in zip(rested, before, strict=True)]
        measured = await mix.run(rate, seconds, only)
        taken = [now - was for now, was in zip(await asyncio.to_thread(_both, topology), rested, strict=True)]
        share = measured.seconds / seconds
        server, database = (
            1_000 * (all_of_it - share * resting) / max(len(measured.all), 1)
            for all_of_it, resting in zip(taken, idle, strict=True)
        )
        found[name] = server, database
    await mix.close()
    return found


async def in_turn(topology: Topology, mixes: Sequence[Mix], requests: int, rounds: int) -> dict[str, list[list[float]]]:
    """CPU milliseconds of each server, and of the database for it, for a request of each kind."""
    for mix in mixes:
        await mix.warm()
    costs: dict[str, list[list[tuple[float, float]]]] = {name: [[], []] for name, _ in SHARES}
    for number in range(rounds + 1):
        for name, _ in SHARES:
            count = max(requests // 3, 30) if name == "push" else requests
            for which in (0, 1) if number % 2 else (1, 0):
                await mixes[which].at_once(count // 5, 3, name)  # what the other made is followed
                database, before = await asyncio.to_thread(topology.taken_by_database), spent(topology.nodes[which])
                measured = await mixes[which].at_once(count, 3, name)
                server = spent(topology.nodes[which]) - before
                database = await asyncio.to_thread(topology.taken_by_database) - database
                answered = max(len(measured.all), 1) / 1_000
                if number:  # the first makes both warm
                    costs[name][which].append((server / answered, database / answered))
    for mix in mixes:
        await mix.close()
    return {
        name: [[median([each[what] for each in taken]) for what in (0, 1)] for taken in both]
        for name, both in costs.items()
    }


def spent(node: Server) -> float:
    """CPU seconds of all threads of a server, to the nanosecond."""
    assert node.process is not None
    threads = Path(f"/proc/{node.process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _both(topology: Topology) -> tuple[float, float]:
    return topology.taken(), topology.taken_by_database()


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares."""
    middle, level = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - level) for x, y in points) / spread if spread else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", nargs="+", choices=("one", "two", "nodes"), default=["one", "two", "nodes"])
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--rate", type=float, default=100, help="of the soak, the comparison or the kinds")
    parser.add_argument("--compare", type=int, default=0, metavar="ROUNDS")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--against", metavar="SOURCES")
    parser.add_argument("--rounds", type=int, default=5, help="of --against")
    parser.add_argument("--requests", type=int, default=200, help="of a kind in each round")
    parser.add_argument("--json")
    given = parser.parse_args()
    print(machine())
    figures: dict[str, Any] = {}
    for name in ["two"] if given.compare or given.against else given.topology:
        with served(name, given.against) as topology:
            tenants = found(topology.urls[0] if not topology.certificate else topology.nodes[0].url,
                            topology.operator, given.tenants, given.projects, 20, 3_000)  # fmt: skip
            mix = Mix(topology.urls, tenants, cafile=topology.certificate)
            print(f"\n{name}: cold start {topology.cold_seconds:.2f} s, {mix_size(given)}")
            if given.compare:
                alone = Mix(topology.urls[:1], tenants)
                one, two = uvloop.run(compare(alone, mix, topology, given.rate, given.seconds, given.compare))
                figures["compared"] = {"one": one, "two": two}
                report("CPU of a request", [(f"{one:.2f}", f"{two:.2f}", f"{two / one:.2f}")], ("one", "two", "ratio"))
                continue
            if given.against:
                each = [Mix([url], tenants) for url in topology.urls]
                costs = uvloop.run(in_turn(topology, each, given.requests, given.rounds))
                figures["in turn"] = costs
                costs["the mix"] = [
                    [sum(share * costs[what][which][part] for what, share in SHARES) / 100 for part in (0, 1)]
                    for which in (0, 1)
                ]
                lines = [
                    (what, *(f"{value:.2f}" for one in both for value in one), f"{both[1][0] / both[0][0]:.2f}")
                    for what, both in costs.items()
                ]
                report("CPU ms of a request", lines, ("", "other", "database", "this", "database", "ratio"))
                continue
            if given.kinds:
                kinds = uvloop.run(by_kind(topology, mix, given.rate, given.seconds))
                figures[name] = kinds
                rows = [(what, f"{cpu_ms:.2f}", f"{base:.2f}") for what, (cpu_ms, base) in kinds.items()]
                report(f"{name}: a request of each kind", rows, ("", "CPU ms", "database CPU ms"))
                continue
            if given.soak:
                told = uvloop.run(soak(topology, mix, given.rate, given.soak))
                figures[name] = told
                shown = {key: value for key, value in told.items() if isinstance(value, float | int)}
                report(f"{name}: soak", [[f"{value:.1f}" for value in shown.values()]], list(shown))
                print(f"\nstatuses: {told['statuses']}")
                continue
            climbed = uvloop.run(climb(topology, mix, given.rates, given.seconds))
            figures[name] = {"cold start s": topology.cold_seconds, "rows": climbed, "knee": knee(climbed)}
            report(name, [[f"{value:.1f}" for value in row.values()] for row in climbed], list(climbed[0]))
            print(f"\nknee: {knee(climbed):.0f} requests a second")
    save(given.json, figures)


def mix_size(given: argparse.Namespace) -> str:
    return f"{given.tenants} tenants with {given.projects} projects of 20 files"


if __name__ == "__main__":
    main()
