"""The root key in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.errors import AlreadyExists, StartRefused, WrongKey
from satchel.store.rootkey import RootKey

ROOT = RootKey(b"r" * 32)


def test_a_root_key_file_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = RootKey.create(path)
    assert RootKey.load(path) == made
    assert made.warnings == ()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    with pytest.raises(AlreadyExists):
        RootKey.create(path)
    assert RootKey.load(path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]


def test_a_root_key_open_to_others_is_warned_of_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.key"
    RootKey.create(path)
    path.chmod(0o640)
    (warning,) = RootKey.load(path).warnings
    assert f"chmod 600 {path}" in warning
    with monkeypatch.context() as elsewhere:  # in a container, whose user is another than the file's
        elsewhere.setattr("os.geteuid", lambda: 10_001)
        (warning,) = RootKey.load(path).warnings
        assert "chmod" not in warning
        assert "folder" in warning
    path.chmod(0o602)
    with pytest.raises(StartRefused, match="everyone may write"):
        RootKey.load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_is_no_root_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.key").write_bytes(content)
    with pytest.raises(WrongKey, match="exactly 32 bytes"):
        RootKey.load(tmp_path / "root.key")


def test_a_root_key_that_is_absent_is_told_with_what_that_means(tmp_path: Path) -> None:
    with pytest.raises(StartRefused) as refused:
        RootKey.load(tmp_path / "root.key")
    assert "nothing can be read" in refused.value.hint


@pytest.mark.promise("P10")
def test_a_root_key_shows_its_id_and_never_itself() -> None:
    assert len(ROOT.id) == 16
    assert ROOT.id != RootKey(b"s" * 32).id
    assert "rrr" not in repr(ROOT)
    assert b"r".hex() * 4 not in repr(ROOT)


def test_keys_for_different_purposes_have_nothing_in_common() -> None:
    assert ROOT.derive("key pepper") == ROOT.derive("key pepper")
    assert len({ROOT.derive("key pepper"), ROOT.derive("token keys"), RootKey(b"s" * 32).derive("key pepper")}) == 3
