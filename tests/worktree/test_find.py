from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import ConfigInvalid, NotAFolder, NotAProject
from satchel.objects.ids import new_id
from satchel.worktree import beneath
from satchel.worktree.find import (
    MOST_FILE_BYTES,
    SLUG,
    ProjectConfig,
    find_root,
    make_slug,
    read_project_config,
    write_project_config,
)

CONFIG = ProjectConfig(new_id("prj", bytes(16)), "acme")


def test_the_nearest_project_upward_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    (inner / "c").mkdir(parents=True)
    assert find_root(inner) is None
    (tmp_path / "a" / ".satchel").mkdir()
    assert find_root(inner / "c") == tmp_path / "a"
    (inner / ".satchel").mkdir()
    assert find_root(inner / "c") == inner
    (tmp_path / "link").symlink_to(inner)
    assert find_root(tmp_path / "link") == inner


def test_nobody_is_told_to_remove_settings_that_are_whole_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    write_project_config(tmp_path, CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(beneath, "read_own", shut)
        with pytest.raises(ConfigInvalid, match="Permission denied") as refused:
            read_project_config(tmp_path)
    assert "permissions" in refused.value.hint
    assert "remove" not in refused.value.hint
    assert read_project_config(tmp_path) == CONFIG


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "missing", tmp_path / "file" / "below"):
        with pytest.raises(NotAFolder):
            find_root(path)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(
            CONFIG,
            include=("*.md", "/docs/", 'quo"te', "back\\slash"),
            exclude=("ü\x7f",),
            max_file_bytes=MOST_FILE_BYTES,
        ),
        replace(CONFIG, remote_url="https://example.org", remote_project="acme"),
        replace(CONFIG, remote_url="https://example.org"),
    ],
)
def test_a_config_comes_back_as_it_was_written(tmp_path: Path, config: ProjectConfig) -> None:
    write_project_config(tmp_path, config)
    assert read_project_config(tmp_path) == config


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=3))
def test_any_pattern_comes_back(tmp_path_factory: pytest.TempPathFactory, patterns: list[str]) -> None:
    root = tmp_path_factory.mktemp("config")
    write_project_config(root, replace(CONFIG, include=tuple(patterns)))
    assert read_project_config(root).include == tuple(patterns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exlude = []", "unknown setting exlude"),
        ("[remote]\nuri = 'x'", "unknown setting remote.uri"),
        ("include = 'x'", "include is not a list"),
        ("include = [3]", "include is not a list"),
        ("max_file_bytes = 0", "max_file_bytes"),
        ("max_file_bytes = true", "max_file_bytes"),
        ("remote = 3", "remote is not a table"),
        ("[remote]\nurl = 3", "remote.url is not text"),
        ('[remote]\nurl = "http://a\\nAll is well."', "remote.url holds a blank, or what cannot be printed"),
        ('[remote]\nproject = "a --trust"', "remote.project holds a blank"),
        ("sync = 3", "sync is not a table"),
        ("[sync]\npullonly = []", "unknown setting sync.pullonly"),
        ("[sync]\npull_only = 'x'", "sync.pull_only is not a list"),
        (f"include = {['x'] * 501}", "include has over 500 patterns"),
        (f"[sync]\nlocal_only = ['{'x' * 1_025}']", "sync.local_only has over 500 patterns, or one over 1,024"),
        ("x = ", "not TOML"),
        ("x = " + "[" * 5_000, "not TOML"),
        ("x = " + "1" * 5_000, "not TOML"),
    ],
)
def test_a_config_with_a_mistake_is_refused_and_the_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    write_project_config(tmp_path, CONFIG)
    path = tmp_path / ".satchel" / "config.toml"
    path.write_text(path.read_text() + text)
    with pytest.raises(ConfigInvalid, match=says):
        read_project_config(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "id = 'prj_x'\nname = 'a'", f"id = '{CONFIG.id}'", f"id = '{CONFIG.id}'\nname = 'A b'"]
)
def test_a_config_without_id_or_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ".satchel").mkdir()
    (tmp_path / ".satchel/config.toml").write_text(text)
    with pytest.raises(ConfigInvalid, match=r"id is missing|name is missing"):
        read_project_config(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".satchel").mkdir()
    (tmp_path / ".satchel/config.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigInvalid, match="not UTF-8"):
        read_project_config(tmp_path)


@pytest.mark.promise("P8")
def test_a_config_that_never_ends_is_refused_and_not_read(tmp_path: Path) -> None:
    (tmp_path / ".satchel").mkdir()
    config = tmp_path / ".satchel/config.toml"
    os.mkfifo(config)  # which nobody writes to
    with pytest.raises(ConfigInvalid, match="not a regular file"):
        read_project_config(tmp_path)
    config.unlink()
    config.symlink_to("/dev/zero")  # git keeps links: it may come with the folder
    with pytest.raises(ConfigInvalid, match="not a regular file"):
        read_project_config(tmp_path)


def test_a_folder_without_config_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(NotAProject):
        read_project_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Notes!", "my-notes"),
        ("---", "project"),
        ("é", "project"),
        ("a" * 80, "a" * 63),
        ("x" * 62 + " y", "x" * 62),
    ],
)
def test_any_name_makes_a_slug(name: str, slug: str) -> None:
    assert make_slug(name) == slug
    assert SLUG.match(slug)
