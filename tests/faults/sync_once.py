"""A process that syncs a folder with a cloud on disk and is killed at a fail point: run by test_sync_crash.py.

    python sync_once.py CLOUD TENANT PROJECT ROOT WHAT POINT NTH

WHAT is ``sync`` or ``undo``. At the NTH time that POINT is reached the process kills itself with SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from satchel.objects.ids import TenantId
from satchel.sync import failpoints
from satchel.sync.run import run
from satchel.sync.settle import undo
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud


def main() -> None:
    where, tenant, project, root, what, point, nth = sys.argv[1:]
    times = 0

    def die() -> None:
        nonlocal times
        times += 1
        if times == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.arm(point, die)
    cloud = Cloud(Path(where))
    worktree = Worktree.open(Path(root), state_path=Path(root, ".satchel", "state.db"))
    if what == "undo":
        undo(worktree)
    else:
        run(worktree, cloud.peer(TenantId(tenant)), project)


if __name__ == "__main__":
    main()
