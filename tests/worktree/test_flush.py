"""Many files are flushed with their filesystem, and what another one holds inside the folder one by one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from satchel.worktree import durable
from satchel.worktree.flush import FEW_FILES, flush


def test_what_is_mounted_inside_is_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounted").mkdir()
    names = [f"{number}.md" for number in range(FEW_FILES)]
    made = subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "mounted")], capture_output=True)
    if made.returncode != 0:
        pytest.skip("only root may mount a filesystem")
    try:
        for name in (*names, "mounted/inside.md"):
            (tmp_path / name).write_text("text")
        flushed, whole = [], []
        monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")))
        monkeypatch.setattr(durable, "flush_filesystem", lambda fd: whole.append(os.readlink(f"/proc/self/fd/{fd}")))
        flush(tmp_path, [*names, "mounted/inside.md"], [])
        assert whole == [str(tmp_path)]
        assert flushed == [str(tmp_path / "mounted" / "inside.md"), str(tmp_path / "mounted")]
        flushed.clear()
        flush(tmp_path, ["0.md"], [])
        assert flushed == [str(tmp_path / "0.md"), str(tmp_path)]
    finally:
        subprocess.run(["umount", str(tmp_path / "mounted")], check=True)
