"""``satchel sync --watch``: what a person, a service manager or a program sees of it."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from satchel.cli.face import Face
from satchel.cli.sync_report import report_data
from satchel.errors import Busy, InvalidInput, LimitReached
from satchel.remote import Remote
from satchel.sync.report import SyncReport
from satchel.sync.watch import Signal, Waiting, Watch, hear_cloud, hear_folder
from satchel.worktree.find import local_dir
from satchel.worktree.lock import file_lock

STOPPED = 130


def watch(
    face: Face,
    root: Path,
    remote: Remote,
    project: str,
    sync: Callable[[], SyncReport],
    show: Callable[[SyncReport], None],
) -> int:
    """Sync until stopped with Ctrl-C (130) or SIGTERM (0). Raises ``Busy`` where another one watches the folder."""
    told = _Told(face, show)
    one = Watch(sync, synced=told.synced, waiting=told.waiting)
    stopped, interrupted = threading.Event(), threading.Event()

    def stop(number: int, _frame: object) -> None:
        # Both: what is raised here is lost where it meets a finalizer, and a sync that goes on would wait for a signal.
        if number == signal.SIGINT:
            interrupted.set()
        one.signal(Signal.STOP)
        raise KeyboardInterrupt  # after SIGTERM too: a server that says nothing is waited for longer than a service is

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with file_lock(local_dir(root) / "watch.lock", wait=False):
            for number in before:
                signal.signal(number, stop)
            # They end with the process: one may be waiting for a server that says nothing.
            for hear, args in ((hear_folder, (one, root, stopped)), (hear_cloud, (one, remote, project, stopped))):
                threading.Thread(target=hear, args=args, name=hear.__name__, daemon=True).start()
            told.say("watching", {"folder": str(root), "url": remote.url}, f"Watching {root} and {remote.url}.")
            one.run()
    except KeyboardInterrupt:
        pass
    except Busy as error:
        raise Busy(
            "another `satchel sync --watch` is at work in this folder", hint="Leave it to that one, or end it first."
        ) from error
    finally:
        stopped.set()
        for number, handler in before.items():
            signal.signal(number, handler)
    told.stopped()
    return STOPPED if interrupted.is_set() else 0


def refuse_own_output(root: Path, files: Callable[[], Iterable[str]]) -> None:
    """Raise ``InvalidInput`` where what a watch says goes into one of the folder's ``files``: each line would be a
    change to sync and to tell of, without end."""
    outputs = set()
    for stream in (1, 2):
        with suppress(OSError):  # closed
            of = os.fstat(stream)
            if stat.S_ISREG(of.st_mode):
                outputs.add((of.st_dev, of.st_ino))
    for path in files() if outputs else ():
        with suppress(OSError):  # gone meanwhile
            of = os.lstat(root / path)
            if (of.st_dev, of.st_ino) in outputs:
                raise InvalidInput(
                    f"the output of this watch goes into {path}, which it would sync again and again",
                    hint="Send it to a file elsewhere, or leave that one out with .satchelignore.",
                )


class _Told:
    """Lines for people, or with ``--json`` one JSON object a line."""

    def __init__(self, face: Face, show: Callable[[SyncReport], None]) -> None:
        self._face, self._show = face, show
        self._last: dict[str, Any] = {}
        self._failing = ""

    def say(self, event: str, data: dict[str, Any], text: str) -> None:
        if self._face.json:
            self._face.event(json.dumps({"event": event, **data}, ensure_ascii=True))
        else:
            self._face.note(text)

    def synced(self, report: SyncReport) -> None:
        """Told where something was done, or what waits is another than before."""
        waits = {"conflicts": report.conflicts, "secrets": report.secrets, "untrusted": report.untrusted}
        if report.pushed or report.pulled or report.merged or self._failing or waits != self._last:
            if self._face.json:
                self.say("synced", report_data(report), "")
            else:
                for notice in report.notices:
                    self._face.warn(notice)
                self._show(report)
        self._last, self._failing = waits, ""

    def waiting(self, waiting: Waiting) -> None:
        """Told once for each kind of failure in a row: a server may be away all night."""
        error, seconds = waiting
        if error.code == self._failing or isinstance(error, Busy):
            return
        self._failing = error.code
        data = {"code": error.code, "message": error.message, "hint": error.hint, "seconds": round(seconds, 1)}
        if self._face.json:
            self.say("waiting", data, "")
        else:
            self._face.warn(f"{error.message}; trying again until it passes (Ctrl-C stops, nothing is lost)")
            if isinstance(error, LimitReached):  # somebody has to do something
                for line in error.hint.splitlines():
                    self._face.tell(f"  {line}")

    def stopped(self) -> None:
        self.say("stopped", {}, "Stopped. Nothing is half done; what changed since goes with the next sync.")
