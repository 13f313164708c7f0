"""Object stores side by side, each given by its URL: rates of the seam itself, and the first sync of a folder to each.

    python bench/store.py FOLDER [--store URL ...] [--rounds 3] [--json FILE]

Without ``--store``: a directory of this disk, and a SeaweedFS (S3) started for the occasion from the development
packages. Credentials of a bucket come from the environment, as the server takes them; the bench leaves what it wrote
below a random prefix of it. Every round takes each store once, in turn, and the first one is what the others are
compared with. A proxy that counts stands before SeaweedFS in one sync of its own, which is not timed: of 100 MB in
8,000 files it counted 12 puts, the server's first start included, where at most 60 are wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[1]))  # the real services of the tests

from measure import machine, median, report, run, satchel_command, save, seconds
from serving import satchel_served

from satchel.store.objectstore import ObjectStore
from satchel.store.urls import open_store
from tests.real import FlakyProxy, SeaweedFS

PACK_BYTES = 8 << 20
PACKS, SMALL, AT_ONCE = 8, 200, 8
STEPS = ("put 8 MiB", "get 8 MiB", "put 1 KiB", "get 1 KiB", "get 1 KiB of 8 MiB", "list")
UNITS = ("MB/s", "MB/s", *["/s"] * 4)


def fresh(url: str) -> str:
    """A place of its own at the same store."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/bench-{secrets.token_hex(6)}"))


async def rates(store: ObjectStore) -> dict[str, float]:
    """Megabytes (of packs) or operations (of the rest) a second."""
    pack, small = os.urandom(PACK_BYTES), os.urandom(1_024)
    packs = [f"packs/{n}" for n in range(PACKS)]
    names = [f"small/{n}" for n in range(SMALL)]

    async def of(calls: list[object], amount: float) -> float:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(call: object) -> None:
            async with turns:
                await call  # type: ignore[misc]

        began = time.perf_counter()
        await asyncio.gather(*map(one, calls))
        return amount / (time.perf_counter() - began)

    async def listed() -> None:
        assert len([None async for _ in store.list("small/")]) == SMALL

    megabytes = PACKS * PACK_BYTES / 1e6
    return {
        STEPS[0]: await of([store.put(name, pack, create=True) for name in packs], megabytes),
        STEPS[1]: await of([store.get(name) for name in packs], megabytes),
        STEPS[2]: await of([store.put(name, small, create=True) for name in names], SMALL),
        STEPS[3]: await of([store.get(name) for name in names], SMALL),
        STEPS[4]: await of([store.get(packs[n % PACKS], offset=n * 4_096, length=1_024) for n in range(SMALL)], SMALL),
        STEPS[5]: await of([listed()], SMALL),
    }


def first_sync(source: Path, url: str) -> float:
    """Seconds of the first `satchel sync` of the folder to a fresh server over the store."""
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        folder = Path(name, "folder")
        subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
        os.sync()
        os.environ["SATCHEL_STORE_URL"] = url
        try:
            with satchel_served(Path(name, "home")) as (address, env, _):
                env.pop("SATCHEL_STORE_URL")
                run([*satchel_command(), "init"], cwd=folder, env=env)
                run([*satchel_command(), "remote", "add", address], cwd=folder, env=env)
                return seconds(lambda: run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=env))
        finally:
            del os.environ["SATCHEL_STORE_URL"]


@contextmanager
def seaweedfs() -> Iterator[SeaweedFS]:
    with tempfile.TemporaryDirectory(prefix="satchel-weed-") as name:
        server = SeaweedFS(Path(name))
        server.start()
        try:
            os.environ |= server.bucket().env
            yield server
        finally:
            server.stop()


def measure(urls: dict[str, str], source: Path, rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in urls}
    for _ in range(rounds):
        for name, url in urls.items():
            for step, rate in asyncio.run(rates(open_store(fresh(url)))).items():
                found[name].setdefault(step, []).append(rate)
        for name, url in urls.items():
            found[name].setdefault("first sync", []).append(first_sync(source, fresh(url)))
    return {name: {step: median(values) for step, values in steps.items()} for name, steps in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", metavar="URL", action="append", help="may be repeated; the first is the measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    asked: dict[str, int] = {}
    with ExitStack() as stack:
        if options.store:
            urls = {url.partition("?")[0]: url for url in options.store}
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="satchel-store-")))
            weed = stack.enter_context(seaweedfs())
            urls = {"file://": directory.as_uri(), "s3:// (SeaweedFS)": weed.bucket().url}
            proxy = stack.enter_context(FlakyProxy(weed.port))
            first_sync(options.folder, weed.bucket().through(proxy).url)
            asked = dict(proxy.counts())
        found = measure(urls, options.folder, options.rounds)
    base = next(iter(found.values()))
    rows = []
    for name, figures in found.items():
        shown = [f"{figures[step]:,.0f} {unit}" for step, unit in zip(STEPS, UNITS, strict=True)]
        rows.append(
            [name, *shown, f"{figures['first sync']:.2f} s ({figures['first sync'] / base['first sync']:.2f}x)"]
        )
    report(
        f"Stores; medians of {options.rounds}, {AT_ONCE} at once",
        rows,
        ["", *STEPS, f"first sync of {options.folder.name}"],
    )
    if asked:
        print(f"\nRequests of a server from its first start to the end of that sync, on s3://: {asked}")
    save(options.json, {"stores": found, "requests": asked})


if __name__ == "__main__":
    main()
