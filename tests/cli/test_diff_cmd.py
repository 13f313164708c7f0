"""How two texts differ, told in bounded time, with the numbers of the lines of the whole files."""

from __future__ import annotations

import difflib
import errno
import io
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.cli import diff_cmd
from satchel.cli.diff_cmd import _unified
from satchel.errors import NoSuchArtifact
from satchel.objects.ids import Lineage, object_id
from satchel.objects.listing import digest
from satchel.worktree import beneath
from satchel.worktree.base import Base, CloudEntry, entries_of, save_base
from satchel.worktree.walk import Worktree
from tests.cli.conftest import Cli

TEXT = st.lists(st.sampled_from(["a", "b", "c +5 d", "@@ -1 +1 @@", ""]), max_size=12)


@settings(max_examples=200)
@given(TEXT, TEXT, TEXT, TEXT)
def test_a_difference_brings_one_file_to_the_other(
    head: list[str], was: list[str], now: list[str], tail: list[str]
) -> None:
    old, new = ("\n".join([*head, *head, *part, *tail]) for part in (was, now))
    told = _unified("a.md", 7, old.encode(), new.encode())
    assert told is not None
    assert _patched(old.splitlines(), told) == new.splitlines()


def test_a_difference_is_told_as_difflib_tells_it_of_the_whole() -> None:
    old = [f"line {number}" for number in range(60)]
    new = [*old[:20], "new", *old[21:40], *old[41:]]
    whole = difflib.unified_diff(old, new, "a.md (version 7)", "a.md (here)", lineterm="")
    assert _unified("a.md", 7, "\n".join(old).encode(), "\n".join(new).encode()) == "\n".join(whole)


@pytest.mark.promise("P8")
def test_texts_made_of_the_same_few_lines_are_not_compared_for_ever() -> None:
    old, new = (b"\n".join(b"%d" % (at * step % 101) for at in range(30_000)) for step in (7, 13))
    began = time.process_time()
    assert _unified("a.csv", 7, old, new) is None
    assert _unified("a.csv", 7, old, old + b"\none more") is not None
    assert time.process_time() - began < 3


def _patched(old: list[str], told: str) -> list[str]:
    """What a patch makes of a text."""
    new, at, left = list[str](), 0, (0, 0)
    for line in told.splitlines()[2:]:
        if left == (0, 0):
            gone, come = (each[1:].split(",") for each in line.split()[1:3])
            left = int(gone[1]) if gone[1:] else 1, int(come[1]) if come[1:] else 1
            begin = int(gone[0]) - (left[0] > 0)
            new += old[at:begin]
            at = begin
            continue
        sign, text = line[:1], line[1:]
        if sign != "+":
            assert old[at] == text
            at += 1
        if sign != "-":
            new.append(text)
        left = left[0] - (sign != "+"), left[1] - (sign != "-")
    return new + old[at:]


def test_a_folder_that_may_not_be_read_is_not_compared(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init")
    (here / "shut").mkdir()
    (here / "shut/x.md").write_text("x\n")
    entries = Worktree.open(here).scan().tree.items()
    cloud = {path: CloudEntry(entry.mode, entry.object, 1, "Sam", 0) for path, entry in entries}
    save_base(here, Base(Lineage("l"), 1, digest(dict(entries)), cloud, {}))
    # A server that nothing is asked of, but to be closed at the end.
    monkeypatch.setattr(diff_cmd, "project_remote", lambda _face: (None, io.BytesIO(), "acme"))

    def refusing(act: Callable[..., Any], path: str, *rest: Any, **more: Any) -> Any:
        if path.endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return act(path, *rest, **more)

    monkeypatch.setattr(os, "scandir", partial(refusing, os.scandir))
    monkeypatch.setattr(beneath, "_open_folder", partial(refusing, beneath._open_folder))
    assert cli("diff", "--json").json["items"] == []


def test_a_file_without_a_line_that_differs_is_named_all_the_same(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    (here / "new.md").touch()
    (here / "ends.md").write_bytes(b"a\r\nb\r\n")
    cloud = {
        path: CloudEntry(entry.mode, entry.object, 1, "Sam", 0)
        for path, entry in Worktree.open(here).scan().tree.items()
        if path != "new.md"
    }
    cloud["ends.md"] = cloud["ends.md"]._replace(object=object_id(b"a\nb"))
    cloud["gone.md"] = cloud["ends.md"]._replace(object=object_id(b""))
    save_base(here, Base(Lineage("l"), 1, digest(entries_of(cloud)), cloud, {}))

    class Server(io.BytesIO):
        def artifact(self, _project: str, path: str, **_asked: int) -> dict[str, str]:
            if path not in cloud:
                raise NoSuchArtifact(path)
            return {"object": cloud[path].object}

        def artifact_bytes(self, _project: str, path: str, **_asked: int) -> bytes:
            return b"a\nb" if path == "ends.md" else b""

    monkeypatch.setattr(diff_cmd, "project_remote", lambda _face: (None, Server(), "acme"))
    assert cli("diff").out.splitlines() == [
        "ends.md: changed; the ends of lines alone, or bytes that are no text",
        "gone.md: deleted; it is empty",
        "new.md: added; it is empty",
    ]
