"""Every name that could mean something else on some system, told to a folder by a server, an undo store and a disk.

The same table is put to the server's side in tests/server/test_hostile_names.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import pytest

from satchel.errors import PathRefused, ServerLied
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.sync.peer import Change, Changes, Head, Peer
from satchel.sync.pull import learn
from satchel.sync.wire import sent
from satchel.worktree.materialise import Materialiser
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import Worktree

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/paths.json").read_text())
REFUSED: list[str] = VECTORS["refused"]
EVIL = Entry("100644", object_id(b"evil"))


class Lying:
    """A server whose project holds one file of a name that none may have, with a digest that fits."""

    def __init__(self, path: str) -> None:
        self.items = [Change(path, EVIL, 4, 1, "Mallory", 0)]
        fits = Digest("0" * 64)
        try:
            fits = digest({path: EVIL})
        except (PathRefused, UnicodeEncodeError):
            pass
        self.head = Head(Lineage("lin_0"), 1, fits)

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        return Changes(self.head, 0, self.items)


@pytest.mark.promise("P5")
def test_a_server_that_names_a_hostile_path_is_not_believed() -> None:
    believed = []
    for path in REFUSED:
        try:
            learn(cast(Peer, Lying(path)), "p", None)
        except ServerLied:
            continue
        believed.append(path)
    assert believed == []


@pytest.mark.promise("P5")
def test_no_hostile_name_is_written_deleted_or_brought_back(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / ".satchel").mkdir(parents=True)
    undo = UndoStore(root)
    undo.begin("sync-1")
    with Materialiser(root, undo) as into:
        for path in REFUSED:
            with pytest.raises(PathRefused):
                into.write(path, b"evil", "100644", None)
            with pytest.raises(PathRefused):
                into.delete(path, EVIL)
    undo.begin("sync-2")
    for path in REFUSED:
        try:
            undo.keep(path, b"evil", "100644")
        except UnicodeEncodeError:
            continue
    undo.close()
    assert list(undo.kept("sync-2")) == []  # a journal may have come with the folder: its first name ends it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]
    assert sorted(path.name for path in root.iterdir()) == [".satchel"]


@pytest.mark.promise("P5")
def test_a_hostile_name_on_this_disk_is_left_out_and_named(tmp_path: Path) -> None:
    made = 0
    for number, path in enumerate(REFUSED):
        name = path.encode("utf-8", "surrogatepass")
        if b"/" in name or b"\0" in name or name in (b"", b".", b"..") or len(name) > 255:
            continue
        root = tmp_path / str(number)
        root.mkdir()
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(b"evil")
        made += 1
        scan = Worktree.open(root).scan()
        assert scan.tree == {}, ascii(path)
        own = name.lower() in (b".git", b".satchel")
        assert own or [item.reason for item in scan.left_out] == ["bad-name"], (ascii(path), scan.left_out)
    assert made > 80


@pytest.mark.promise("P5")
def test_the_reader_of_a_stream_takes_no_hostile_name() -> None:
    taken = []
    for path in REFUSED:
        for row in ([path], [path, "100644", EVIL.object, 4]):
            try:
                sent(*row, seen=set())
            except PathRefused:
                continue
            taken.append(path)
    assert taken == []
