"""Every name that could mean something else on some system, sent through the server's doors over HTTP.

Each name goes through one of the doors here, taking turns, and through all of them with ``PROVE=1``. The same table
(tests/vectors/paths.json) is put to the folder's side, and to the reader of streams, in
tests/sync/test_hostile_names.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_pack_end, encode_pack_start
from satchel.sync.wire import MEDIA_TYPE, Parent, Sent, encode_preamble
from tests.server.running import Answer, Client

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/paths.json").read_text())
REFUSED: list[str] = VECTORS["refused"]
CONTENT = b"evil\n"


class Doors:
    """The ways in which a name reaches a project of one owner."""

    def __init__(self, owner: Client) -> None:
        self.owner = owner
        made = owner.post("/projects", {"slug": "p"}).ok()
        self.project = f"/projects/{made['id']}"
        self.lineage, self.digest = made["lineage"], made["digest"]

    def put(self, path: str) -> Answer:
        address = f"{self.project}/artifacts/{quote(path.encode('utf-8', 'surrogatepass'), safe='')}"
        return self.owner.send("PUT", address, CONTENT, {"if-none-match": "*", "content-type": "text/plain"})

    def commit(self, *paths: str) -> Answer:
        named = object_id(CONTENT)
        changes = [{"path": path, "mode": "100644", "object": named, "size": len(CONTENT)} for path in paths]
        parent = {"lineage": self.lineage, "version": 0, "digest": self.digest}
        after = digest({path: Entry("100644", named) for path in paths}) if len(paths) > 1 else "0" * 64
        return self.owner.post(f"{self.project}/commits", {"parent": parent, "digest": after, "changes": changes})

    def stream(self, path: str) -> Answer:
        changes = [Sent("placeholder", Entry("100644", object_id(CONTENT)), len(CONTENT))]
        parent = Parent(Lineage(self.lineage), 0, Digest(self.digest))
        whole = b"".join(encode_preamble(parent, Digest("0" * 64), changes))
        row = whole[whole.rindex(b"[[") :]
        head, row = whole[: -len(row) - 4], row.replace(b"placeholder", json.dumps(path)[1:-1].encode())
        body = head + len(row).to_bytes(4, "big") + row + encode_pack_start() + encode_pack_end(0)
        headers = {"content-type": MEDIA_TYPE, "satchel-declared-bytes": str(len(body))}
        return self.owner.send("POST", f"{self.project}/sync", body, headers)

    def purge(self, path: str) -> Answer:
        return self.owner.post(f"{self.project}/purge", {"paths": [path]})


@pytest.mark.promise("P5")
def test_no_hostile_name_comes_in_through_any_door(owner: Client) -> None:
    assert len(set(REFUSED)) >= 150
    doors = Doors(owner)
    all_doors: list[Callable[[str], Answer]] = [doors.put, doors.commit, doors.stream, doors.purge]
    taken = []
    for number, path in enumerate(REFUSED):
        for door in all_doors if os.environ.get("PROVE") else [all_doors[number % len(all_doors)]]:
            answer = door(path)
            # JSON with half a surrogate pair in it is none; an address with nothing left of it is another address.
            if answer.code != "path.refused" and answer.status not in (400, 404, 405, 422):
                taken.append((path, answer.status, answer.body[:200]))
    assert taken == []
    assert owner.get(doors.project).ok()["version"] == 0


@pytest.mark.promise("P5")
def test_a_name_that_is_no_text_is_not_stored_under_another_name(owner: Client) -> None:
    doors = Doors(owner)
    for name in ("\ud800", "a\udfff.md"):
        assert doors.put(name).code == "path.refused"


@pytest.mark.promise("P5")
def test_no_two_names_for_one_file_are_committed(owner: Client) -> None:
    doors = Doors(owner)
    for clash in VECTORS["clashes"]:
        answer = doors.commit(*clash["paths"])
        assert answer.code == ("path.refused" if clash["left_out"] else "sync.objects_missing"), (clash, answer.body)


@pytest.mark.parametrize(
    ("there", "put"),
    [("plans/a.md", "plans"), ("notes.md", "Notes.md"), ("Notes.md", "notes.md"), ("a.md", "a.md/b.md")],
)
def test_what_is_in_the_way_of_a_file_does_not_take_its_blame(owner: Client, there: str, put: str) -> None:
    owner.post("/projects", {"slug": "tides"}).ok()
    owner.put("tides", there, b"first").ok()
    answer = owner.put("tides", put, b"second")
    assert answer.code == "path.refused"
    assert answer.json["detail"].startswith(f"{put} cannot be in this project: ")
    assert there in answer.json["detail"]
