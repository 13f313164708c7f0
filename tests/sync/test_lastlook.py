"""A folder that is being deleted, or whose disk went away, deletes nothing in the cloud unasked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.errors import NotAProject, SatchelError
from satchel.objects.ids import new_id
from satchel.sync import failpoints
from satchel.sync.choices import Direction
from satchel.sync.lastlook import UNASKED, Deletions, ManyDeletions
from satchel.sync.outlook import status
from satchel.worktree.find import ProjectConfig, read_project_config, write_project_config
from satchel.worktree.walk import ChangedMeanwhile
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

CONFIG = ProjectConfig(new_id("prj", b"a" * 16), "acme", remote_url="https://example.org", remote_project="acme")


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


def filled(desk: Desk, count: int) -> dict[str, str]:
    files = {f"notes/{number:03}.md": f"# Note {number}\n" for number in range(count)}
    put(desk.root, files)
    desk.sync()
    return files


def delete(root: Path, paths: list[str]) -> None:
    for path in paths:
        (root / path).unlink()


@pytest.mark.promise("P3")
def test_most_files_gone_at_once_are_sent_only_when_somebody_says_so(ann: Desk, bob: Desk) -> None:
    files = filled(ann, 40)
    bob.sync()
    delete(ann.root, list(files)[:31])
    bob_adds = {"notes/new.md": "# New\n"}
    put(bob.root, bob_adds)
    bob.sync()
    with pytest.raises(ManyDeletions, match="31 of the 40 files") as held_back:
        ann.sync()
    assert held_back.value.facts == {"deleted": 31, "files": 40}
    assert "--allow-deletions" in held_back.value.hint
    assert "pull --deleted" in held_back.value.hint
    assert bob.sync().pulled == []
    assert not (ann.root / "notes/new.md").exists()
    sent = ann.sync(deletions=Deletions(allowed=31))
    assert [change.how for change in sent.pushed] == ["deleted"] * 31
    assert len(held(ann.root)) == 10


def test_who_said_yes_to_some_is_asked_of_more(ann: Desk) -> None:
    files = filled(ann, 40)
    delete(ann.root, list(files)[:32])
    with pytest.raises(ManyDeletions):
        ann.sync(deletions=Deletions(allowed=31))


@pytest.mark.parametrize(("count", "deleted"), [(UNASKED, UNASKED), (2 * (UNASKED + 1), UNASKED + 1)])
def test_few_files_and_half_of_them_are_not_asked_about(count: int, deleted: int, ann: Desk) -> None:
    files = filled(ann, count)
    delete(ann.root, list(files)[:deleted])
    assert len(ann.sync().pushed) == deleted


def test_files_that_were_moved_are_not_gone(ann: Desk) -> None:
    filled(ann, 40)
    (ann.root / "notes").rename(ann.root / "archive")
    assert ann.sync().in_step


def test_what_the_rules_leave_out_is_not_asked_about_where_it_is_pruned(ann: Desk) -> None:
    filled(ann, 40)
    put(ann.root, {".satchelignore": "notes/\n"})
    assert ann.sync(prune=True).in_step


def test_what_is_gone_comes_back_when_it_is_asked_for(ann: Desk) -> None:
    files = filled(ann, 40)
    delete(ann.root, list(files)[:30])
    (ann.root / "notes/035.md").rename(ann.root / "renamed.md")
    (ann.root / "notes/036.md").write_text("# Edited\n")
    back = ann.sync(direction=Direction.FROM_CLOUD, deletions=Deletions(back=True))
    assert [change.how for change in back.pulled] == ["added"] * 30
    renamed = {"renamed.md": files.pop("notes/035.md"), "notes/036.md": "# Edited\n"}
    assert held(ann.root) == files | renamed
    assert len(ann.sync().pushed) == 3


def test_a_dry_run_and_the_status_tell_of_it(ann: Desk) -> None:
    files = filled(ann, 40)
    delete(ann.root, list(files)[:31])
    for report in (ann.sync(dry_run=True), status(ann.worktree)):
        assert len(report.pushed) == 31
        assert [notice for notice in report.notices if "--allow-deletions" in notice]


@pytest.mark.promise("P3")
def test_files_that_go_on_vanishing_are_not_taken_for_deleted(ann: Desk, bob: Desk) -> None:
    files = filled(ann, 100)
    left = list(files)
    delete(ann.root, left[:25])
    left = left[25:]

    def next_one() -> None:
        delete(ann.root, left[:1])
        del left[:1]

    failpoints.arm("push.before_send", next_one)
    with pytest.raises(ChangedMeanwhile, match="go on vanishing"):
        ann.sync()
    failpoints.disarm()
    bob.sync()
    assert held(bob.root) == files
    assert len(ann.sync().pushed) == 100 - len(left)  # it has ended, and was less than half


@pytest.mark.promise("P3")
@pytest.mark.parametrize("how", ["gone", "other remote", "other project", "empty"])
def test_nothing_is_sent_once_the_folder_is_no_more_the_project_it_began_as(how: str, ann: Desk, bob: Desk) -> None:
    write_project_config(ann.root, CONFIG)
    filled(ann, 3)
    began = read_project_config(ann.root)
    put(ann.root, {"notes/new.md": "# New\n"})

    def change() -> None:
        if how == "gone":
            shutil.rmtree(ann.root / ".satchel")
        elif how == "empty":
            (ann.root / ".satchel/config.toml").write_text("")
        else:
            elsewhere = replace(began, remote_url="https://example.com")
            write_project_config(
                ann.root, elsewhere if how == "other remote" else replace(began, id=new_id("prj", b"b" * 16))
            )

    failpoints.arm("push.before_send", change)
    with pytest.raises(SatchelError) as refused:
        ann.sync(began=began)
    assert isinstance(refused.value, NotAProject) == (how != "empty")
    bob.sync()
    assert len(held(bob.root)) == 3
