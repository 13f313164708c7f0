"""A file that gets its name once it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.cli.tenant_export import whole_file
from satchel.errors import InvalidInput


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path, part = tmp_path / "a.tar", tmp_path / "a.tar.part"
    part.write_bytes(b"more, of a command that was killed")
    with whole_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert (path.read_bytes(), part.exists()) == (b"whole", False)
    with pytest.raises(InvalidInput, match="exists already"), whole_file(path):
        pass


def test_a_file_that_does_not_become_whole_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="some"), whole_file(tmp_path / "a.tar"):
        int("some")
    assert not list(tmp_path.iterdir())


def test_two_commands_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with whole_file(path) as file:
        file.write(b"whole")
        with pytest.raises(InvalidInput, match="another command is writing"), whole_file(path) as second:
            second.write(b"other")
    assert path.read_bytes() == b"whole"
