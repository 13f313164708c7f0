"""Files of Satchel and of a person's, replaced whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from satchel.worktree import durable


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_a_file_that_is_replaced_is_open_to_nobody_else(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "context.json"
    path.write_text("{}")
    path.chmod(mode)
    durable.replace(path, b"[]")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"[]")
    durable.replace(path, b"3", permissions=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_file_is_as_the_umask_says_also_in_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o777)
    (tmp_path / "link").symlink_to("secret")
    before = os.umask(0o027)
    try:
        durable.replace(tmp_path / "new", b"x")
        durable.replace(tmp_path / "link", b"y")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).lstat().st_mode) for name in ("new", "link")] == [0o640, 0o640]
    assert (tmp_path / "secret").read_text() == "x"
