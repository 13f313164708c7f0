"""A temporary folder that the real client keeps in step with a project."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from satchel.errors import SatchelError
from satchel.remote import FixedToken, Remote
from satchel.sync.choices import Strategy
from satchel.sync.run import run
from satchel.worktree.walk import Worktree


class Folders:
    """Makes them, all below one place; gone when it is closed."""

    def __init__(self, url: str, *, insecure: bool = False) -> None:
        self._url, self._insecure = url, insecure
        self._place = Path(tempfile.mkdtemp(prefix="satchel-proof-"))
        self._count = 0

    def __call__(self, project: str, key: str) -> SyncedFolder:
        self._count += 1
        root = self._place / str(self._count)
        root.mkdir()
        return SyncedFolder(root, Remote(self._url, FixedToken(key), insecure=self._insecure), project)

    def close(self) -> None:
        """Delete them."""
        shutil.rmtree(self._place, ignore_errors=True)


class SyncedFolder:
    """See ``sequences.Folder``."""

    def __init__(self, root: Path, remote: Remote, project: str) -> None:
        self._root, self._remote, self._project = root, remote, project

    def sync(self) -> None:
        """Both ways; where both sides changed a file, the cloud's counts. A refusal is an answer like others."""
        with closing(Worktree.open(self._root)) as worktree:
            try:
                run(worktree, self._remote, self._project, strategy=Strategy.CLOUD)
            except SatchelError:
                pass

    def write(self, path: str, text: str) -> None:
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self) -> Mapping[str, bytes]:
        return {
            str(path.relative_to(self._root)): path.read_bytes()
            for path in self._root.rglob("*")
            if path.is_file() and ".satchel" not in path.parts
        }
