"""What the server lost comes back from whoever still has it, and nobody loses anything by that."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import versions
from satchel.errors import InsufficientScope
from satchel.objects.ids import ObjectId, ProjectId, TenantId, object_id
from satchel.sync import heal
from satchel.sync.choices import Direction, Strategy
from satchel.sync.push import Body, Content, FileMoved, content_body, kept_body
from satchel.upkeep.purge import purge
from satchel.upkeep.repair import repair
from satchel.upkeep.verify import verify
from tests.sync.cloud import Cloud, held, put
from tests.sync.conftest import Desk

pytestmark = pytest.mark.promise("P3")
FILES = {f"docs/{n}.md": f"# File {n}\n" for n in range(4)}
Lose = Callable[[], int]


@pytest.fixture
def lose(cloud: Cloud, tenant: TenantId, project: ProjectId) -> Lose:
    """Remove every pack, and let the operator note what is lost."""

    def work() -> int:
        for name in [name for name in cloud.stored() if "/packs/" in name]:
            cloud.wait(cloud.store.delete(name))

        async def note() -> int:
            estate = cloud.estate
            return (await repair(estate, await verify(estate, full=True))).lost

        return cloud.wait(note())

    return work


def refuse(*_: object) -> Coroutine[Any, Any, None]:
    raise InsufficientScope("reading alone")


def test_a_sync_gives_back_what_the_server_lost(cloud: Cloud, ann: Desk, bob: Desk, lose: Lose) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    assert lose() == 4
    report = ann.sync()
    assert (report.restored, report.version, report.in_step) == (4, 1, True)
    assert cloud.verify(ann.peer.tenant, ann.project).clean
    assert ann.sync().restored == bob.sync().restored == 0
    assert bob.peer.calls.count("damaged") == 0


TOKEN = "token = ghp_" + "Ab3dEf7hIj" * 3 + "k1m2n3\n"


@pytest.mark.promise("P10")
def test_a_server_gets_back_nothing_that_was_never_in_step(
    ann: Desk, bob: Desk, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what it likes, and learns nothing of files that were not sent, or stopped."""
    put(ann.root, FILES)
    ann.sync()
    lose()
    new, secret = "# Not sent yet\n", TOKEN
    put(ann.root, {"new.md": new, "secret.md": secret, "a/copy.md": FILES["docs/1.md"]})
    lost = [ObjectId(object_id(text.encode())) for text in (new, secret, *FILES.values())]
    given: list[set[str]] = []

    def body(contents: Sequence[Content], root: Path) -> Body:
        given.append({content.path for content in contents})
        return content_body(contents, root)

    monkeypatch.setattr(type(ann.peer), "damaged", lambda *_: lost)
    monkeypatch.setattr("satchel.sync.heal.content_body", body)
    assert ann.sync().restored == 4
    assert given == [set(FILES)]


def test_of_what_was_kept_for_undo_no_secret_is_given_back(
    ann: Desk, bob: Desk, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"a.md": "a\n", "b.md": "b\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "1\n", "b.md": "2\n"})
    ann.sync()
    put(bob.root, {"a.md": TOKEN, "b.md": "harmless\n"})
    bob.sync(strategy=Strategy.CLOUD)
    kept = [ObjectId(object_id(text.encode())) for text in (TOKEN, "harmless\n")]
    assert {name for name, _ in heal.kept_here(bob.root, set(kept))} == set(kept)
    lose()
    monkeypatch.setattr(type(bob.peer), "damaged", lambda *_: kept)
    given: list[ObjectId] = []

    def body(batch: list[tuple[ObjectId, bytes]]) -> Body:
        given.extend(name for name, _ in batch)
        return kept_body(batch)

    monkeypatch.setattr("satchel.sync.heal.kept_body", body)
    bob.sync()
    assert given == kept[1:]


def test_an_undo_store_gives_back_what_was_overwritten(cloud: Cloud, ann: Desk, bob: Desk, lose: Lose) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, dict.fromkeys(FILES, "changed\n"))
    ann.sync()
    bob.sync()  # keeps the old files in the undo store
    lose()
    assert not cloud.verify(ann.peer.tenant, ann.project).clean
    assert bob.sync().restored == 5
    assert cloud.verify(ann.peer.tenant, ann.project).clean
    assert {bob.peer.content(bob.project, path, 1) for path in FILES} == {text.encode() for text in FILES.values()}


def test_much_goes_in_parts_and_a_file_that_is_edited_holds_up_its_part_alone(
    cloud: Cloud, ann: Desk, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    assert lose() == 4
    monkeypatch.setattr(heal, "BATCH_BYTES", 1)

    def edited(contents: Sequence[Content], root: Path) -> Body:
        if any(content.path == "docs/1.md" for content in contents):
            raise FileMoved("docs/1.md")
        return content_body(contents, root)

    with monkeypatch.context() as patch:
        patch.setattr("satchel.sync.heal.content_body", edited)
        assert ann.sync().restored == 3
    assert ann.peer.calls.count("give_back") == 3
    assert ann.sync().restored == 1
    assert cloud.verify(ann.peer.tenant, ann.project).clean


@pytest.mark.parametrize("how", [{"direction": Direction.FROM_CLOUD}, {"dry_run": True}])
def test_who_only_fetches_or_looks_sends_nothing(ann: Desk, lose: Lose, how: dict[str, object]) -> None:
    put(ann.root, FILES)
    ann.sync()
    lose()
    assert ann.sync(**how).restored == 0
    assert "give_back" not in ann.peer.calls


def test_who_may_only_read_syncs_as_ever(ann: Desk, lose: Lose, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)
    ann.sync()
    lose()
    monkeypatch.setattr(type(ann.peer), "damaged", refuse)
    report = ann.sync()
    assert (report.restored, report.in_step) == (0, True)


def test_a_pull_of_a_tree_with_lost_files_brings_the_others_and_the_rest_when_it_is_back(
    cloud: Cloud, ann: Desk, bob: Desk, lose: Lose
) -> None:
    put(ann.root, FILES)
    ann.sync()
    lose()
    put(ann.root, {"docs/new.md": "new\n"})
    (ann.root / "docs/0.md").rename(ann.root.parent / "aside")
    ann.sync()  # gives three back; docs/0.md is deleted in the new version
    report = bob.sync()
    assert held(bob.root) == {path: text for path, text in FILES.items() if path != "docs/0.md"} | {
        "docs/new.md": "new\n"
    }
    assert report.conflicts == []


def test_lost_files_are_named_and_nothing_else_stops(
    cloud: Cloud, ann: Desk, bob: Desk, lose: Lose, tmp_path: Path
) -> None:
    put(ann.root, FILES)
    ann.sync()
    lose()
    put(bob.root, {"mine.md": "mine\n"})
    report = bob.sync()
    assert sorted(conflict.path for conflict in report.conflicts) == sorted(FILES)
    assert "lost its content" in report.conflicts[0].reason
    assert held(bob.root) == {"mine.md": "mine\n"}
    assert ann.sync().restored == 4
    report = bob.sync()
    assert report.in_step
    assert held(bob.root) == FILES | {"mine.md": "mine\n"}
    assert held(ann.root) == FILES | {"mine.md": "mine\n"}


def test_a_file_that_both_changed_and_the_cloud_lost_is_a_conflict_and_the_folder_s_can_be_sent(
    ann: Desk, bob: Desk, lose: Lose
) -> None:
    put(ann.root, FILES)
    ann.sync()
    lose()
    put(bob.root, {"docs/0.md": "bob's\n"})
    reasons = {conflict.path: conflict.reason for conflict in bob.sync().conflicts}
    assert "the cloud has lost" in reasons["docs/0.md"]
    assert [change.path for change in bob.sync(strategy=Strategy.LOCAL).pushed] == ["docs/0.md"]
    assert held(bob.root) == {"docs/0.md": "bob's\n"}


def test_what_is_purged_while_it_is_given_back_stays_purged(
    cloud: Cloud, ann: Desk, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    assert lose() == 4
    gone = object_id(FILES["docs/0.md"].encode())
    damaged = ann.peer.damaged

    def purged_meanwhile(project: str) -> list[ObjectId]:
        asked = damaged(project)
        cloud.wait(purge(cloud.estate, cloud.receiver, ann.peer.caller(), ProjectId(project), ["docs/0.md"]))
        return asked

    monkeypatch.setattr(ann.peer, "damaged", purged_meanwhile)
    assert ann.sync().restored == 0
    monkeypatch.undo()

    async def places() -> set[ObjectId]:
        async with cloud.catalog.read(ann.peer.tenant) as s:
            objects = [object_id(text.encode()) for text in FILES.values()]
            return {row.object for row in await versions.places(s, ProjectId(ann.project), objects)}

    assert cloud.wait(places()) == set()
    assert ann.sync().restored == 3
    assert len(found := cloud.wait(places())) == 3
    assert gone not in found
