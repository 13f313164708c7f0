"""The list of reviews travels like any file from a person's folder, and stays where a key or an agent syncs."""

from __future__ import annotations

from satchel.objects.ids import object_id
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.sync.selection import NO_PERSON, REVIEWS_STAY
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

FILES = {f"{name}.md": f"# {name}\n" for name in "abcd"}


def reviewed(*names: str) -> dict[str, str]:
    reviews = [Review(f"{name}.md", object_id(FILES[f"{name}.md"].encode())) for name in names]
    return {REVIEWED_PATH: write_reviews(b"", reviews).decode()}


def test_with_a_key_everything_but_the_list_is_sent(ann: Desk, bob: Desk) -> None:
    ann.sync()  # so that the next one is sent in hope
    put(ann.root, {**FILES, **reviewed("a")})
    for _ in range(2):
        report = ann.sync()
        assert (report.withheld, report.conflicts, report.notices) == ({REVIEWED_PATH: NO_PERSON}, [], [REVIEWS_STAY])
        assert report.in_step
        put(ann.root, {"more.md": "more\n"})
    bob.sync()
    assert held(bob.root) == FILES | {"more.md": "more\n"}
    ann.peer.person = True
    assert [change.path for change in ann.sync().pushed] == [REVIEWED_PATH]
    bob.sync()
    assert held(bob.root)[REVIEWED_PATH] == reviewed("a")[REVIEWED_PATH]


def test_who_is_known_to_be_no_person_does_not_try(ann: Desk) -> None:
    put(ann.root, {**FILES, **reviewed("a")})
    ann.sync(person=False)
    ann.peer.calls.clear()
    planned, done = ann.sync(person=False, dry_run=True), ann.sync(person=False)
    assert (planned.notices, done.notices, done.requests) == ([REVIEWS_STAY], [REVIEWS_STAY], 0)
    assert done.withheld == {REVIEWED_PATH: NO_PERSON}
    assert "sync" not in ann.peer.calls


def test_what_a_person_reviewed_comes_to_every_folder_and_a_key_cannot_take_it_out(ann: Desk, bob: Desk) -> None:
    ann.peer.person = True
    put(ann.root, {**FILES, **reviewed("a")})
    ann.sync()
    bob.sync()
    (bob.root / REVIEWED_PATH).unlink()
    put(bob.root, {"a.md": "edited by a robot\n"})
    report = bob.sync()
    assert ([change.path for change in report.pushed], list(report.withheld)) == (["a.md"], [REVIEWED_PATH])
    ann.sync()
    assert held(ann.root) == FILES | reviewed("a") | {"a.md": "edited by a robot\n"}


def test_where_both_changed_the_list_a_key_leaves_it_and_the_rest_goes_both_ways(ann: Desk, bob: Desk) -> None:
    ann.peer.person = True
    put(ann.root, {**FILES, **reviewed("a")})
    ann.sync()
    bob.sync()
    put(ann.root, {**reviewed("a", "b"), "of-ann.md": "x\n"})
    ann.sync()
    put(bob.root, {**reviewed("a", "c"), "of-bob.md": "x\n"})
    report = bob.sync()
    assert report.withheld == {REVIEWED_PATH: NO_PERSON}
    assert report.conflicts == []
    assert held(bob.root) == FILES | reviewed("a", "c") | {"of-ann.md": "x\n", "of-bob.md": "x\n"}
    bob.peer.person = True
    assert bob.sync().merged == [REVIEWED_PATH]
    ann.sync()
    assert (
        held(ann.root) == held(bob.root) == FILES | reviewed("a", "b", "c") | {"of-ann.md": "x\n", "of-bob.md": "x\n"}
    )


def test_two_people_who_review_neighbours_never_meet_in_a_conflict(ann: Desk, bob: Desk) -> None:
    ann.peer.person = bob.peer.person = True
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, reviewed("a", "c"))
    put(bob.root, reviewed("b", "d"))
    ann.sync()
    report = bob.sync()
    assert (report.merged, report.conflicts) == ([REVIEWED_PATH], [])
    put(ann.root, reviewed("c"))
    ann.sync()
    assert held(ann.root) == FILES | reviewed("b", "c", "d")
