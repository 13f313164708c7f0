"""Servers that the benchmarks talk to: free ports, waiting for them, and a fresh `satchel serve`, signed in to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import satchel_command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[str], limit: float = 180) -> None:
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
        process.wait(timeout=60)
        if process.stdout:
            process.stdout.close()


@contextmanager
def satchel_served(home: Path) -> Iterator[tuple[str, dict[str, str], int]]:
    """A fresh `satchel serve`; gives its address, an environment signed in to it, and the server's process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}
    env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"  # what is signed in here is nobody's
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
