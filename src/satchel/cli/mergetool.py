"""A conflict opened in the person's merge tool or editor.

A merge tool is a shell command that finds four files named by the variables LOCAL, BASE, REMOTE and MERGED, as git's
``mergetool.<tool>.cmd`` does, and leaves its result in MERGED, which is the file of the project itself.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from satchel.cli.face import pasted
from satchel.config.machine import Machine
from satchel.errors import ConfigInvalid, InvalidInput, NotFound
from satchel.sync.merge import hunks
from satchel.sync.settle import Conflicting
from satchel.worktree.walk import Worktree

_RUN = 'LOCAL=$1 BASE=$2 REMOTE=$3 MERGED=$4; export LOCAL BASE REMOTE MERGED; eval "$5"'


def edit(machine: Machine, worktree: Worktree, conflict: Conflicting) -> bool:
    """Let the person work on one conflict; whether the tool ended well and left no marker.

    Raises ``ConfigInvalid`` where no tool or editor is set, ``InvalidInput`` where there is no file to work on.
    """
    merged = worktree.root / conflict.path
    if not merged.is_file():
        raise InvalidInput(
            f"{conflict.path} is deleted here: there is nothing to edit",
            hint=f"Take a side:  satchel resolve {pasted(conflict.path)} --take local|cloud",
        )
    if machine.mergetool:
        ended = _tool(machine.mergetool, worktree, conflict, merged)
    elif machine.editor:
        ended = subprocess.run(["sh", "-c", f'{machine.editor} "$1"', "satchel", str(merged)], check=False).returncode
    else:
        raise ConfigInvalid("no merge tool and no editor is set", hint="Set SATCHEL_MERGETOOL, VISUAL or EDITOR.")
    return ended == 0 and not hunks(_read(worktree, conflict.path))


def _tool(command: str, worktree: Worktree, conflict: Conflicting, merged: Path) -> int:
    local, cloud = conflict.sides.local, conflict.sides.cloud
    if local is None:
        local = _read(worktree, conflict.path)
    if cloud is None and conflict.beside is not None:
        cloud = _read(worktree, conflict.beside)
    contents = {"LOCAL": local, "BASE": conflict.sides.base or b"", "REMOTE": cloud or b""}
    with tempfile.TemporaryDirectory(prefix="satchel-merge-") as folder:
        files = []
        for name, data in contents.items():
            file = Path(folder, f"{merged.stem}.{name}{merged.suffix}")
            file.write_bytes(data)
            files.append(str(file))
        asked = ["sh", "-c", _RUN, "satchel", *files, str(merged), command]
        return subprocess.run(asked, cwd=worktree.root, check=False).returncode


def _read(worktree: Worktree, path: str) -> bytes:
    try:
        return worktree.read(path)
    except NotFound:
        return b""
