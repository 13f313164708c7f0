"""A large push that breaks off goes on where it was, in the same run, in another, and over a real connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import cast

import pytest

from satchel.errors import InsufficientScope, ServerAway
from satchel.objects.ids import object_id
from satchel.remote import Remote
from satchel.remote.connection import FixedToken
from satchel.sync.patience import Patience
from satchel.sync.peer import Committed, Peer
from satchel.sync.push import Content
from satchel.sync.resume import LARGE_BYTES, Sending
from satchel.sync.run import run
from satchel.worktree.find import local_dir
from tests.server.running import serving, until
from tests.sync.cloud import Cloud, InProcessPeer, folder, held
from tests.sync.conftest import Desk

MEGABYTE = 1 << 20
FILES = 12


def fill(root: Path) -> None:
    """Text that does not compress to much less than half."""
    for number in range(FILES):
        (root / f"{number}.txt").write_text(Random(number).randbytes(MEGABYTE // 2).hex())


class Breaking:
    """A peer whose pushes break off after so many bytes, one after another; ``None`` lets one through."""

    def __init__(self, peer: InProcessPeer, *after: int | None) -> None:
        self._peer, self._after = peer, list(after)
        self.sent: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._peer, name)

    def sync(self, project: str, stream: Iterable[bytes], declared: int, key: str) -> Committed:
        after = self._after.pop(0) if self._after else None
        self.sent.append(0)

        def cut() -> Iterator[bytes]:
            for piece in stream:
                self.sent[-1] += len(piece)
                if after is not None and self.sent[-1] > after:
                    raise ConnectionResetError("cut")
                yield piece

        try:
            return self._peer.sync(project, cut(), declared, key)
        except ConnectionResetError as error:
            raise ServerAway("the connection broke off", retry_after=0) from error


def sync(desk: Desk, peer: Breaking, **how: object) -> None:
    run(desk.worktree, peer, desk.project, **how)  # type: ignore[arg-type]


@pytest.mark.promise("P6")
def test_a_push_that_broke_off_goes_on_where_it_was_also_in_another_run(ann: Desk, bob: Desk, cloud: Cloud) -> None:
    fill(ann.root)
    peer = Breaking(ann.peer, 5 * MEGABYTE // 2, 5 * MEGABYTE // 2, None)
    for _ in range(2):  # as two commands would
        with pytest.raises(ServerAway):
            sync(ann, peer)
    sync(ann, peer)
    assert peer.sent[2] < 4 * MEGABYTE  # of 6: what came twice before is there
    assert not (ann.root / ".satchel/sending").exists()
    bob.sync()
    assert held(bob.root) == held(ann.root)
    assert cloud.verify(ann.peer.tenant, ann.project).clean
    assert ann.peer.calls.count("lacking") == 2


def test_a_push_that_begins_anew_or_is_small_asks_nothing(ann: Desk) -> None:
    (ann.root / "a.md").write_text("A\n")
    ann.sync()
    fill(ann.root)
    ann.sync()
    assert "lacking" not in ann.peer.calls


def test_what_broke_off_counts_in_the_quota_like_what_is_sent_ahead_and_nothing_of_it_is_read_before_its_commit(
    ann: Desk, bob: Desk, cloud: Cloud
) -> None:
    fill(ann.root)
    with pytest.raises(ServerAway):
        sync(ann, Breaking(ann.peer, 4 * MEGABYTE))
    rows = [row for row in cloud.audited(ann.peer.tenant) if row.action == "packs"]
    assert len(rows) == 1
    assert rows[0].target.endswith("cut off")
    assert bob.sync().pulled == []
    assert len([name for name in cloud.stored() if "/packs/" in name]) == int(rows[0].target.split()[1])


def test_who_lost_the_right_leaves_nothing(ann: Desk, cloud: Cloud) -> None:
    async def gone(_s: object) -> None:
        raise InsufficientScope("no")

    fill(ann.root)
    peer = Breaking(ann.peer, 4 * MEGABYTE)

    class Revoking(Breaking):
        def sync(self, project: str, stream: Iterable[bytes], declared: int, key: str) -> Committed:
            cloud.guard = gone
            return peer.sync(project, stream, declared, key)

    with pytest.raises(ServerAway):
        sync(ann, Revoking(ann.peer))
    cloud.guard = None
    assert not [name for name in cloud.stored() if "/packs/" in name]


class CuttingProxy:
    """Passes bytes on; the first connection that sends more than ``after`` is reset there."""

    def __init__(self, port: int, after: int) -> None:
        self._port, self._after, self.cut = port, after, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.uploaded: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            number = len(self.uploaded)
            self.uploaded.append(0)
            for one, other, up in ((client, server, number), (server, client, None)):
                threading.Thread(target=self._pass, args=(one, other, up), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, up: int | None) -> None:
        try:
            while data := one.recv(65_536):
                if up is not None:
                    self.uploaded[up] += len(data)
                    if not self.cut and self.uploaded[up] > self._after:
                        self.cut = True
                        break
                other.sendall(data)
        except OSError:
            pass
        for each in (one, other):
            with closing(each):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


@pytest.mark.promise("P6")
def test_a_connection_that_is_cut_in_the_middle_of_a_push_costs_what_was_on_the_way(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        project = server.admin.post("/projects", {"slug": "p"}).ok()["id"]
        worktree = folder(tmp_path / "ann")
        fill(worktree.root)
        with closing(worktree), closing(CuttingProxy(server.settings.port, 4 * MEGABYTE)) as proxy:
            remote = Remote(f"http://127.0.0.1:{proxy.port}", FixedToken(server.admin.key))

            def salvaged(_seconds: float) -> None:
                until(lambda: bool(server.admin.get("/tenant/audit", action="packs").ok()["items"]))

            with closing(remote):
                report = run(worktree, remote, project, patience=Patience(60, lambda _: None, sleep=salvaged))
            assert proxy.cut
            assert sum(proxy.uploaded) < 8.5 * MEGABYTE  # 6 and what was on the way; all of it twice would be 10
        assert report.in_step
        assert server.admin.get(f"/projects/{project}/artifacts", limit=100).ok()["items"][0]["version"] == 1


def test_the_note_of_a_push_is_not_written_through_a_symlink(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    local_dir(tmp_path).mkdir()
    (local_dir(tmp_path) / "sending").symlink_to(theirs)
    large = [Content(object_id(b""), "plan.md", LARGE_BYTES + 1)]
    assert Sending(tmp_path).rest(cast(Peer, None), "acme", large, set()) == large
    assert theirs.read_text() == "precious"
