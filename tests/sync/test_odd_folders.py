"""Folders that came back from a backup, were copied, lost their state or have another's, under clocks that are off."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing
from pathlib import Path

import pytest

from satchel.errors import PathRefused
from satchel.objects.ids import ObjectId
from satchel.sync import folder as folders
from satchel.sync.push import Content
from satchel.sync.report import SyncReport
from satchel.sync.resume import LARGE_BYTES, Sending
from satchel.sync.run import run
from satchel.sync.settle import put_back, undo
from satchel.worktree import durable
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud, held, put
from tests.sync.conftest import Desk

DAY_NS = 86_400 * 1_000_000_000
FILES = {"a.md": "one\n", "docs/b.md": "two\n", "docs/c.md": "three\n"}


def copied(desk: Desk, to: Path) -> Desk:
    """A copy of the whole folder, Satchel's own files included, as a backup or another machine has it."""
    shutil.copytree(desk.root, to)
    return Desk(Worktree.open(to, state_path=to / ".satchel/state.db"), desk.peer, desk.project)


@pytest.mark.promise("P3")
def test_a_folder_restored_from_a_backup_catches_up_and_takes_nothing_back(
    ann: Desk, bob: Desk, tmp_path: Path
) -> None:
    put(ann.root, FILES)
    ann.sync()
    old = copied(ann, tmp_path / "restored")
    put(ann.root, {"a.md": "one, newer\n", "new.md": "new\n"})
    (ann.root / "docs/c.md").unlink()
    ann.sync()
    put(old.root, {"docs/b.md": "edited after the restore\n"})
    with closing(old.worktree):
        report = old.sync()
        assert [change.path for change in report.pushed] == ["docs/b.md"]
        assert report.conflicts == []
        bob.sync()
        expected = {"a.md": "one, newer\n", "docs/b.md": "edited after the restore\n", "new.md": "new\n"}
        assert held(old.root) == held(bob.root) == expected


def test_what_would_be_waited_for_in_the_place_of_satchel_s_own_files_is_passed_over(ann: Desk, bob: Desk) -> None:
    text = "a line of the text\n" * 100
    put(ann.root, FILES | {"long.md": text})
    ann.sync()
    bob.sync()
    put(ann.root, {"long.md": text + "more\n"})
    ann.sync()
    put(bob.root, {"long.md": "first\n" + text})
    own = bob.root / ".satchel"
    for place in ("former/99", "former/taken", "former/sent", "sending", "undo/1-a/journal", "undo/1-a/after"):
        (own / place).unlink(missing_ok=True)
        (own / place).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(own / place)  # which nobody writes to
    assert bob.sync().merged == ["long.md"]
    assert held(bob.root)["long.md"] == f"first\n{text}more\n"
    assert undo(bob.worktree).restored == ["long.md"]
    large = [Content(ObjectId("1" * 64), "plan.md", LARGE_BYTES + 1)]
    assert Sending(bob.root).rest(bob.peer, bob.project, large, set()) == large


@pytest.mark.parametrize("bit", [0o111, 0], ids=["all", "none"])
def test_where_no_mode_is_held_a_file_keeps_that_of_the_cloud(
    bit: int, ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync() -> SyncReport:
        for path in held(bob.root):  # as FAT has them, or a disk of Windows under WSL
            (bob.root / path).chmod(0o644 | bit)
        return bob.sync()

    put(ann.root, FILES | {"run.sh": "#!/bin/sh\n"})
    (ann.root / "run.sh").chmod(0o755)
    ann.sync()
    put(bob.root, {"a.md": "one\n", "own.md": "Bob's\n"})
    monkeypatch.setattr(durable, "holds_modes", lambda folder: False)
    assert [change.path for change in sync().pushed] == ["own.md"]
    (bob.root / "run.sh").rename(bob.root / "go.sh")
    put(ann.root, {"a.md": "newer\n"})
    ann.sync()
    done = sync()
    assert [(change.path, change.how) for change in done.pushed] == [("go.sh", "added"), ("run.sh", "deleted")]
    assert ([change.path for change in done.pulled], done.conflicts) == (["a.md"], [])
    assert sync().pushed == []
    put(bob.root, {"go.sh": "#!/bin/sh\ntrue\n"})
    assert [change.path for change in sync().pushed] == ["go.sh"]
    found = {change.path: change.entry for change in bob.peer.changes(bob.project, 0, None).items}
    assert {path: entry.mode for path, entry in found.items() if entry} == {
        "a.md": "100644", "docs/b.md": "100644", "docs/c.md": "100644", "go.sh": "100755", "own.md": "100644"
    }  # fmt: skip
    for _ in range(2):
        sync()
        assert undo(bob.worktree).skipped == {}


@pytest.mark.promise("P3")
def test_two_folders_with_one_state_lose_nothing_of_each_other(ann: Desk, bob: Desk, tmp_path: Path) -> None:
    put(ann.root, FILES)
    ann.sync()
    twin = copied(ann, tmp_path / "twin")
    with closing(twin.worktree):
        put(ann.root, {"a.md": "by the first\n", "first.md": "1\n"})
        put(twin.root, {"docs/b.md": "by the twin\n", "twin.md": "2\n"})
        for desk in (ann, twin, ann, bob):
            desk.sync()
        assert held(ann.root) == held(twin.root) == held(bob.root)
        assert held(bob.root) == {
            "a.md": "by the first\n",
            "docs/b.md": "by the twin\n",
            "docs/c.md": "three\n",
            "first.md": "1\n",
            "twin.md": "2\n",
        }


@pytest.mark.promise("P9")
@pytest.mark.parametrize("state", ["lost", "of another project"])
def test_a_state_that_is_lost_or_another_s_changes_no_answer(ann: Desk, bob: Desk, tmp_path: Path, state: str) -> None:
    put(ann.root, FILES)
    ann.sync()
    put(bob.root, {path: text.upper() for path, text in FILES.items()})
    bob.worktree.scan()
    ann.worktree.close()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (ann.root / ".satchel" / name).unlink(missing_ok=True)
        if state == "of another project" and (bob.root / ".satchel" / name).exists():
            shutil.copy(bob.root / ".satchel" / name, ann.root / ".satchel" / name)
    again = Desk(Worktree.open(ann.root, state_path=ann.root / ".satchel/state.db"), ann.peer, ann.project)
    with closing(again.worktree):
        report = again.sync()
        assert (report.pushed, report.pulled, report.in_step) == ([], [], True)


@pytest.mark.promise("P3")
def test_a_base_of_another_project_deletes_nothing(ann: Desk, cloud: Cloud, tmp_path: Path) -> None:
    put(ann.root, FILES)
    ann.sync()
    (tmp_path / "other").mkdir()
    other = Desk(Worktree.open(tmp_path / "other"), ann.peer, cloud.project(ann.peer.tenant, "other"))
    (tmp_path / "other/.satchel").mkdir()
    for name in ("base-0", "base-1"):
        if (ann.root / ".satchel" / name).exists():
            shutil.copy(ann.root / ".satchel" / name, other.root / ".satchel" / name)
    put(other.root, {"a.md": "of the other\n"})
    with closing(other.worktree):
        report = other.sync()
        assert any("line of history" in notice for notice in report.notices)
        assert [change.how for change in (*report.pushed, *report.pulled)] == ["added"]


@pytest.mark.parametrize("off", [-DAY_NS, DAY_NS])
def test_a_clock_that_is_a_day_off_misses_no_change(ann: Desk, bob: Desk, off: int) -> None:
    wrong = Worktree.open(ann.root, state_path=ann.root / ".satchel/state.db")
    wrong._clock_ns = lambda: time.time_ns() + off
    with closing(wrong):
        put(ann.root, FILES)
        for round_ in range(3):
            put(ann.root, {"a.md": f"round {round_}\n"})  # the same number of bytes each time
            moment = time.time_ns() + off
            os.utime(ann.root / "a.md", ns=(moment, moment))
            report = run(wrong, ann.peer, ann.project, clock_ns=lambda: time.time_ns() + off)
            assert [change.path for change in report.pushed if change.path == "a.md"] == ["a.md"]
            bob.sync()
            assert held(bob.root)["a.md"] == f"round {round_}\n"


def fold_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look files up as a disk does for which README.md and Readme.md are one name."""
    exactly = os.listdir

    def real(path: Path) -> Path:
        parts = path.parts
        found = Path(parts[0])
        for part in parts[1:]:
            found /= next((name for name in exactly(found) if name.casefold() == part.casefold()), part)
        return found

    monkeypatch.setattr(folders, "_is_there", lambda root, path: real(root / path).is_file())
    monkeypatch.setattr(os, "listdir", lambda path: exactly(real(Path(path))))


@pytest.mark.promise("P3")
def test_where_case_does_not_count_a_renamed_file_is_renamed_for_everybody_and_lost_for_nobody(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"Readme.md": "one\n", "b.md": "two\n"})
    ann.sync()
    bob.sync()

    fold_case(monkeypatch)
    (ann.root / "Readme.md").rename(ann.root / "README.md")
    report = ann.sync()
    assert report.conflicts == []
    bob.sync()
    assert held(bob.root) == held(ann.root) == {"README.md": "one\n", "b.md": "two\n"}


@pytest.mark.promise("P3")
def test_where_case_does_not_count_a_renamed_folder_is_renamed_for_everybody(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"docs/a.md": "one\n", "docs/deep/b.md": "two\n"})
    ann.sync()
    bob.sync()
    fold_case(monkeypatch)
    (ann.root / "docs").rename(ann.root / "Docs")
    assert ann.sync().conflicts == []
    monkeypatch.undo()
    bob.sync()
    assert held(bob.root) == held(ann.root) == {"Docs/a.md": "one\n", "Docs/deep/b.md": "two\n"}


@pytest.mark.promise("P3")
def test_where_case_does_not_count_an_old_version_is_not_put_over_a_file_that_was_renamed(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"plan.md": "one\n"})
    fold_case(monkeypatch)
    (ann.root / "plan.md").rename(ann.root / "Plan.md")
    with pytest.raises(PathRefused, match=r"takes Plan\.md for plan\.md") as refused:
        put_back(ann.worktree, "plan.md", b"zero\n", "100644")
    assert "Give Plan.md another name" in refused.value.hint
    assert held(ann.root) == {"Plan.md": "one\n"}


@pytest.mark.promise("P3")
def test_a_file_is_not_taken_for_deleted_because_one_of_another_case_came_beside_it(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.md": "shared\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"A.md": "mine\n"})  # on a filesystem that has both: the scan can list one of them alone
    assert [conflict.path for conflict in ann.sync().conflicts] == ["A.md"]
    bob.sync()
    assert held(bob.root) == {"a.md": "shared\n"}
    assert held(ann.root) == {"a.md": "shared\n", "A.md": "mine\n"}
