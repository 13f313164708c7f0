from __future__ import annotations

import os

import pytest

from satchel.errors import PathRefused
from satchel.sync.choices import Strategy
from satchel.sync.report import ChangedPath, SyncReport
from satchel.sync.run import run
from satchel.sync.settle import Take, put_back, resolve, undo
from satchel.sync.wire import MAX_SIZE
from satchel.worktree import beneath
from satchel.worktree.ignore import Root
from satchel.worktree.policy import Governing, Policies
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

FILES = {"a.md": "A\n", "media/b.md": "B\n", "media/c.md": "C\n"}
NARROW = {".satchelignore": "media/\n"}


@pytest.fixture
def narrowed(ann: Desk, bob: Desk) -> Desk:
    """Ann does not select ``media/`` any more; Bob, who has everything, does: the rule is hers alone."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (ann.root / ".git/info").mkdir(parents=True)
    (ann.root / ".git/info/exclude").write_text("media/\n")
    return ann


def governed(desk: Desk, policies: Policies, **how: object) -> SyncReport:
    return run(desk.worktree, desk.peer, desk.project, governing=Governing(policies), **how)  # type: ignore[arg-type]


@pytest.mark.promise("P3")
def test_what_leaves_the_selection_is_deleted_nowhere_and_comes_back_with_it(narrowed: Desk, bob: Desk) -> None:
    assert narrowed.sync().pushed == []
    (narrowed.root / "media/b.md").unlink()  # to save room
    put(bob.root, {"media/c.md": "changed by Bob\n", "media/d.md": "new\n"})
    bob.sync()
    report = narrowed.sync()
    assert (report.pushed, report.pulled, report.conflicts) == ([], [], [])
    assert report.withheld == dict.fromkeys(("media/b.md", "media/c.md", "media/d.md"), "not selected here")
    assert held(narrowed.root) == {"a.md": "A\n", "media/c.md": "C\n", ".git/info/exclude": "media/\n"}
    assert bob.sync().pulled == []
    (narrowed.root / ".git/info/exclude").write_text("")
    again = narrowed.sync()
    assert [change.path for change in again.pulled] == ["media/b.md", "media/c.md", "media/d.md"]
    assert again.pushed == []


def test_what_others_delete_outside_the_selection_stays_here(narrowed: Desk, bob: Desk) -> None:
    (bob.root / "media/b.md").unlink()
    bob.sync()
    assert narrowed.sync().pulled == []
    assert (narrowed.root / "media/b.md").exists()


def test_what_the_rules_came_to_leave_out_is_neither_decided_nor_undone_until_it_is_selected_again(
    ann: Desk, bob: Desk
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(bob.root, {"media/b.md": "Bob\n"})
    bob.sync()
    put(ann.root, {"media/b.md": "Ann\n"})
    assert [conflict.path for conflict in ann.sync().conflicts] == ["media/b.md"]
    put(ann.root, NARROW)
    for decide in (
        lambda: resolve(ann.worktree, ["media/b.md"], Take.LOCAL),
        lambda: put_back(ann.worktree, "media/b.md", b"old\n", "100644"),
    ):
        with pytest.raises(PathRefused, match="rules leave out"):
            decide()
    assert undo(ann.worktree).skipped == {"media/b.md": "there is something that this folder's rules leave out"}
    (ann.root / ".satchelignore").unlink()
    assert undo(ann.worktree).restored == ["media/b.md"]
    assert held(ann.root) == {**FILES, "media/b.md": "Ann\n"}


def test_with_prune_what_the_rules_leave_out_is_deleted_in_the_cloud_and_stays_here(narrowed: Desk, bob: Desk) -> None:
    planned = run(narrowed.worktree, narrowed.peer, narrowed.project, prune=True, dry_run=True)
    assert planned.pushed == [
        ChangedPath("media/b.md", "deleted"),
        ChangedPath("media/c.md", "deleted"),
    ]
    assert narrowed.sync(prune=True).pushed == planned.pushed
    assert (narrowed.root / "media/b.md").exists()
    bob.sync()
    assert held(bob.root) == {"a.md": "A\n"}
    assert narrowed.sync(prune=True).pushed == []


def test_with_prune_a_folder_with_more_rules_than_are_read_stays_in_the_cloud(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"a.md": "A\n", "sub/b.md": "B\n", "sub/.gitignore": "*.tmp\n"})
    ann.sync()
    monkeypatch.setattr(Root, "has_room", lambda *_texts: False)
    report = ann.sync(prune=True)
    assert [left.reason for left in report.left_out] == ["too-many-rules"]
    assert report.pushed == []


def test_with_prune_an_edit_does_not_follow_a_rename_to_where_the_rules_leave_it_out(narrowed: Desk, bob: Desk) -> None:
    bob.sync()
    (bob.root / "a.md").rename(bob.root / "media/a.md")
    bob.sync()
    put(narrowed.root, {"a.md": "A\nedited\n"})
    report = narrowed.sync(prune=True)
    assert [conflict.path for conflict in report.conflicts] == ["a.md"]
    assert {change.path for change in report.pushed} == {"media/a.md", "media/b.md", "media/c.md"}
    assert not (narrowed.root / "media/a.md").exists()
    assert (narrowed.root / "a.md").read_text() == "A\nedited\n"


def test_a_file_larger_than_this_folder_takes_is_not_fetched(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"big.md": "x" * 2_000, "a.md": "A\n"})
    ann.sync()
    bob.worktree.rules = bob.worktree.rules._replace(max_file_bytes=1_000)
    report = bob.sync()
    assert list(report.withheld) == ["big.md"]
    assert held(bob.root) == {"a.md": "A\n"}


@pytest.mark.promise("P8")
def test_a_file_that_grew_beyond_any_limit_is_not_read_for_what_it_held(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"grows.md": "small\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"copy.md": "small\n"})
    ann.sync()
    os.truncate(bob.root / "grows.md", MAX_SIZE + 1)
    read: list[int] = []
    real = beneath.read_all

    def reading(fd: int, size: int) -> bytes:
        read.append(size)
        return real(fd, size)

    monkeypatch.setattr(beneath, "read_all", reading)
    assert [change.path for change in bob.sync().pulled] == ["copy.md"]
    assert ((bob.root / "copy.md").read_text(), max(read, default=0) <= MAX_SIZE) == ("small\n", True)


@pytest.mark.parametrize("deleted", [True, False])
def test_a_file_that_grew_too_large_here_stays_as_it_is_on_both_sides(ann: Desk, bob: Desk, deleted: bool) -> None:
    put(ann.root, {"grows.md": "small\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"grows.md": "changed there\n"})
    if deleted:
        (ann.root / "grows.md").unlink()
    ann.sync()
    bob.worktree.rules = bob.worktree.rules._replace(max_file_bytes=1_000)
    put(bob.root, {"grows.md": "x" * 2_000})
    for _ in range(2):
        report = bob.sync()
        assert (list(report.withheld), report.conflicts) == (["grows.md"], [])
        assert held(bob.root) == {"grows.md": "x" * 2_000}
    put(bob.root, {"grows.md": "small again\n"})
    assert [conflict.path for conflict in bob.sync().conflicts] == ["grows.md"]


@pytest.mark.parametrize(
    ("policy", "sent", "fetched"),
    [("local_only", False, False), ("pull_only", False, True), ("push_only", True, False)],
)
def test_a_policy_says_in_which_directions_a_path_travels(
    ann: Desk, bob: Desk, policy: str, sent: bool, fetched: bool
) -> None:
    put(ann.root, {"x/mine.md": "1\n", "x/theirs.md": "1\n", "x/both.md": "1\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"x/mine.md": "Ann's\n", "x/both.md": "Ann's\n", "x/new.md": "new\n"})
    put(bob.root, {"x/theirs.md": "Bob's\n", "x/both.md": "Bob's\n"})
    bob.sync()
    policies = Policies(**{policy: ("x/",)})
    for _ in range(2):
        report = governed(ann, policies)
        # What both changed would have to travel both ways.
        assert report.withheld["x/both.md"] == policy.replace("_", "-")
        assert report.conflicts == []
        assert held(ann.root)["x/both.md"] == "Ann's\n"
        assert held(ann.root)["x/theirs.md"] == ("Bob's\n" if fetched else "1\n")
    bob.sync()
    assert held(bob.root)["x/mine.md"] == ("Ann's\n" if sent else "1\n")
    assert ("x/new.md" in held(bob.root)) is sent


def test_no_strategy_goes_against_a_policy(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"x/p.md": "1\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"x/p.md": "Ann's\n"})
    put(bob.root, {"x/p.md": "Bob's\n"})
    bob.sync()
    report = governed(ann, Policies(pull_only=("x/",)), strategy=Strategy.LOCAL)
    assert report.withheld == {"x/p.md": "pull-only"}
    assert bob.sync().pulled == []
    report = governed(ann, Policies(push_only=("x/",)), strategy=Strategy.CLOUD)
    assert report.withheld == {"x/p.md": "push-only"}
    assert held(ann.root)["x/p.md"] == "Ann's\n"


def test_a_policy_is_a_pattern_that_can_be_taken_back() -> None:
    governing = Governing(Policies(local_only=("drafts/", "!drafts/public.md", "*.tmp.md"), push_only=("/journal/",)))
    assert governing.of("drafts/a.md") == "local-only"
    assert governing.of("x/drafts/deep/a.md") == "local-only"
    assert governing.of("drafts/public.md") is None
    assert governing.of("a.tmp.md") == "local-only"
    assert governing.of("journal/2026/a.md") == "push-only"
    assert governing.of("x/journal/a.md") is None
