"""What sealing costs: its share of a server's CPU in a first sync, and one artifact read from a cold pack.

    python bench/seal.py FOLDER [--reads 300] [--json FILE]

The share: a `satchel serve` on loopback whose `seal` and `open_sealed` count the CPU time of their thread, against the
CPU time of the whole process between the beginning and the end of `satchel sync --to-cloud` of the folder. Opening
happens when content is read, so the server then answers one search, for which it reads and opens everything.
The read: `Vault.read_object` over the durable local store, keyring warm, one file of the folder after another at
random; cold means that the kernel was told to forget the pack's pages before (Linux). CPU is what the process used
meanwhile: on a busy machine it tells more than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from measure import machine, median, percentile, report, run, satchel_command, save
from serving import free_port, server

from satchel.objects.frame import make_frames, similarity_key
from satchel.objects.ids import ObjectId, ProjectId, TenantId, object_id
from satchel.store.keyring import Keyring
from satchel.store.packs import Vault
from satchel.store.places import Place
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store

SHARE_AIM, READ_AIM_MS = 15.0, 3.0
TENANT, PROJECT = TenantId("ten_bench"), ProjectId("prj_bench")

# A server that counts, and writes down what it counted so far whenever it is sent SIGUSR1.
COUNTING = """
import json, os, signal, sys, time
from pathlib import Path
import satchel.store.packs as packs
told, counted = Path(sys.argv.pop(1)), {}
def counting(name, work):
    counted[name] = [0.0, 0]
    def counts(*given, **more):
        started = time.thread_time()
        try:
            return work(*given, **more)
        finally:
            counted[name][0] += time.thread_time() - started
            counted[name][1] += 1
    return counts
packs.seal, packs.open_sealed = counting("seal", packs.seal), counting("open", packs.open_sealed)
def tell(*_):
    text = json.dumps({"cpu": time.process_time(), **counted})
    told.with_suffix(".new").write_text(text)
    os.replace(told.with_suffix(".new"), told)
signal.signal(signal.SIGUSR1, tell)
from satchel.cli.main import main
main()
"""


class Spent(NamedTuple):
    """CPU seconds of a server so far: all, sealing, opening; and how often it sealed and opened."""

    cpu: float
    seal: float
    open: float
    seals: int
    opens: int

    def since(self, before: Spent) -> Spent:
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def parts(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """Seconds and times, of sealing and of opening."""
        return (self.seal, self.seals), (self.open, self.opens)

    @property
    def share(self) -> float:
        """Percent of all."""
        return 100 * (self.seal + self.open) / self.cpu


def ask(process: subprocess.Popen[str], told: Path) -> Spent:
    told.unlink(missing_ok=True)
    process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while not told.exists():
        if time.monotonic() > deadline:
            sys.exit("the server did not tell what it counted")
        time.sleep(0.01)
    figures = json.loads(told.read_text())
    return Spent(figures["cpu"], figures["seal"][0], figures["open"][0], figures["seal"][1], figures["open"][1])


def shares(source: Path) -> dict[str, Spent]:
    """What a first sync, and a first question after it, cost the server."""
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        place, port = Path(name), free_port()
        folder, told, url = place / "folder", place / "told.json", f"http://127.0.0.1:{port}"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        env = {**os.environ, "HOME": str(place / "home"), "NO_COLOR": "1"}
        env |= {f"XDG_{kind}_HOME": str(place / "home" / kind.lower()) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
        data = str(place / "served")
        command = [sys.executable, "-c", COUNTING, str(told), "serve", "--data", data, "--port", str(port)]
        with server(command, f"{url}/api/v1/health/live", env) as process:
            assert process.stdout is not None
            key = next(word for line in process.stdout for word in line.split() if word.startswith("stl_"))
            login = [*satchel_command(), "login", url, "--key", "-"]
            subprocess.run(login, input=key, text=True, env=env, check=True, capture_output=True)
            run([*satchel_command(), "init"], cwd=folder, env=env)
            run([*satchel_command(), "remote", "add", url], cwd=folder, env=env)
            before = ask(process, told)
            run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=env)
            synced = ask(process, told)
            question = urllib.request.Request(
                f"{url}/api/v1/search", b'{"query": "the"}',
                {"authorization": f"Bearer {key}", "content-type": "application/json"},
            )  # fmt: skip
            urllib.request.urlopen(question, timeout=300).close()
            return {"first sync": synced.since(before), "first question": ask(process, told).since(synced)}


def reads(source: Path, count: int) -> dict[str, list[float]]:
    """Milliseconds of ``count`` reads of single files, cold and warm."""
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        files = [path for path in source.rglob("*") if path.is_file() and not {".git", ".satchel"} & set(path.parts)]
        files.sort(key=lambda path: similarity_key(path.as_posix(), path.read_bytes()[:64]))
        return asyncio.run(_reads(files, count, Path(name)))


async def _reads(files: list[Path], count: int, place: Path) -> dict[str, list[float]]:
    store = open_store(place.as_uri())
    keyring = Keyring(store, RootKey(os.urandom(32)), clock=lambda: time.time_ns() // 1_000_000, random=os.urandom)
    await keyring.found()
    await keyring.create(TENANT)
    vault = Vault(store, keyring, random=os.urandom)
    writer = vault.writer(TENANT, PROJECT)
    for frame in make_frames((object_id(data), data) for data in (path.read_bytes() for path in files)):
        await writer.add(frame)
    by_object: dict[ObjectId, list[Place]] = {}
    for found in [found for pack in await writer.finish() for found in pack.places]:
        by_object.setdefault(found.object, []).append(found)
    chosen = random.Random(8128).sample(sorted(by_object), min(count, len(by_object)))
    took: dict[str, list[float]] = {"cold": [], "cold, CPU": [], "warm": [], "warm, CPU": []}
    for kind in ("cold", "warm"):
        for wanted in chosen:
            places = by_object[wanted]
            if kind == "cold":
                for pack in {found.pack for found in places}:
                    forget(place / f"tenants/{TENANT}/projects/{PROJECT}/packs/{pack}")
            started, spent = time.perf_counter(), time.process_time()
            await vault.read_object(TENANT, PROJECT, places)
            took[kind].append((time.perf_counter() - started) * 1000)
            took[f"{kind}, CPU"].append((time.process_time() - spent) * 1000)
    return took


def forget(path: Path) -> None:
    """Ask the kernel to drop a file from memory, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reads", type=int, default=300)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    spent = shares(options.folder)
    rows = [
        [what, f"{cost.cpu:.2f} s", *(f"{s * 1000:.0f} ms ({n:,})" for s, n in cost.parts), f"{cost.share:.1f} %"]
        for what, cost in spent.items()
    ]
    title = f"CPU of the server over {options.folder.name}; sealing and opening should be at most {SHARE_AIM:.0f} %"
    report(title, rows, ["", "all", "sealing (times)", "opening (times)", "share"])
    took = reads(options.folder, options.reads)
    rows = [[kind, f"{median(times):.2f} ms", f"{percentile(times, 0.95):.2f} ms"] for kind, times in took.items()]
    title = f"one artifact from a pack on local disk, {options.reads} reads; at most {READ_AIM_MS:.0f} ms cold"
    report(title, rows, ["pack", "median", "95 %"])
    figures = {
        "share": {what: cost._asdict() | {"percent": cost.share} for what, cost in spent.items()},
        "read_ms": took,
    }
    save(options.json, figures)


if __name__ == "__main__":
    main()
