"""``satchel verify`` reads everything again: what is derived is mended, what is not is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import apsw
import pytest

from satchel.errors import StoreUnavailable
from satchel.objects.ids import Digest, Lineage
from satchel.worktree.base import Base, save_base
from satchel.worktree.beneath import Beneath
from satchel.worktree.undo import UndoStore
from tests.cli.conftest import Cli

SPEC = "specs/warnings.md"


def states(cli: Cli, status: int = 0) -> dict[str, str]:
    told = cli("verify", "--json", status=status).json
    assert told["clean"] is (status == 0)
    return {row["name"]: row["state"] for row in told["checks"]}


def test_a_sound_folder_is_clean(cli: Cli, here: Path) -> None:
    cli("init")
    cli("search", "warning")
    assert states(cli) == {"files": "ok", "record": "ok", "undo": "ok", "index": "ok"}
    assert "read and hashed" in cli("verify").out


def test_bytes_that_changed_behind_size_and_time_are_noticed_and_searched_anew(cli: Cli, here: Path) -> None:
    cli("init")
    cli("search", "warning")
    found = (here / SPEC).stat()
    state = apsw.Connection(str(here / ".satchel" / "state.db"))  # stays open, as another process's would
    stat = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)
    row = (SPEC, *stat, "0" * 64, "")  # as if the disk had changed a byte
    state.execute("INSERT OR REPLACE INTO file VALUES (?,?,?,?,?,?,?,?)", row)
    told = cli("verify", "--json").json
    assert not list((here / ".satchel").glob("state.db*"))  # nor a log that the next one would take for its own
    state.close()
    [files] = [row for row in told["checks"] if row["name"] == "files"]
    assert files["state"] == "mended"
    assert SPEC in files["found"]
    assert states(cli)["files"] == "ok"


def test_a_file_that_cannot_be_read_is_named_and_not_called_sound(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    real = Beneath.open

    def failing(self: Beneath, path: str) -> tuple[int, os.stat_result]:
        if path == SPEC:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(self, path)

    monkeypatch.setattr(Beneath, "open", failing)
    told = cli("verify", "--json", status=1).json
    [files] = [row for row in told["checks"] if row["name"] == "files"]
    assert files["state"] == "damaged"
    assert f"cannot be read: {SPEC} (Permission denied)" in files["found"]


def test_a_damaged_index_is_built_anew(cli: Cli, here: Path) -> None:
    cli("init")
    found = cli("search", "warning", "--json").json
    index = here / ".satchel" / "index.db"
    data = bytearray(index.read_bytes())
    data[4_096 : 4_096 * 3] = b"\xff" * 8_192
    index.write_bytes(data)
    assert states(cli)["index"] == "mended"
    assert cli("search", "warning", "--json").json["hits"] == found["hits"]
    assert states(cli)["index"] == "ok"


def test_an_index_that_cannot_be_opened_here_is_not_called_damaged(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")

    def refuse(*_: object) -> None:
        raise StoreUnavailable("the index cannot be used: unable to open database file")

    monkeypatch.setattr("satchel.search.schema.connect", refuse)  # as in a folder that is mounted read-only
    assert states(cli)["index"] == "ok"
    assert "not looked at: the index cannot be used" in cli("verify").out


def test_a_damaged_record_of_the_last_sync_is_told(cli: Cli, here: Path) -> None:
    cli("init")
    for version in (1, 2):
        save_base(here, Base(Lineage("lin_00000000000000000000000000"), version, Digest("0" * 64), {}, {}))
    assert states(cli)["record"] == "ok"
    for slot in ("base-0", "base-1"):
        (here / ".satchel" / slot).write_bytes(b"satchel-base 1\nnonsense\n")
        assert states(cli, status=1)["record"] == "damaged"


def test_what_an_undo_could_not_bring_back_is_told(cli: Cli, here: Path) -> None:
    cli("init")
    store = UndoStore(here)
    store.begin("00000000000000000001")
    store.keep(SPEC, b"as it was\n", "100644")
    store.keep("specs/other.md", b"this too\n", "100644")
    store.close()
    assert states(cli)["undo"] == "ok"
    journal = store.folder / "00000000000000000001" / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"this too", b"that too"))
    assert states(cli, status=1)["undo"] == "damaged"
    assert "1 file of 1 sync can be brought back" in cli("verify", status=1).out
