"""What an installation takes per 1,000 projects and per GB of text, and how long its backup and restore take.

    python bench/capacity.py [--catalog sqlite|postgres] [--empty 1000] [--projects 40] [--megabytes 1] [--json FILE]

Makes empty projects and measures the catalog's growth, the server's CPU and memory; then pushes new text (files of
5 KB) into some, searches each once, and measures the same with the bucket and the indexes. On SQLite the drill of
docs/guide/recover.md follows: backup, the same with contents, restore into an empty directory, verification of
everything, and a catalog made from the bucket alone. CPU is the server's own, so another load on the machine does not
count; times of the drill are wall clock and CPU.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from api import stored_key
from corpus import Writer
from filling import folder_bytes, home, push, status, texts, words
from measure import machine, report, run, satchel_command, save
from reads import cpu_seconds, postgres
from serving import satchel_served

from satchel.remote import FixedToken, Remote
from tests.postgres import Postgres

FILE_BYTES = 5_000


def catalog_bytes(settings: dict[str, str], data: Path) -> int:
    """What the catalog takes on disk."""
    if "SATCHEL_DATABASE_URL" in settings:
        database = Postgres(settings["SATCHEL_DATABASE_URL"])
        return int(database.run("SELECT pg_database_size(current_database())")[0][0])
    return sum(path.stat().st_size for path in data.glob("catalog.db*"))


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Seconds and CPU seconds of a command."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def drill(place: Path, env: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Backup and recovery of what lies in ``place``, on a new data directory."""
    served, backups, admin = place / "served", (place / "backups").as_uri(), [*satchel_command(), "admin"]
    of = ["--data", str(served)]
    found = {"backup": timed([*admin, "backup", "--to", backups, *of], env)}
    found["backup with contents"] = timed([*admin, "backup", "--objects", "--to", backups, *of], env)
    listed = subprocess.run(
        [*admin, "backup", "list", "--to", backups, *of, "--json"], env=env, capture_output=True, text=True, check=True
    ).stdout
    newest = listed[listed.index("bak_") :].split('"')[0]
    bucket = {**env, "SATCHEL_STORE_URL": (served / "store").as_uri(), "SATCHEL_ROOT_KEY": str(served / "root.key"),
              "SATCHEL_BACKUP_URL": backups}  # fmt: skip
    restored, anew = ["--data", str(place / "drill")], ["--data", str(place / "anew")]
    found["restore"] = timed([*admin, "restore", newest, *restored], bucket)
    found["verify everything"] = timed([*admin, "verify", "--full", *restored], bucket)
    found["rebuild without a backup"] = timed([*admin, "rebuild-catalog", *anew], bucket)
    return found


def measured(given: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        place = home("capacity", stack)
        settings: dict[str, str] = {}
        if given.catalog == "postgres":
            folder = home("pg", stack)
            folder.chmod(0o755)
            settings = stack.enter_context(postgres(folder))
        os.environ.update(settings)
        serving = ExitStack()
        url, env, process = serving.enter_context(satchel_served(place))
        data = place / "served"
        remote = Remote(url, FixedToken(stored_key(place)))
        found: dict[str, Any] = {"cold start": {"RSS MB": status(process, "VmRSS") / 1e6}}

        def grown(what: str, units: float, work: Callable[[], None]) -> None:
            before = cpu_seconds(process), catalog_bytes(settings, data), folder_bytes(data / "store")
            kept, resident = folder_bytes(data / "cache"), status(process, "VmRSS")
            work()
            found[what] = {
                "CPU s": (cpu_seconds(process) - before[0]) / units,
                "catalog MB": (catalog_bytes(settings, data) - before[1]) / 1e6 / units,
                "bucket MB": (folder_bytes(data / "store") - before[2]) / 1e6 / units,
                "index MB": (folder_bytes(data / "cache") - kept) / 1e6 / units,
                "RSS MB": (status(process, "VmRSS") - resident) / 1e6 / units,
            }

        writer = Writer(1)
        files = int(given.megabytes * 1e6 / FILE_BYTES)
        trees = [texts(writer, files, FILE_BYTES) for _ in range(given.projects)]
        gigabytes = sum(len(text) for tree in trees for text in tree.values()) / 1e9

        def fill() -> None:
            for number, tree in enumerate(trees):
                push(remote, f"empty-{number}", tree)

        def index() -> None:
            for number in range(given.projects):
                remote.search(words(writer), projects=[f"empty-{number}"])

        def empty() -> None:
            for number in range(given.empty):
                remote.create_project(f"empty-{number}")

        grown("1,000 projects", given.empty / 1_000, empty)
        grown("1 GB pushed", gigabytes, fill)
        grown("1 GB indexed", gigabytes, index)
        remote.close()
        serving.close()
        for name in settings:
            os.environ.pop(name, None)
        if not settings:
            found["drill"] = drill(place, env)
            found["drilled"] = {"projects": given.empty, "megabytes": gigabytes * 1e3}
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--empty", type=int, default=1_000)
    parser.add_argument("--projects", type=int, default=40)
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--json")
    given = parser.parse_args()
    print(machine())
    found = measured(given)
    sizes = {what: row for what, row in found.items() if what.startswith("1")}
    report(
        f"what it takes, catalog on {given.catalog}",
        [(what, *(f"{value:.1f}" for value in row.values())) for what, row in sizes.items()],
        ("per", *next(iter(sizes.values()))),
    )
    print(f"\nresident at the start: {found['cold start']['RSS MB']:.0f} MB")
    if "drill" in found:
        of = found["drilled"]
        report(
            f"the drill, {of['projects']:,} projects, {of['megabytes']:.0f} MB of text",
            [(what, f"{wall:.1f}", f"{cpu:.1f}") for what, (wall, cpu) in found["drill"].items()],
            ("step", "seconds", "CPU s"),
        )
    save(given.json, found)


if __name__ == "__main__":
    main()
