"""A conflict in a merge tool or an editor: what it is given, and what counts as done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.cli.mergetool import edit
from satchel.config.machine import Machine
from satchel.errors import ConfigInvalid, InvalidInput
from satchel.sync.settle import conflicting
from tests.sync.cloud import Cloud, folder, put
from tests.sync.conftest import Desk

LINES = "".join(f"line {number}\n" for number in range(9))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Somebody with three conflicts: a text, a picture, and a file they deleted."""
    place = tmp_path_factory.mktemp("desks")
    (place / "cloud").mkdir()
    cloud = Cloud(place / "cloud")
    tenant = cloud.tenant("acme")
    project = cloud.project(tenant)
    ann, bob = (Desk(folder(place / name), cloud.peer(tenant, name), project) for name in ("ann", "bob"))
    put(ann.root, {"it's a plan.md": LINES, "pic.bin": "\0base", "gone.md": "x\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"it's a plan.md": LINES.replace("line 4", "Ann"), "pic.bin": "\0Ann", "gone.md": "y\n"})
    ann.sync()
    put(bob.root, {"it's a plan.md": LINES.replace("line 4", "Bob"), "pic.bin": "\0Bob"})
    (bob.root / "gone.md").unlink()
    assert len(bob.sync().conflicts) == 3
    ann.worktree.close()
    yield bob
    bob.worktree.close()
    cloud.close()


def worked(desk: Desk, path: str, mergetool: str = "", editor: str = "") -> bool:
    return edit(Machine(mergetool=mergetool, editor=editor), desk.worktree, conflicting(desk.worktree, path))


def test_a_tool_is_given_the_three_sides_and_the_file_and_has_to_leave_no_marker(desk: Desk, tmp_path: Path) -> None:
    plan = desk.root / "it's a plan.md"
    marked = plan.read_text()
    copy = f'for side in LOCAL BASE REMOTE MERGED; do eval "cat \\"\\$$side\\"" > {tmp_path}/$side; done'
    assert not worked(desk, plan.name, mergetool=copy)  # the markers are still there
    sides = {name: (tmp_path / name).read_text() for name in ("LOCAL", "BASE", "REMOTE", "MERGED")}
    assert sides == {
        "LOCAL": LINES.replace("line 4", "Bob"),
        "BASE": LINES,
        "REMOTE": LINES.replace("line 4", "Ann"),
        "MERGED": marked,
    }
    assert not worked(desk, plan.name, mergetool='cp "$LOCAL" "$MERGED"; exit 1')  # it says that it failed
    assert worked(desk, plan.name, mergetool='cp "$REMOTE" "$MERGED"')
    plan.write_text(marked)
    assert not worked(desk, plan.name, editor="true")
    assert worked(desk, plan.name, editor="sed -i '/^[<=>]\\{7\\}/d'")
    assert plan.read_text() == LINES.replace("line 4", "Bob\nAnn")
    assert worked(desk, plan.name, mergetool="true", editor="false")  # the tool goes before the editor
    plan.write_text(marked)


def test_a_tool_for_pictures_is_given_the_file_beside(desk: Desk, tmp_path: Path) -> None:
    assert worked(desk, "pic.bin", mergetool=f'cat "$LOCAL" "$REMOTE" > {tmp_path}/both; test ! -s "$BASE"')
    assert (tmp_path / "both").read_text() == "\0Bob\0Ann"


def test_without_a_tool_or_a_file_it_is_said_what_to_do(desk: Desk) -> None:
    with pytest.raises(ConfigInvalid, match="no merge tool and no editor"):
        worked(desk, "pic.bin")
    with pytest.raises(InvalidInput, match="deleted here"):
        worked(desk, "gone.md", editor="true")
    with pytest.raises(InvalidInput, match="not in conflict"):
        worked(desk, "other.md", editor="true")
