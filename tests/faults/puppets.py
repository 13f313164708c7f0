"""Processes that play one scene, and are looked at or stopped by strace while they do.

    python puppets.py

loads everything once and then forks for every line of JSON on its standard input: starting Python and importing the
server take longer than most scenes do. It answers with the process ids; the children wait until the next line, and the
answer to that is how they ended. Each works in one thread, since strace counts system calls by thread.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from satchel.errors import SatchelError
from satchel.sync import failpoints
from tests.faults.apart import Far, serve
from tests.faults.planted import plant
from tests.faults.scenes import SCENES, OneThread, Stage
from tests.simulation.one_thread import all_at_once
from tests.sync.cloud import InProcessPeer

HERE = Path(__file__).resolve()
BOTH, CLIENT, SERVER = "both", "client", "server"
PR_SET_PTRACER = 0x59616D61
DONE = "done"
OUT_OF_THE_WAY = 900
"""A file descriptor that nothing else in a child gets."""
LATE = (
    *("difflib", "pathspec", "satchel.search.building", "satchel.sync.merge", "satchel.sync.secrets"),
    *("satchel.upkeep.openers", "shutil"),
)
"""What is loaded by name, or only when it is needed."""


class Ended(NamedTuple):
    """How a process ended."""

    killed: bool
    outcome: str
    """``done``, the code of an error of ours, a traceback, or nothing at all."""


class Puppets:
    """The process that forks, from the tests' side."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE)],
            cwd=HERE.parents[2],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._process.communicate(timeout=60)

    def play(
        self, scene: str, where: Path, side: str, *options: str, point: str = "", plant: str = ""
    ) -> dict[str, Ended]:
        """Play a scene; the process of ``side`` under strace with ``options``, where there are any.

        ``side`` is ``both`` for client and server in one process, which die together. ``point`` is a named fail point
        to die at, ``plant`` a defect (see ``planted``) to play it with.
        """
        job = {"scene": scene, "where": str(where), "apart": side != BOTH, "point": point, "plant": plant}
        pids = self._ask(job)
        strace = _attached(pids[side], options) if options else None
        statuses = self._ask({})
        if strace is not None:
            strace.communicate(timeout=60)
        return {who: _ended(where / f"outcome-{who}", status) for who, status in statuses.items()}

    def _ask(self, line: dict[str, Any]) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


def _ended(outcome: Path, status: int) -> Ended:
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Ended(killed, outcome.read_text() if outcome.exists() else "")


def _attached(pid: int, options: tuple[str, ...]) -> subprocess.Popen[str]:
    """A strace that has stopped the process, so that nothing it does from now on is missed."""
    strace = subprocess.Popen(["strace", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    told = strace.stderr.readline()
    if "attached" not in told:
        strace.kill()
        raise AssertionError(told + strace.communicate()[1])
    return strace


# The process itself ------------------------------------------------------------------------------------------------


def main() -> None:
    all_at_once(pytest.MonkeyPatch())
    for late in LATE:
        importlib.import_module(late)
    for asked in sys.stdin:
        job = json.loads(asked)
        waits, go = os.pipe()
        with closing(Line()) as line:
            where = Path(job["where"])
            parts = _parts(job["scene"], where, line if job["apart"] else None)
            pids = {
                who: _forked(partial(_prepared, play, job), where / f"outcome-{who}", waits, go) for who, play in parts
            }
        os.close(waits)
        print(json.dumps(pids), flush=True)
        sys.stdin.readline()
        os.close(go)
        print(json.dumps({who: os.waitpid(pid, 0)[1] for who, pid in pids.items()}), flush=True)


class Line:
    """Between client and server. Who does not hold an end closes it, so that the other hears when one is gone."""

    def __init__(self) -> None:
        self.client, self.server = Pipe()

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _parts(scene: str, where: Path, line: Line | None) -> list[tuple[str, Callable[[], None]]]:
    """Who takes part, and what each does."""
    stage, one = Stage.at(where), SCENES[scene]

    def together() -> None:
        if not one.talks and one.client:
            one.act(stage, None)
            return
        with closing(OneThread(stage.where / "cloud")) as cloud:
            one.act(stage, stage.peer(cloud)) if one.client else one.serve(stage, cloud)

    if line is None:
        return [(BOTH, together)]

    def client() -> None:
        line.server.close()
        one.act(stage, Far(line.client, stage.acks))

    def server() -> None:
        line.client.close()
        _serve(stage, line.server)

    return [(CLIENT, client), (SERVER, server)]


def _serve(stage: Stage, line: Connection) -> None:
    with closing(OneThread(stage.where / "cloud")) as cloud:
        serve(line, InProcessPeer(cloud, stage.tenant, "Ann"))


def _forked(play: Callable[[], None], outcome: Path, waits: int, go: int) -> int:
    tells = os.open(outcome, os.O_WRONLY | os.O_CREAT)
    pid = os.fork()
    if pid == 0:
        os.close(go)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # where only a parent may trace otherwise
        # Nothing that is counted or made to fail, since whoever does that may come before it or after it.
        told = os.dup2(tells, OUT_OF_THE_WAY)
        select.select([waits], [], [])
        try:
            play()
            ended = DONE
        except SatchelError as error:
            ended = error.code
        except BaseException:  # noqa: BLE001  # whatever it is, a test wants to see it
            ended = traceback.format_exc()
        os.writev(told, [ended.encode()])  # a call that no test makes fail
        os._exit(0)
    os.close(tells)
    return pid


def _prepared(play: Callable[[], None], job: dict[str, Any]) -> None:
    if job["plant"]:
        plant(job["plant"])
    if job["point"]:
        failpoints.arm(job["point"], lambda: os.kill(os.getpid(), signal.SIGKILL))
    play()


if __name__ == "__main__":
    main()
