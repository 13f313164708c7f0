from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from satchel.catalog import retention, versions
from satchel.errors import SatchelError, ServerAway, ServerLied
from satchel.objects.frame import Frame, Slot, make_frames
from satchel.objects.ids import Digest, ObjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.sync import pull
from satchel.sync.fetching import fetch
from satchel.sync.peer import Change, Changes, Head
from satchel.sync.session import Strategy
from satchel.worktree.base import Base, CloudEntry, load_base, save_base
from satchel.worktree.materialise import FEW_FILES
from satchel.worktree.undo import Bounds, UndoFull, UndoStore
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

FILES = {"a.md": "A\n", "docs/b.md": "B\n"}
Frames = Callable[[Sequence[ObjectId]], Iterator[Frame]]


@pytest.fixture
def stocked(ann: Desk, bob: Desk) -> Desk:
    """Bob, in step at version 1, with version 2 to be fetched."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n", "c.md": "C\n"})
    ann.sync()
    return bob


def refused(desk: Desk) -> None:
    """The sync ends in ``ServerLied``, the folder is as it was, and there is nothing to undo."""
    before, base, steps = held(desk.root), load_base(desk.root), UndoStore(desk.root).syncs()
    with pytest.raises(ServerLied):
        desk.sync()
    assert (held(desk.root), load_base(desk.root), UndoStore(desk.root).syncs()) == (before, base, steps)


@pytest.mark.parametrize(
    "lie",
    [
        lambda changes: changes._replace(head=changes.head._replace(digest=Digest("0" * 64))),
        lambda changes: changes._replace(items=changes.items[1:]),
        lambda changes: changes._replace(head=changes.head._replace(version=0)),
        lambda changes: changes._replace(head=changes.head._replace(version=1)),
        lambda changes: changes._replace(items=[*changes.items, _change("../../escape.md")]),
        lambda changes: changes._replace(items=[*changes.items, _change(".git/hooks/pre-commit")]),
        lambda changes: changes._replace(items=[*changes.items, _change(".satchel/config.toml")]),
        lambda changes: changes._replace(items=[changes.items[0]._replace(size=1 << 40), *changes.items[1:]]),
    ],
)
def test_changes_that_cannot_be_true_are_refused(
    stocked: Desk, monkeypatch: pytest.MonkeyPatch, lie: Callable[[Changes], Changes]
) -> None:
    real = stocked.peer.changes
    monkeypatch.setattr(stocked.peer, "changes", lambda *asked: lie(real(*asked)))
    refused(stocked)


def _change(path: str) -> Change:
    return Change(path, Entry("100644", object_id(b"evil")), 4, 2, "Ann", 0)


def _wrong_bytes(objects: Sequence[ObjectId]) -> Iterator[Frame]:
    for name in objects:
        yield from make_frames([(name, b"not what the name says")])


def _nothing(objects: Sequence[ObjectId]) -> Iterator[Frame]:
    return iter(())


def _endless(objects: Sequence[ObjectId]) -> Iterator[Frame]:
    for number in itertools.count():
        data = b"%d" % number
        yield from make_frames([(object_id(data), data)])


def _unfinished(objects: Sequence[ObjectId]) -> Iterator[Frame]:
    piece = bytes(1 << 20)
    (whole,) = make_frames([(object_id(piece), piece)])
    yield Frame((Slot(objects[0], 0, len(piece)),), whole.raw_size, whole.data, 0, 2)


def _bomb(objects: Sequence[ObjectId]) -> Iterator[Frame]:
    data = bytes(1 << 20)
    (whole,) = make_frames([(object_id(data), data)])
    yield Frame((Slot(objects[0], 0, 7),), 7, whole.data)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("lie", [_wrong_bytes, _nothing, _endless, _unfinished, _bomb])
def test_content_that_is_not_what_was_announced_is_not_written(
    stocked: Desk, monkeypatch: pytest.MonkeyPatch, lie: Frames
) -> None:
    monkeypatch.setattr(stocked.peer, "read_objects", lambda _, objects, *_since: lie(objects))
    refused(stocked)


def test_an_object_of_another_size_than_named_is_refused(stocked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stocked.peer.changes

    def longer(*asked: object) -> Changes:
        found = real(*asked)  # type: ignore[arg-type]
        return found._replace(items=[item._replace(size=item.size + 1) for item in found.items])

    monkeypatch.setattr(stocked.peer, "changes", longer)
    refused(stocked)


def test_a_base_that_does_not_fit_the_cloud_is_replaced_by_the_whole_tree(stocked: Desk) -> None:
    """Its file is whole but says something untrue: as after a defect, never after a crash."""
    from satchel.worktree.base import save_base

    base, _ = load_base(stocked.root)
    assert base is not None
    cloud = dict(base.cloud)
    cloud["docs/b.md"] = cloud["docs/b.md"]._replace(object=object_id(b"never was"))
    save_base(stocked.root, type(base)(base.lineage, base.version, base.digest, cloud, base.held))
    report = stocked.sync()
    assert held(stocked.root) == {"a.md": "second\n", "c.md": "C\n", "docs/b.md": "B\n"}
    assert report.in_step


@pytest.mark.promise("P3")
def test_a_pull_that_does_not_fit_the_undo_store_stops_before_it_overwrites(stocked: Desk) -> None:
    before = held(stocked.root)
    with pytest.raises(UndoFull):
        stocked.sync(bounds=Bounds(20))
    assert held(stocked.root) == before


def test_a_sync_that_may_write_nothing_leaves_nothing_to_undo_however_often_it_is_tried(stocked: Desk) -> None:
    steps = UndoStore(stocked.root).syncs()
    (stocked.root / "c.md").symlink_to("a.md")
    for number in range(3):
        assert [conflict.path for conflict in stocked.sync().conflicts] == ["c.md"]
        assert len(UndoStore(stocked.root).syncs()) == len(steps) + 1, number  # the first wrote a.md


def test_the_digest_after_a_pull_is_the_cloud_s(stocked: Desk) -> None:
    report = stocked.sync()
    listing = "satchel-listing 1\n" + "".join(
        f"100644 {hashlib.sha256(text.encode()).hexdigest()} {path}\n" for path, text in held(stocked.root).items()
    )
    assert hashlib.sha256(listing.encode()).hexdigest() == report.digest
    base, _ = load_base(stocked.root)
    assert base is not None
    assert Head(base.lineage, base.version, base.digest) == stocked.peer.head(stocked.project)


def test_an_interrupted_fetch_keeps_what_it_wrote_and_goes_on(stocked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from satchel.errors import ServerAway

    real = stocked.peer.read_objects

    def breaks_off(project: str, objects: Sequence[ObjectId], *_since: object) -> Iterator[Frame]:
        yield from list(real(project, objects[:1]))
        raise ServerAway("gone")

    monkeypatch.setattr(stocked.peer, "read_objects", breaks_off)
    with pytest.raises(SatchelError):
        stocked.sync()
    monkeypatch.undo()
    put(stocked.root, {"docs/b.md": "edited meanwhile\n"})
    report = stocked.sync()
    assert (report.conflicts, [c.path for c in report.pushed]) == ([], ["docs/b.md"])


def test_what_came_before_a_large_fetch_broke_off_is_in_place(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next group is written aside before one is put in place: that one is not lost for it."""
    many = 2 * FEW_FILES + 10
    monkeypatch.setattr(pull, "GROUP_OBJECTS", FEW_FILES + 1)
    put(ann.root, {f"{number}.md": f"text {number}\n" for number in range(many)})
    ann.sync()
    placed: list[int] = []

    def breaks_off(*what: Any) -> Iterator[tuple[ObjectId, bytes]]:
        for number, one in enumerate(fetch(*what)):
            if number in (FEW_FILES + 1, 2 * FEW_FILES + 2):
                placed.append(len(held(bob.root)))
            if number == 2 * FEW_FILES + 4:
                raise ServerAway("gone")
            yield one

    monkeypatch.setattr(pull, "fetch", breaks_off)
    with pytest.raises(ServerAway):
        bob.sync()
    assert placed == [0, FEW_FILES + 1]
    assert len(held(bob.root)) == 2 * FEW_FILES + 2
    monkeypatch.undo()
    assert bob.sync().in_step
    assert held(bob.root) == held(ann.root)


def test_a_renamed_file_is_taken_from_where_it_lies_and_not_sent_again(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (ann.root / "a.md").rename(ann.root / "docs/moved.md")
    ann.sync()
    bob.peer.calls.clear()
    bob.sync()
    assert held(bob.root) == held(ann.root)
    assert "read_objects" not in bob.peer.calls


def test_a_file_that_moves_into_a_folder_of_its_name_makes_way(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (ann.root / "a.md").unlink()
    put(ann.root, {"a.md/inside.md": FILES["a.md"]})
    ann.sync()
    bob.sync()
    assert held(bob.root) == held(ann.root)


def test_what_only_moves_is_in_the_folder_all_the_time(ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (ann.root / "a.md").rename(ann.root / "z.md")
    put(ann.root, {"new.md": "new\n"})
    ann.sync()

    def away(*_asked: object) -> Iterator[Frame]:
        raise ServerAway("no answer")

    monkeypatch.setattr(bob.peer, "read_objects", away)
    with pytest.raises(ServerAway):
        bob.sync()
    assert "A\n" in held(bob.root).values()


@pytest.mark.promise("P3")
def test_a_server_that_forgot_versions_and_made_others_deletes_nothing(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(bob.root, {"acknowledged.md": "Bob's\n"})
    base, _ = load_base(bob.root)
    assert base is not None
    forgotten = {**base.cloud, "acknowledged.md": CloudEntry("100644", object_id(b"Bob's\n"), 2, "Bob", 0, None)}
    tree = {path: Entry(*row[:2]) for path, row in forgotten.items()}
    save_base(bob.root, Base(base.lineage, 2, digest(tree), forgotten, {}))  # as if the server had said so
    put(ann.root, {"a.md": "in other versions\n"})
    ann.sync()
    with pytest.raises(ServerLied, match="another content"):
        bob.sync()
    (ann.root / "docs/b.md").unlink()
    ann.sync()
    report = bob.sync(strategy=Strategy.CLOUD)
    assert [c.path for c in report.pushed] == ["acknowledged.md", "docs/b.md"]
    assert any("other versions" in notice for notice in report.notices)
    ann.sync()
    assert held(ann.root) == held(bob.root) == {**FILES, "a.md": "in other versions\n", "acknowledged.md": "Bob's\n"}
    assert bob.sync().notices == []


def everything_but_the_head_expires(desk: Desk) -> None:
    cloud, tenant, project = desk.peer.cloud, desk.peer.tenant, desk.project

    async def expire() -> None:
        async with cloud.catalog.write(tenant) as s:
            await retention.raise_floor(s, project, (await versions.head(s, project)).version)

    cloud.wait(expire())


@pytest.mark.promise("P3")
def test_versions_forgotten_are_noticed_although_they_would_have_expired(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(bob.root, {"acknowledged.md": "Bob's\n"})
    base, _ = load_base(bob.root)
    assert base is not None
    forgotten = {**base.cloud, "acknowledged.md": CloudEntry("100644", object_id(b"Bob's\n"), 2, "Bob", 0, None)}
    tree = {path: Entry(*row[:2]) for path, row in forgotten.items()}
    save_base(bob.root, Base(base.lineage, 2, digest(tree), forgotten, {}))  # as if the server had said so
    for text in ("in another version 2\n", "and a version 3\n"):
        put(ann.root, {"a.md": text})
        ann.sync()
    everything_but_the_head_expires(ann)
    report = bob.sync(strategy=Strategy.CLOUD)
    assert [c.path for c in report.pushed] == ["acknowledged.md"]
    assert any("other versions" in notice for notice in report.notices)
    assert bob.sync().notices == []


@pytest.mark.parametrize("known", [True, False])
def test_what_expired_in_order_raises_no_alarm_and_deletions_travel(
    ann: Desk, bob: Desk, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (ann.root / "docs/b.md").unlink()
    for text in ("second\n", "third\n"):
        put(ann.root, {"a.md": text})
        ann.sync()
    everything_but_the_head_expires(ann)
    if not known:  # a server of before, or one that was made anew from its bucket
        monkeypatch.setattr(bob.peer, "digest_of", lambda *_given: None)
    report = bob.sync()
    assert (report.pushed, report.notices, report.in_step) == ([], [], True)
    assert held(bob.root) == held(ann.root)
    bob.peer.calls.clear()
    bob.sync()
    assert "digest_of" not in bob.peer.calls
