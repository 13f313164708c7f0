from __future__ import annotations

import os
import random as seeded
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from satchel.errors import Busy, HeadMoved, ServerAway, StoreUnavailable, UnresolvedConflicts
from satchel.sync import failpoints, pull
from satchel.sync.attempts import ATTEMPTS
from satchel.sync.choices import Direction, Strategy
from satchel.sync.outlook import status
from satchel.sync.patience import Patience
from satchel.sync.report import ChangedPath
from satchel.sync.settle import undo
from satchel.worktree.base import load_base
from satchel.worktree.lock import folder_lock
from satchel.worktree.walk import Look
from tests.sync.cloud import Cloud, held, put
from tests.sync.conftest import Desk

FILES = {"README.md": "# Acme\n", "docs/a.md": "# A\n\nText of A.\n", "docs/b.md": "# B\n"}


def test_a_second_folder_that_pulls_holds_the_same_bytes_and_digest(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    (ann.root / "run.sh").write_text("#!/bin/sh\n")
    (ann.root / "run.sh").chmod(0o755)
    (ann.root / "large.txt").write_bytes(seeded.Random(1).randbytes(3 << 20).hex().encode())
    sent = ann.sync(direction=Direction.TO_CLOUD)
    assert (sent.version, len(sent.pushed), sent.pulled, sent.in_step) == (1, 5, [], True)
    assert 0 < sent.sent_bytes < sent.raw_bytes
    assert sent.requests == 1
    got = bob.sync(direction=Direction.FROM_CLOUD)
    assert got.digest == sent.digest
    assert got.in_step
    assert held(bob.root) == held(ann.root)
    assert os.access(bob.root / "run.sh", os.X_OK)
    assert not os.access(bob.root / "README.md", os.X_OK)


def test_a_sync_without_changes_asks_once_and_sends_nothing(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES | {"logo.exe.md": "x" * 9_000_000})
    ann.sync()
    ann.peer.calls.clear()
    monkeypatch.delattr("satchel.sync.attempts.Attempts")  # nor is there any need of what does the work
    report = ann.sync()
    assert ann.peer.calls == ["changes"]
    assert (report.pushed, report.pulled, report.version, report.in_step) == ([], [], 1, True)
    assert report.digest == load_base(ann.root)[0].digest  # type: ignore[union-attr]
    assert [left.path for left in report.left_out] == ["logo.exe.md"]


def test_what_a_first_look_learnt_is_not_asked_again(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "changed\n"})
    ann.sync()
    bob.peer.calls.clear()
    assert len(bob.sync().pulled) == 1
    assert bob.peer.calls == ["changes", "read_objects"]


@pytest.mark.parametrize(
    ("there", "takes", "asks"),
    [([], True, ["read_files"]), ([], False, ["read_objects"]), (["docs/a.md"], True, ["read_objects"])],
)
def test_a_folder_that_has_nothing_asks_for_the_files_of_the_version(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch, there: list[str], takes: bool, asks: list[str]
) -> None:
    monkeypatch.setattr(pull, "MANY_OBJECTS", 0)
    put(ann.root, FILES)
    ann.sync()
    put(bob.root, {path: FILES[path] for path in there})
    bob.peer.files = takes
    bob.sync()
    assert bob.peer.calls == ["changes", *asks]
    assert held(bob.root) == held(ann.root)


@pytest.mark.system
def test_a_sync_that_finds_nothing_loads_neither_what_packs_nor_what_merges() -> None:
    program = "import sys, satchel.cli.sync_cmd; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "satchel.sync.run" in loaded
    heavy = {f"satchel.sync.{name}" for name in ("attempts", "merge", "plan", "pull", "push", "session", "wire")}
    assert not {*heavy, "satchel.objects.frame", "satchel.objects.zstd", "backports.zstd"} & set(loaded)


def test_only_what_changed_travels(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES | {f"many/{n}.md": f"number {n}\n" * 50 for n in range(200)})
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "changed\n", "new.md": "new\n"})
    (ann.root / "docs/b.md").unlink()
    sent = ann.sync()
    assert sent.pushed == [
        ChangedPath("docs/a.md", "changed"),
        ChangedPath("docs/b.md", "deleted"),
        ChangedPath("new.md", "added"),
    ]
    assert sent.raw_bytes == len("changed\n") + len("new\n")
    got = bob.sync()
    assert (got.pulled, got.pulled_bytes) == (sent.pushed, sent.raw_bytes)
    assert held(bob.root) == held(ann.root)


def test_a_renamed_file_is_not_sent_again(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    (ann.root / "docs/a.md").rename(ann.root / "moved.md")
    report = ann.sync()
    assert report.raw_bytes == 0
    assert {change.how for change in report.pushed} == {"added", "deleted"}
    bob.sync()
    assert held(bob.root) == held(ann.root)


def test_both_ways_in_one_run(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"ann.md": "from Ann\n"})
    ann.sync()
    put(bob.root, {"bob.md": "from Bob\n"})
    report = bob.sync()
    assert [c.path for c in report.pulled] == ["ann.md"]
    assert [c.path for c in report.pushed] == ["bob.md"]
    ann.sync()
    assert held(ann.root) == held(bob.root)


@pytest.mark.promise("P3")
def test_what_both_changed_is_never_overwritten_and_everything_else_syncs(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "Ann's\n", "docs/b.md": "B by Ann\n"})
    ann.sync()
    put(bob.root, {"docs/a.md": "Bob's\n", "bob.md": "more\n"})
    for _ in range(2):
        report = bob.sync()
        assert [(c.path, c.reason, c.lines, c.author) for c in report.conflicts] == [
            ("docs/a.md", "both sides changed the same lines", [[1, 5]], "Ann")
        ]
        with pytest.raises(UnresolvedConflicts):
            report.check()
    assert (bob.root / "docs/a.md").read_text() == "<<<<<<< LOCAL\nBob's\n=======\nAnn's\n>>>>>>> CLOUD\n"
    assert (bob.root / "docs/b.md").read_text() == "B by Ann\n"
    assert bob.peer.content(bob.project, "docs/a.md") == b"Ann's\n"
    assert bob.peer.content(bob.project, "bob.md") == b"more\n"
    assert [c.path for c in status(bob.worktree).conflicts] == ["docs/a.md"]


@pytest.mark.promise("P3")
@pytest.mark.parametrize("deleted_here", [True, False])
def test_an_edit_against_a_deletion_is_a_conflict(ann: Desk, bob: Desk, deleted_here: bool) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    one, other = (bob, ann) if deleted_here else (ann, bob)
    (one.root / "docs/a.md").unlink()
    put(other.root, {"docs/a.md": "edited\n"})
    ann.sync()
    report = bob.sync()
    assert [c.path for c in report.conflicts] == ["docs/a.md"]
    assert (bob.root / "docs/a.md").exists() is not deleted_here


def test_the_same_change_on_both_sides_is_agreement(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    for desk in (ann, bob):
        put(desk.root, {"docs/a.md": "the same\n"})
        (desk.root / "docs/b.md").unlink()
    ann.sync()
    report = bob.sync()
    assert (report.pushed, report.pulled, report.conflicts, report.version) == ([], [], [], 2)


@pytest.mark.parametrize(
    ("strategy", "here", "there"),
    [(Strategy.LOCAL, "Bob's\n", b"Bob's\n"), (Strategy.CLOUD, "Ann's\n", b"Ann's\n")],
)
def test_a_strategy_decides_and_the_loser_can_be_had_back(
    ann: Desk, bob: Desk, strategy: Strategy, here: str, there: bytes
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"docs/a.md": "Bob's\n"})
    report = bob.sync(strategy=strategy)
    assert report.in_step
    assert (bob.root / "docs/a.md").read_text() == here
    assert bob.peer.content(bob.project, "docs/a.md") == there
    if strategy is Strategy.LOCAL:
        assert bob.peer.content(bob.project, "docs/a.md", at=2) == b"Ann's\n"


def test_a_dry_run_tells_and_changes_nothing(ann: Desk, bob: Desk, cloud: Cloud) -> None:
    put(ann.root, FILES)
    before = cloud.stored()
    report = ann.sync(dry_run=True)
    assert (len(report.pushed), report.version, report.in_step) == (3, 0, False)
    assert (cloud.stored(), load_base(ann.root)[0]) == (before, None)
    ann.sync()
    report = bob.sync(dry_run=True)
    assert len(report.pulled) == 3
    assert held(bob.root) == {}


def test_a_dry_run_tells_of_files_that_get_a_name_of_their_own_here(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES | {"logo.md": "\0one"})
    ann.sync()
    bob.sync()
    (ann.root / "docs/a.md").rename(ann.root / "docs/z.md")
    put(ann.root, {"logo.md": "\0two"})
    ann.sync()
    put(bob.root, {"docs/a.md": FILES["docs/a.md"] + "More.\n", "logo.md": "\0three"})
    told = bob.sync(dry_run=True, strategy=Strategy.BOTH)
    assert (told.merged, [change.path for change in told.pushed]) == (["docs/z.md"], ["logo.cloud.md", "logo.md"])
    done = bob.sync(strategy=Strategy.BOTH)
    assert (done.merged, done.pushed, done.pulled) == (told.merged, told.pushed, told.pulled)


@pytest.mark.promise("P3")
def test_two_full_sides_that_never_met_lose_nothing(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES | {"only-ann.md": "a\n"})
    put(bob.root, FILES | {"only-bob.md": "b\n", "docs/a.md": "Bob's own\n"})
    ann.sync()
    report = bob.sync()
    assert [c.path for c in report.conflicts] == ["docs/a.md"]
    both = f"<<<<<<< LOCAL\nBob's own\n=======\n{FILES['docs/a.md']}>>>>>>> CLOUD\n"
    assert held(bob.root) == FILES | {"only-ann.md": "a\n", "only-bob.md": "b\n", "docs/a.md": both}
    undo(bob.worktree)
    assert (bob.root / "docs/a.md").read_text() == "Bob's own\n"


@pytest.mark.promise("P3")
def test_with_the_base_lost_deletions_return_and_a_notice_says_so(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    (ann.root / "docs/a.md").unlink()
    put(ann.root, {"docs/b.md": "changed\n"})
    for name in ("base-0", "base-1"):
        (ann.root / ".satchel" / name).write_bytes(b"not a base")
    report = ann.sync()
    assert any("may return" in notice for notice in report.notices)
    assert (ann.root / "docs/a.md").read_text() == FILES["docs/a.md"]
    assert [c.path for c in report.conflicts] == ["docs/b.md"]


def test_a_damaged_generation_is_made_whole_by_the_next_run(ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    put(ann.root, {"new.md": "new\n"})
    ann.sync()
    (ann.root / ".satchel/base-0").write_bytes(b"not a base")
    assert any("base-0 is damaged" in notice for notice in ann.sync().notices)
    assert ann.sync().notices == []


@pytest.mark.promise("P3")
def test_another_lineage_deletes_nothing_and_a_notice_says_so(ann: Desk, cloud: Cloud) -> None:
    put(ann.root, FILES)
    ann.sync()
    other = Desk(ann.worktree, ann.peer, cloud.project(ann.peer.tenant, "other"))
    report = other.sync()
    assert any("line of history" in notice for notice in report.notices)
    assert held(ann.root) == FILES
    assert len(report.pushed) == 3


@pytest.mark.promise("P3")
def test_a_file_that_a_rule_leaves_out_now_is_not_deleted_for_everybody(ann: Desk, bob: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    put(ann.root, {".satchelignore": "docs/b.md\n"})
    report = ann.sync()
    assert [c.path for c in report.pushed] == [".satchelignore"]
    bob.sync()
    assert (bob.root / "docs/b.md").exists()
    (ann.root / "docs/b.md").unlink()  # to save room, say: the rules still leave it out
    assert ann.sync().pushed == []


def test_a_file_that_changes_while_it_is_sent_goes_as_it_is_or_next_time(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    real, times = ann.worktree.scan, 0

    def scan_then_edit(look: Look) -> object:
        nonlocal times
        scan = real(look)
        times += 1
        put(ann.root, {"docs/a.md": f"edit number {times}\n"})
        return scan

    monkeypatch.setattr(type(ann.worktree), "scan", lambda _, look: scan_then_edit(look))
    report = ann.sync()
    assert report.unsettled == ["docs/a.md"]
    assert {c.path for c in report.pushed} == {"README.md", "docs/b.md"}
    assert not report.in_step
    monkeypatch.undo()
    assert [c.path for c in ann.sync().pushed] == ["docs/a.md"]


def test_a_file_edited_while_the_cloud_s_is_fetched_becomes_a_conflict(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "Ann's\n", "docs/b.md": "Ann's too\n"})
    ann.sync()
    real = type(bob.peer).read_objects

    def edit_then_read(peer: object, project: str, *asked: object) -> object:
        put(bob.root, {"docs/a.md": "Bob, just now\n"})
        return real(peer, project, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(type(bob.peer), "read_objects", edit_then_read)
    report = bob.sync()
    assert [c.path for c in report.conflicts] == ["docs/a.md"]
    assert (bob.root / "docs/a.md").read_text() == "Bob, just now\n"
    assert (bob.root / "docs/b.md").read_text() == "Ann's too\n"
    monkeypatch.undo()
    assert [c.path for c in bob.sync().conflicts] == ["docs/a.md"]


def test_a_file_that_tools_execute_arrives_only_with_trust(ann: Desk, bob: Desk) -> None:
    put(ann.root, {".vscode/tasks.json": "{}\n", "a.md": "a\n"})
    ann.sync()
    for _ in range(2):
        report = bob.sync()
        assert report.untrusted == [".vscode/tasks.json"]
        assert held(bob.root) == {"a.md": "a\n"}
        assert report.pushed == []
    assert bob.sync(trust=True).in_step
    assert held(bob.root) == held(ann.root)


def test_losing_the_race_for_the_head_means_to_plan_again(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    real = type(ann.peer).sync
    raced: list[int] = []

    def bob_is_faster(peer: object, *rest: object) -> object:
        if not raced:
            raced.append(1)
            put(bob.root, {"bob.md": "first\n"})
            bob.sync()
        return real(peer, *rest)  # type: ignore[arg-type]

    put(ann.root, {"ann.md": "second\n"})
    monkeypatch.setattr(ann.peer, "sync", lambda *rest: bob_is_faster(ann.peer, *rest))
    report = ann.sync()
    assert (report.version, [c.path for c in report.pushed], [c.path for c in report.pulled]) == (
        3,
        ["ann.md"],
        ["bob.md"],
    )


def test_a_race_lost_every_time_ends_by_saying_so(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*rest: object) -> object:
        raise HeadMoved("somebody was faster")

    put(ann.root, FILES)
    monkeypatch.setattr(ann.peer, "sync", lost)
    with pytest.raises(HeadMoved) as refused:
        ann.sync()
    assert "Run the same command again" in refused.value.hint
    assert held(ann.root) == FILES


def test_with_patience_a_race_goes_on_until_it_is_won(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(ann.peer).sync
    left = [HeadMoved("somebody was faster") for _ in range(2 * ATTEMPTS)]

    def sync(*rest: object) -> object:
        if left:
            raise left.pop()
        return real(ann.peer, *rest)  # type: ignore[arg-type]

    put(ann.root, FILES)
    monkeypatch.setattr(ann.peer, "sync", sync)
    told: list[str] = []
    assert ann.sync(patience=Patience(60, told.append, sleep=lambda _: None)).version == 1
    assert len(told) == 2


@pytest.mark.promise("P7")
def test_a_push_whose_answer_was_lost_is_found_done(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)
    real = type(ann.peer).sync

    def answer_lost(*rest: object) -> object:
        real(ann.peer, *rest)  # type: ignore[arg-type]
        raise ServerAway("the connection broke off")

    monkeypatch.setattr(ann.peer, "sync", answer_lost)
    report = ann.sync()
    assert (report.version, len(report.pushed), ann.peer.head(ann.project).version) == (1, 3, 1)


@pytest.mark.promise("P7")
def test_a_push_that_was_found_done_is_counted_once_however_often_is_looked(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    real = type(ann.peer).sync
    asked: list[int] = []

    def sync(*rest: object) -> object:
        asked.append(1)
        if len(asked) == 2:
            raise HeadMoved("somebody was faster")  # so it looks again, and sees the same head as before
        answer = real(ann.peer, *rest)  # type: ignore[arg-type]
        if len(asked) == 1:
            put(ann.root, {"more.md": "more"})
            raise ServerAway("the connection broke off")
        return answer

    monkeypatch.setattr(ann.peer, "sync", sync)
    report = ann.sync()
    assert len(asked) == 3
    assert (report.version, sorted(c.path for c in report.pushed)) == (2, [*sorted(FILES), "more.md"])


def test_a_server_that_is_away_loses_nothing(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*rest: object) -> object:
        raise ServerAway("nobody there")

    put(ann.root, FILES)
    monkeypatch.setattr(ann.peer, "sync", away)
    with pytest.raises(ServerAway):
        ann.sync()
    monkeypatch.undo()
    assert len(ann.sync().pushed) == 3


def test_two_commands_in_one_folder_do_not_meet(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.worktree.lock.PATIENCE_SECONDS", 0)
    with folder_lock(ann.root), pytest.raises(Busy):
        ann.sync()


def test_a_command_waits_for_the_sync_of_a_watch_to_end(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)
    with ExitStack() as held_:
        held_.enter_context(folder_lock(ann.root))
        monkeypatch.setattr("satchel.worktree.lock.time.sleep", lambda _: held_.close())
        assert len(ann.sync().pushed) == 3


def test_status_knows_without_asking(ann: Desk) -> None:
    put(ann.root, FILES)
    assert [c.how for c in status(ann.worktree).pushed] == ["added"] * 3
    ann.sync()
    ann.peer.calls.clear()
    put(ann.root, {"docs/a.md": "changed\n"})
    told = status(ann.worktree)
    assert ([c.path for c in told.pushed], told.version, ann.peer.calls) == (["docs/a.md"], 1, [])


def test_a_folder_becomes_a_file_and_a_file_a_folder(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a/b.md": "1\n", "c": "2\n"})
    ann.sync()
    bob.sync()
    for path in ("a/b.md", "c"):
        (ann.root / path).unlink()
    (ann.root / "a").rmdir()
    put(ann.root, {"a": "now a file\n", "c/d.md": "now a folder\n"})
    ann.sync()
    assert bob.sync().in_step
    assert held(bob.root) == {"a": "now a file\n", "c/d.md": "now a folder\n"}


def test_nothing_is_written_through_a_symlink(ann: Desk, bob: Desk, tmp_path: Path) -> None:
    put(ann.root, {"docs/a.md": "content\n"})
    ann.sync()
    outside = tmp_path / "outside"
    outside.mkdir()
    (bob.root / "docs").symlink_to(outside)
    report = bob.sync()
    assert [c.path for c in report.conflicts] == ["docs/a.md"]
    assert list(outside.iterdir()) == []


@pytest.mark.promise("P3")
def test_a_folder_in_whose_place_a_symlink_stands_is_not_deleted_though_that_leads_nowhere(
    ann: Desk, tmp_path: Path
) -> None:
    put(ann.root, FILES)
    ann.sync()
    (ann.root / "docs").rename(tmp_path / "disk")
    (ann.root / "docs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    for report in (status(ann.worktree), ann.sync()):
        assert (report.pushed, report.conflicts) == ([], [])
    assert ann.peer.content(ann.project, "docs/a.md") == FILES["docs/a.md"].encode()


@pytest.mark.promise("P7")
def test_a_sync_waits_for_a_store_that_is_away_and_repeats_itself_under_the_same_key(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    real = type(ann.peer).sync
    keys: list[str] = []
    told: list[str] = []

    def sync(project: str, stream: Iterable[bytes], declared: int, key: str) -> object:
        keys.append(key)
        if len(keys) == 2:
            real(ann.peer, project, stream, declared, key)  # committed, though the answer says otherwise
        if len(keys) < 4:
            raise StoreUnavailable("the storage does not answer", retry_after=5)
        return real(ann.peer, project, stream, declared, key)

    monkeypatch.setattr(ann.peer, "sync", sync)
    report = ann.sync(patience=Patience(60, told.append, sleep=lambda seconds: None))
    assert (report.version, len(report.pushed), ann.peer.head(ann.project).version) == (1, 3, 1)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert len(told) == 2
    assert "storage does not answer" in told[0]
    put(ann.root, {"more.md": "more"})
    with pytest.raises(StoreUnavailable):
        ann.sync(patience=Patience(0, told.append))
    assert ann.sync(patience=Patience(60, told.append, sleep=lambda seconds: None)).version == 2


@pytest.mark.promise("P3")
@pytest.mark.parametrize("others", [False, True])
def test_an_edit_after_a_push_whose_answer_never_came_is_no_conflict_with_oneself(
    others: bool, ann: Desk, bob: Desk
) -> None:
    put(ann.root, FILES | {"gone.md": "gone\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"docs/a.md": "sent\n", "new.md": "sent\n"})
    (ann.root / "gone.md").unlink()
    failpoints.arm("push.before_base", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ann.sync()
    failpoints.disarm()
    assert (ann.root / ".satchel/former/sent").stat().st_size < 200  # however many files were sent
    put(ann.root, {"docs/a.md": "edited on\n", "new.md": "edited on\n"})
    if not others:
        put(ann.root, {"gone.md": "gone\n"})  # put back: the deletion was sent, so this is a new file
    if others:
        bob.sync()
        put(bob.root, {"docs/a.md": "Bob's\n", "docs/b.md": "Bob's\n"})
        bob.sync()
    report = ann.sync()
    assert [one.path for one in report.conflicts] == (["docs/a.md"] if others else [])
    assert {change.path for change in report.pushed} == ({"new.md"} if others else {"docs/a.md", "gone.md", "new.md"})
    assert (ann.root / "gone.md").exists() is not others
    assert not (ann.root / ".satchel/former/sent").exists()
