"""An edit as one small request: what the client sends, what the server takes, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.errors import FrameRefused, InvalidInput, ObjectsMissing, SatchelError, TooLarge
from satchel.objects.delta import make_delta
from satchel.objects.frame import Frame
from satchel.objects.ids import ObjectId, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync import expand
from satchel.sync.peer import Committed
from satchel.sync.wire import Parent, Sent, encode_preamble
from satchel.worktree.find import local_dir
from satchel.worktree.former import Former
from tests.sync.cloud import Cloud, InProcessPeer, put
from tests.sync.conftest import Desk


def page(seed: int, lines: int = 120) -> str:
    dice = random.Random(seed)
    return "".join(f"{number}: {dice.randrange(10**12)} is what was measured\n" for number in range(lines))


def edited(text: str) -> str:
    return text.replace("60:", "sixty:")


FILES = {f"page{seed}.md": page(seed) for seed in range(4)}


def test_an_edit_is_one_request_and_a_small_one(cloud: Cloud, ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    ann.peer.calls.clear()
    put(ann.root, {name: edited(text) for name, text in FILES.items()})
    report = ann.sync()
    assert ann.peer.calls == ["sync"]
    assert (report.requests, report.raw_bytes) == (1, sum(len(edited(text)) for text in FILES.values()))
    assert report.sent_bytes * 8 < report.raw_bytes
    bob.sync()
    assert {name: (bob.root / name).read_text() for name in FILES} == {n: edited(t) for n, t in FILES.items()}
    assert cloud.verify(ann.peer.tenant, ann.project).clean


def test_an_edit_of_what_was_pulled_is_as_small(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(bob.root, {"page1.md": edited(FILES["page1.md"])})
    report = bob.sync()
    assert report.sent_bytes * 4 < report.raw_bytes
    ann.sync()
    assert (ann.root / "page1.md").read_text() == edited(FILES["page1.md"])


def test_who_hoped_in_vain_looks_and_loses_nothing(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"page1.md": edited(FILES["page1.md"]), "page2.md": FILES["page2.md"].replace("7:", "seven:")})
    ann.sync()
    put(bob.root, {"page2.md": FILES["page2.md"].replace("99:", "ninety-nine:")})
    bob.peer.calls.clear()
    report = bob.sync()
    assert bob.peer.calls[:2] == ["sync", "changes"]
    assert report.in_step
    both = FILES["page2.md"].replace("7:", "seven:").replace("99:", "ninety-nine:")
    assert "seven:" in (bob.root / "page2.md").read_text()
    assert "ninety-nine:" in (bob.root / "page2.md").read_text()
    assert len(both.splitlines()) == len((bob.root / "page2.md").read_text().splitlines())


@pytest.mark.parametrize("lost", ["all", "note"])
def test_without_what_was_kept_the_content_itself_travels(ann: Desk, lost: str) -> None:
    put(ann.root, FILES)
    ann.sync()
    if lost == "all":
        Former(ann.root).forget()
    else:
        Former(ann.root).note(ann.peer.head(ann.project).lineage, taken=False)
    put(ann.root, {"page1.md": edited(FILES["page1.md"])})
    report = ann.sync()
    assert report.sent_bytes * 3 > report.raw_bytes
    assert ann.peer.content(ann.project, "page1.md").decode() == edited(FILES["page1.md"])


def test_a_server_that_says_nothing_of_deltas_gets_none(ann: Desk) -> None:
    ann.peer.deltas = False
    put(ann.root, FILES)
    ann.sync()
    put(ann.root, {"page1.md": edited(FILES["page1.md"])})
    report = ann.sync()
    assert (report.requests, report.sent_bytes * 3 > report.raw_bytes) == (1, True)


class Older(InProcessPeer):
    """A server of before, behind the same address as one that takes deltas."""

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        pieces = list(stream)
        if any(piece.startswith(b"SFD1") for piece in pieces):
            raise FrameRefused("neither a frame nor the end of the pack")
        return super().sync(project, pieces, declared, key, allowed=allowed)


def test_a_server_that_takes_none_after_all_gets_the_content(cloud: Cloud, ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    lineage = ann.peer.head(ann.project).lineage
    ann.peer = Older(cloud, ann.peer.tenant, "Ann", deltas=False)
    put(ann.root, {"page1.md": edited(FILES["page1.md"])})
    report = ann.sync()
    assert (report.requests, report.in_step) == (2, True)
    assert not Former(ann.root).taken(lineage)
    assert ann.peer.content(ann.project, "page1.md").decode() == edited(FILES["page1.md"])


def test_a_base_the_store_lost_is_made_good_by_the_content(
    cloud: Cloud, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()

    async def gone(self: object, frame: Frame) -> Frame:
        raise expand._missing(sorted(frame.bases))

    with monkeypatch.context() as patch:
        patch.setattr(expand.Expansion, "__call__", gone)
        put(ann.root, {"page1.md": edited(FILES["page1.md"])})
        report = ann.sync()
    assert (report.requests, report.in_step) == (2, True)
    assert ann.peer.content(ann.project, "page1.md").decode() == edited(FILES["page1.md"])


def test_leaving_the_note_in_another_line_of_history_sends_no_delta(ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    (local_dir(ann.root) / "former" / "taken").write_text("lin_of_another_server")
    put(ann.root, {"page1.md": edited(FILES["page1.md"])})
    assert ann.sync().sent_bytes > 1_000


# What nobody's client sends ------------------------------------------------------------------------------------------


def send(
    peer: InProcessPeer,
    project: ProjectId,
    frames: Sequence[Frame],
    before: dict[str, str],
    changes: dict[str, str],
) -> object:
    after = {path: Entry("100644", object_id(text.encode())) for path, text in (before | changes).items()}
    sent = [Sent(path, after[path], len(text.encode())) for path, text in changes.items()]
    stream = [*encode_preamble(Parent(*peer.head(project)), digest(after), sent), encode_pack_start()]
    stream += [*map(encode_frame, frames), encode_pack_end(len(frames))]
    return peer.sync(project, stream, sum(map(len, stream)), "key")


def of(*texts: str) -> list[tuple[ObjectId, bytes]]:
    return [(object_id(text.encode()), text.encode()) for text in texts]


A, B = page(100), edited(page(100))


def refused(peer: InProcessPeer, project: ProjectId, frames: Sequence[Frame], before: dict[str, str]) -> SatchelError:
    head = peer.head(project)
    with pytest.raises(SatchelError) as caught:
        send(peer, project, frames, before, {"b.md": B})
    assert peer.head(project) == head
    return caught.value


@pytest.mark.promise("P5")
def test_a_base_of_another_project_is_as_absent_as_one_that_never_was(
    cloud: Cloud, ann: Desk, tenant: TenantId, tmp_path: Path
) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    delta = make_delta(of(B), of(A))
    never = make_delta(of(B), of(page(999)))
    other = cloud.project(tenant, "other")
    stranger = cloud.tenant("stranger")
    theirs = cloud.project(stranger, "theirs")
    said = []
    for peer, project in ((ann.peer, other), (cloud.peer(stranger, "Eve"), theirs)):
        for each in (delta, never):
            stored = cloud.stored()
            error = refused(peer, project, [each], {})
            assert isinstance(error, ObjectsMissing)
            assert error.facts == {"objects": [*each.bases]}
            assert cloud.stored() == stored
            said.append((error.code, error.message, error.hint))
    assert len(set(said)) == 1


def test_a_base_that_an_older_version_alone_has_is_absent(ann: Desk) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    put(ann.root, {"a.md": "short now\n"})
    ann.sync()
    assert isinstance(
        refused(ann.peer, ann.project, [make_delta(of(B), of(A))], {"a.md": "short now\n"}), ObjectsMissing
    )


def test_what_does_not_hash_to_its_name_is_refused(ann: Desk) -> None:
    put(ann.root, {"a.md": A, "c.md": page(5)})
    ann.sync()
    wrong = replace(make_delta(of(B), of(A)), bases=(object_id(page(5).encode()),))
    assert isinstance(refused(ann.peer, ann.project, [wrong], {"a.md": A, "c.md": page(5)}), FrameRefused)


def test_an_object_that_no_change_names_is_refused_before_its_bases_are_read(ann: Desk) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    error = refused(ann.peer, ann.project, [make_delta(of(page(6)), of(page(7)))], {"a.md": A})
    assert isinstance(error, InvalidInput)


def test_an_object_comes_once_as_a_delta(ann: Desk) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    delta = make_delta(of(B), of(A))
    assert isinstance(refused(ann.peer, ann.project, [delta, delta], {"a.md": A}), FrameRefused)


def test_what_deltas_make_a_server_read_is_bounded(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    monkeypatch.setattr(expand, "MAX_BASES_BYTES", len(A) - 1)
    assert isinstance(refused(ann.peer, ann.project, [make_delta(of(B), of(A))], {"a.md": A}), TooLarge)


def test_content_ahead_of_a_commit_comes_whole(cloud: Cloud, ann: Desk) -> None:
    put(ann.root, {"a.md": A})
    ann.sync()
    stream = [*encode_preamble(None, None, ()), encode_pack_start(), encode_frame(make_delta(of(B), of(A)))]
    stream.append(encode_pack_end(1))
    with pytest.raises(FrameRefused):
        ann.peer.give_back(ann.project, stream, 1 << 20)
