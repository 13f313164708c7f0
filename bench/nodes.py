"""Three nodes on one PostgreSQL and one S3: how soon all act on a change that one made, and what waiting for it costs.

    python bench/nodes.py [--trials 40] [--idle 20] [--json FILE]

For each kind of change: seconds from the answer to the change until the last node refused, and until the last request
was sent that was still allowed (it may not be above one second). Then the CPU that each idle node takes for asking
the catalog for changes five times a second, on PostgreSQL and, for a server by itself, on SQLite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # the cluster of the tests

from measure import machine, percentile, report, save
from reads import postgres

from tests.journeys.conftest import Server
from tests.nodes.conftest import Cluster, started
from tests.nodes.reach import run, trials
from tests.postgres import Postgres
from tests.real import SeaweedFS

TICKS = os.sysconf("SC_CLK_TCK")


def cpu(node: Server) -> float:
    """Seconds of processor time a node took so far."""
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle(nodes: Sequence[Server], seconds: float) -> float:
    """The share of one core that a node takes when nobody asks it anything, in percent."""
    before = [cpu(node) for node in nodes]
    time.sleep(seconds)
    return 100 * sum(cpu(node) - was for node, was in zip(nodes, before, strict=True)) / len(nodes) / seconds


def reached(cluster: Cluster, count: int) -> dict[str, dict[str, float]]:
    found = {}
    for what, trial in trials(cluster).items():
        times = [run(trial()) for _ in range(count)]
        refused, allowed = [each.refused for each in times], [each.allowed for each in times]
        found[what] = {
            "refused p50": percentile(refused, 0.5),
            "refused p99": percentile(refused, 0.99),
            "allowed p50": percentile(allowed, 0.5),
            "allowed max": max(allowed),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--idle", type=float, default=20)
    parser.add_argument("--json")
    given = parser.parse_args()
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="satchel-nodes-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("pg", "weed", "nodes", "alone"):
            (folder / name).mkdir()
        settings = stack.enter_context(postgres(folder / "pg"))
        store = SeaweedFS(folder / "weed")
        stack.callback(store.stop)
        store.start()
        database = Postgres(settings["SATCHEL_DATABASE_URL"])
        cluster = stack.enter_context(started(folder / "nodes", database, store.bucket(), 3))
        alone = Server(folder / "alone")
        stack.callback(alone.close)
        alone.start()
        shares = {"PostgreSQL": idle(cluster.nodes, given.idle), "SQLite": idle([alone], given.idle)}
        found = reached(cluster, given.trials)
    rows = [(what, *(f"{value:.3f}" for value in times.values())) for what, times in found.items()]
    report(f"seconds until three nodes act, {given.trials} trials each", rows, ("change", *next(iter(found.values()))))
    report("idle node", [(name, f"{share:.2f}") for name, share in shares.items()], ("catalog", "% of a core"))
    save(given.json, {"reached": found, "idle": shares})


if __name__ == "__main__":
    main()
