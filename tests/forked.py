"""Processes of Satchel, forked from one that has loaded all of it: loading takes longer than most of what they do.

They are processes as any other: killed, traced, talked to over pipes and HTTP. What looks at how one starts, at what it
loads or at its words in the list of processes starts ``python -m satchel.cli.main`` itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO

import satchel

NOT_BEFORE = ("satchel.catalog.migrations.", "satchel.server.metrics", "satchel.server.traces", "satchel.store.kms")
"""What only some processes load: Alembic does it for the first, a setting asks for the others."""
LATE = ("argon2", "difflib", "uvicorn.lifespan.off", "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl")
"""What is loaded by name, or only when it is needed."""


class Forked:
    """One process, as ``subprocess.Popen`` has it. It is told to end when the tests do."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        die_at: str | None = None,
    ) -> None:
        """Run ``satchel`` with these words; ``die_at`` is a fail point at which it kills itself.

        Without ``stdout`` what it says can be read at ``self.stdout``.
        """
        with open(os.devnull, "r+") as nothing:
            said, self.stdout = stdout, None
            if said is None:
                read, write = os.pipe()
                self.stdout, said = open(read), open(write, "w")  # noqa: SIM115 (the first is the caller's to close)
            ends = [Connection(os.dup((file or nothing).fileno())) for file in (stdin, said, stderr)]
            if stdout is None:
                said.close()
        place = str(cwd or Path.cwd())
        self._process = _context().Process(
            target=_become, args=(list(words), dict(env), place, ends, die_at), daemon=True
        )
        self._process.start()
        for end in ends:
            end.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """The exit status, negative for a signal."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("satchel", timeout)
        return status

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def run(
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: str = "",
    timeout: float = 120,
    die_at: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``satchel`` with these words to its end."""
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(stdin)
        given.seek(0)
        one = Forked(words, env=env, cwd=cwd, stdin=given, stdout=out, stderr=err, die_at=die_at)
        try:
            status = one.wait(timeout)
        finally:
            one.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["satchel", *words], status, out.read(), err.read())


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    ours = [each.name for each in pkgutil.walk_packages(satchel.__path__, "satchel.")]
    context.set_forkserver_preload([__name__, *(name for name in ours if not name.startswith(NOT_BEFORE)), *LATE])
    return context


def _become(words: list[str], env: dict[str, str], place: str, ends: list[Connection], die_at: str | None) -> None:
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    time.tzset()
    os.chdir(place)
    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 (until it ends)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 (the same)
    sys.argv = ["satchel", *words]
    from satchel.cli.main import main

    if die_at is not None:
        from satchel.sync import failpoints

        failpoints.arm(die_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    main()
