from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from satchel.errors import Busy
from satchel.objects.ids import new_id
from satchel.worktree.durable import FolderUnreadable
from satchel.worktree.find import ProjectConfig, write_project_config
from satchel.worktree.lock import folder_lock
from satchel.worktree.registry import Registered, Registry, scratch_dirs


def project(root: Path, name: str, number: int = 1) -> Registered:
    found = Registered(new_id("prj", number.to_bytes(16, "big")), name, root)
    write_project_config(root, ProjectConfig(found.id, found.slug))
    return found


def test_projects_are_listed_by_the_slug_they_have_now(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state" / "projects.json")
    assert (registry.registered(), registry.current(), registry.forget(tmp_path)) == ([], None, False)
    b, a = project(tmp_path / "1", "b"), project(tmp_path / "2", "a", 2)
    for entry in (b, a):
        registry.register(entry.root, entry.id, entry.slug)
    assert registry.registered() == [a, b]
    renamed = project(b.root, "0")
    assert registry.registered() == [renamed, a]
    assert registry.forget(b.root)
    assert registry.registered() == [a]


def test_a_folder_that_is_gone_or_another_project_is_not_listed(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "projects.json")
    gone, other = Registered("prj_" + "0" * 26, "gone", tmp_path / "gone"), project(tmp_path / "other", "other", 3)
    registry.register(*_as_arguments(gone))
    registry.register(other.root, gone.id, "was")
    assert registry.registered() == []
    assert [entry.slug for entry in registry.gone()] == ["gone", "was"]


def test_the_chosen_project_is_remembered_while_it_exists(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "projects.json")
    a = project(tmp_path / "a", "a")
    registry.register(*_as_arguments(a))
    registry.set_current(a.root)
    assert Registry(registry.path).current() == a
    registry.forget(a.root)
    assert registry.current() is None


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"projects": {"x": 3}, "current": null}', '{"projects": {}, "current": 3}']
)
def test_a_damaged_registry_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    registry = Registry(tmp_path / "projects.json")
    registry.path.write_text(damage)
    assert registry.registered() == []
    assert (tmp_path / "projects.damaged").read_text() == damage
    a = project(tmp_path / "a", "a")
    registry.register(*_as_arguments(a))
    assert registry.registered() == [a]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_a_registry_that_cannot_be_read_at_the_moment_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    registry, one = Registry(tmp_path / "projects.json"), project(tmp_path / "one", "one")
    registry.register(*_as_arguments(one))

    def refused(path: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        with pytest.raises(FolderUnreadable, match=r"projects\.json"):
            registry.set_current(one.root)
        if number == errno.EMFILE:
            with pytest.raises(FolderUnreadable):
                registry.registered()
        else:  # somebody else's home
            assert registry.registered() == []
    assert registry.registered() == [one]


def test_two_folders_without_init_have_places_of_their_own(tmp_path: Path) -> None:
    one, two = scratch_dirs(tmp_path / "a", tmp_path), scratch_dirs(tmp_path / "b", tmp_path)
    assert len({*one, *two}) == 4
    assert one == scratch_dirs(tmp_path / "a", tmp_path)


def _register(path: Path, root: Path) -> None:
    Registry(path).register(root, "prj_" + "0" * 26, "x")


def test_processes_that_register_at_once_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "projects.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_register, args=(path, tmp_path / str(number))) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert len(Registry(path).gone()) == 8


def test_a_folder_is_held_by_one_command_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.worktree.lock.PATIENCE_SECONDS", 0)
    with folder_lock(tmp_path), pytest.raises(Busy), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


def _as_arguments(entry: Registered) -> tuple[Path, str, str]:
    return entry.root, entry.id, entry.slug
