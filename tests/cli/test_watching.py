"""A watch ends when it is told to, whatever the signal meets."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from satchel.cli import watching
from satchel.cli.face import Face
from satchel.config.machine import Machine
from satchel.errors import InvalidInput
from satchel.sync.choices import Direction
from satchel.sync.lastlook import ManyDeletions
from satchel.sync.report import SyncReport
from satchel.sync.watch import Waiting


@pytest.mark.parametrize("stream", [1, 2])
def test_a_watch_whose_output_it_would_sync_is_refused(stream: int, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("x")
    log = os.open(tmp_path / "w.log", os.O_WRONLY | os.O_CREAT)
    before = os.dup(stream)
    try:
        os.dup2(log, stream)
        watching.refuse_own_output(tmp_path, lambda: ["other.md", "gone.md"])
        with pytest.raises(InvalidInput, match=r"goes into w\.log"):
            watching.refuse_own_output(tmp_path, lambda: ["other.md", "w.log"])
    finally:
        os.dup2(before, stream)
        os.close(before)
        os.close(log)


@pytest.mark.parametrize(
    ("number", "lost", "status"),
    [(signal.SIGINT, False, 130), (signal.SIGINT, True, 130), (signal.SIGTERM, False, 0), (signal.SIGTERM, True, 0)],
)
def test_a_signal_ends_it_also_where_the_exception_is_lost(
    number: signal.Signals, lost: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hear in ("hear_folder", "hear_cloud"):
        monkeypatch.setattr(watching, hear, lambda *_: None)
    (tmp_path / ".satchel").mkdir()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    went_on: list[bool] = []

    def sync() -> SyncReport:
        with suppress(KeyboardInterrupt if lost else ZeroDivisionError):  # as a finalizer would
            os.kill(os.getpid(), number)
        went_on.append(True)
        return SyncReport(Direction.BOTH)

    out = StringIO()
    remote = cast(Any, SimpleNamespace(url="http://127.0.0.1:1"))
    face = Face(Machine(), json=True, out=out, err=StringIO())
    assert watching.watch(face, tmp_path, remote, "p", sync, lambda _: None) == status
    assert bool(went_on) == lost
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()][-1] == "stopped"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_waits_for_a_person_is_told_with_what_they_can_do() -> None:
    err = StringIO()
    told = watching._Told(Face(Machine(), out=StringIO(), err=err), lambda _: None)
    for _ in range(2):
        told.waiting(Waiting(ManyDeletions.counted(31, 40), 1.0))
    assert err.getvalue().count("31 of the 40 files") == 1
    assert "--allow-deletions" in err.getvalue()
    assert "pull --deleted" in err.getvalue()
