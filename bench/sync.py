"""First, no-op and edit sync of a folder: Satchel beside git and restic, interleaved, whole commands, medians.

    python bench/sync.py FOLDER [FOLDER ...] [--rounds 3] [--json FILE]

Satchel syncs over HTTP to a `satchel serve` on loopback, with an API key, sealing and fsync on. git runs add, commit
and push to a bare repository on the same disk (no network: this favours git). restic backs up to a repository served
over loopback HTTP by `rclone serve restic` where rclone is installed, else straight to disk (this favours restic).
Every round starts from empty stores and, for Satchel, without its cache of hashes. The edit changes one line in each
of 13 files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpus import edit
from measure import machine, median, report, run, satchel_command, save, seconds

EDITED_FILES = 13
STEPS = ("first", "no-op", "edit")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[str], limit: float = 30) -> None:
    """Until ``url`` answers anything at all; stop the bench if the process ends or the limit passes."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode} before it answered")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} did not answer within {limit:.0f} s")


@contextmanager
def server(command: list[str], url: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        wait_for(url, process)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=15)
        if process.stdout:
            process.stdout.close()


@contextmanager
def satchel_served(home: Path) -> Iterator[tuple[str, dict[str, str], int]]:
    """A fresh `satchel serve`; gives its address, an environment signed in to it, and the server's process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        env[f"XDG_{name}_HOME"] = str(home / name.lower())
    command = [*satchel_command(), "serve", "--data", str(home / "served"), "--port", str(port)]
    with server(command, f"{url}/api/v1/health/live", env) as process:
        assert process.stdout is not None
        key = next(word for line in process.stdout for word in line.split() if word.startswith("stl_"))
        subprocess.run(
            [*satchel_command(), "login", url, "--key", "-"],
            input=key,
            text=True,
            env=env,
            check=True,
            capture_output=True,
        )
        yield url, env, process.pid


def satchel(folder: Path, scratch: Path) -> Iterator[float]:
    with satchel_served(scratch / "home") as (url, env, _):
        run([*satchel_command(), "init"], cwd=folder, env=env)
        run([*satchel_command(), "remote", "add", url], cwd=folder, env=env)
        for leftover in (folder / ".satchel").glob("state.db*"):
            leftover.unlink()
        push = [*satchel_command(), "sync", "--to-cloud", "--quiet"]
        yield seconds(lambda: run(push, cwd=folder, env=env))
        yield seconds(lambda: run(push, cwd=folder, env=env))
        edit(folder, EDITED_FILES)
        yield seconds(lambda: run(push, cwd=folder, env=env))


def git(folder: Path, scratch: Path) -> Iterator[float]:
    bare = scratch / "bare.git"
    env = {**os.environ, "HOME": str(scratch), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "gc.auto", "GIT_CONFIG_VALUE_0": "0"}  # no tidying meanwhile
    for name in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{name}_NAME": "bench", f"GIT_{name}_EMAIL": "bench@localhost"}
    run(["git", "init", "-q", "--bare", bare], env=env)
    run(["git", "init", "-q", "-b", "main"], cwd=folder, env=env)
    run(["git", "remote", "add", "origin", bare.as_uri()], cwd=folder, env=env)

    def push() -> None:
        run(["git", "add", "-A"], cwd=folder, env=env)
        run(["git", "commit", "-q", "--allow-empty", "-m", "bench"], cwd=folder, env=env)
        run(["git", "push", "-q", "origin", "main"], cwd=folder, env=env)

    def nothing() -> None:
        run(["git", "fetch", "-q"], cwd=folder, env=env)
        run(["git", "status", "--porcelain"], cwd=folder, env=env)

    yield seconds(push)
    yield seconds(nothing)
    edit(folder, EDITED_FILES)
    yield seconds(push)


def restic(folder: Path, scratch: Path) -> Iterator[float]:
    env = {**os.environ, "HOME": str(scratch), "RESTIC_PASSWORD": "bench"}
    backup = ["restic", "backup", "-q", "."]
    (scratch / "repo").mkdir()
    if shutil.which("rclone"):
        port = free_port()
        env["RESTIC_REPOSITORY"] = f"rest:http://127.0.0.1:{port}/"
        command = ["rclone", "serve", "restic", "--addr", f"127.0.0.1:{port}", str(scratch / "repo")]
        with server(command, f"http://127.0.0.1:{port}/config", env):
            yield from _restic_steps(backup, folder, env)
    else:
        env["RESTIC_REPOSITORY"] = str(scratch / "repo")
        yield from _restic_steps(backup, folder, env)


def _restic_steps(backup: list[str], folder: Path, env: dict[str, str]) -> Iterator[float]:
    run(["restic", "init", "-q"], env=env)
    yield seconds(lambda: run(backup, cwd=folder, env=env))
    yield seconds(lambda: run(backup, cwd=folder, env=env))
    edit(folder, EDITED_FILES)
    yield seconds(lambda: run(backup, cwd=folder, env=env))


def measure(source: Path, rounds: int) -> dict[str, dict[str, float]]:
    peers = {"satchel": satchel, "git": git}
    if shutil.which("restic"):
        peers["restic"] = restic
    else:
        print("restic is not installed: left out", file=sys.stderr)
    times: dict[str, dict[str, list[float]]] = {peer: {step: [] for step in STEPS} for peer in peers}
    for _ in range(rounds):
        for peer, steps in peers.items():
            with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
                folder = Path(name, "folder")
                shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
                os.sync()
                for step, took in zip(STEPS, steps(folder, Path(name)), strict=True):
                    times[peer][step].append(took)
    return {peer: {step: median(values) for step, values in steps.items()} for peer, steps in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    figures = {}
    for folder in options.folders:
        files = [p for p in folder.rglob("*") if p.is_file() and not {".git", ".satchel"} & set(p.parts)]
        size = sum(p.stat().st_size for p in files) / 1e6
        found = figures[folder.name] = measure(folder, options.rounds)
        ours = found["satchel"]
        rows = [
            [peer, *(f"{took[step]:.2f} s ({took[step] / ours[step]:.1f}x)" for step in STEPS)]
            for peer, took in found.items()
        ]
        title = f"{folder.name}: {len(files):,} files, {size:.1f} MB; median of {options.rounds}; (times Satchel's)"
        report(title, rows, ["", *STEPS])
    save(options.json, figures)


if __name__ == "__main__":
    main()
