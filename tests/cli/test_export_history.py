"""``satchel export`` of a hosted project: a git repository with the history that the server has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from satchel.cli.export_cmd import _unsynced
from satchel.cli.export_history import History
from satchel.cli.gitstream import GitStream
from satchel.objects.ids import Lineage
from satchel.objects.listing import digest
from satchel.server.housekeeping import collect_all
from satchel.sync.peer import Head
from satchel.worktree.base import Base, CloudEntry, save_base
from satchel.worktree.walk import Worktree
from tests.cli.conftest import commits, folder, git, tree
from tests.journeys.conftest import Person
from tests.server.running import Client, Running, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("export") / "data", backup_window_days=0) as running:
        yield running


def message(repository: Path, commit: str) -> str:
    return git(repository, "show", "--no-patch", "--format=%B", commit).decode()


def authors(repository: Path) -> list[tuple[str, str]]:
    lines = git(repository, "log", "--reverse", "--format=%an%x00%ae").decode().splitlines()
    return [(name, address) for name, _, address in (line.partition("\0") for line in lines)]


def shares(person: Person, owner: Client) -> None:
    person.run("login", owner.url, "--key-file", "-", stdin=owner.key or "")
    person.run("init", "--name", "demo")
    person.run("remote", "add", owner.url)


def exported(person: Person, name: str, status: int = 0) -> tuple[Path, Any]:
    target = person.home / name
    return target, person.json("export", str(target), status=status)


@pytest.mark.promise("P11")
def test_every_version_is_a_commit_with_its_author_its_time_and_its_files(server: Running, tmp_path: Path) -> None:
    owner, sam = server.tenant("history"), Person(tmp_path, "sam")
    (sam.folder / "notes").mkdir()
    for path, data in (
        ("run.sh", b"#!/bin/sh\n"),
        ("notes/eins größe.md", b"# Eins\r\n"),
        (".gitattributes", b"* eol=crlf\n"),
    ):
        (sam.folder / path).write_bytes(data)
    (sam.folder / "run.sh").chmod(0o755)
    shares(sam, owner)
    sam.run("sync", "--to-cloud")
    expected = [folder(sam.folder)]
    key = owner.post("/keys", {"name": "build-bot", "role": "write"}).ok()["key"]
    Client(owner.url, key).put("demo", "data/\u65e5\u672c.bin", bytes(range(256)) * 40).ok()
    expected.append({**expected[-1], "data/\u65e5\u672c.bin": (False, bytes(range(256)) * 40)})
    (sam.folder / "notes/eins größe.md").rename(sam.folder / "notes" / 'zwei "2".md')
    sam.run("sync")
    expected.append(folder(sam.folder))
    (sam.folder / "notes" / 'zwei "2".md').unlink()
    (sam.folder / "notes").rmdir()
    (sam.folder / "notes").write_text("a file now\n")
    (sam.folder / "run.sh").chmod(0o644)
    sam.run("sync")
    expected.append(folder(sam.folder))

    repository, told = exported(sam, "git")
    made = commits(repository)
    versions = owner.get("/projects/demo/versions").ok()["items"][::-1]
    assert [tree(repository, commit) for commit in made] == expected
    assert [v["author"] for v in versions] == [name for name, _ in authors(repository)]
    assert len({address for _, address in authors(repository)}) == len({v["author"] for v in versions}) == 2
    assert all(address.endswith("@satchel.invalid") for _, address in authors(repository))
    times = git(repository, "log", "--reverse", "--format=%aI %cI").decode().replace("+00:00", "Z").splitlines()
    assert times == [f"{v['time'][:19]}Z {v['time'][:19]}Z" for v in versions]
    for version, commit in zip(versions, made, strict=True):
        trailers = dict(line.split(": ") for line in message(repository, commit).strip().split("\n\n")[-1].splitlines())
        assert trailers["Satchel-Version"] == str(version["version"])
        assert trailers["Satchel-Digest"] == version["digest"]
        assert trailers["Satchel-Lineage"].startswith("lin_")
    assert message(repository, made[1]).startswith("Add data/\u65e5\u672c.bin\n\n")
    assert git(repository, "fsck", "--strict", "--no-dangling") == b""
    assert git(repository, "status", "--porcelain") == b""
    assert folder(repository) == expected[-1]  # checked out as stored, whatever .gitattributes asks for
    assert (told["commit"], told["commits"], told["version"], told["unsynced"]) == (made[-1], len(made), len(made), 0)

    (sam.folder / "notes").write_text("an edit of mine\n")
    (sam.folder / "new.md").write_text("# New\n")
    (sam.folder / "run.sh").unlink()
    again, told = exported(sam, "again")
    third, _ = exported(sam, "third")
    assert commits(again)[:-1] == made
    assert commits(third) == commits(again)
    assert tree(again, "HEAD") == folder(sam.folder)
    assert message(again, "HEAD").startswith("Not synced yet: add 1 file, change 1 file, delete 1 file\n")
    assert told["unsynced"] == 3
    (sam.home / "read").mkdir()
    git(sam.home / "read", "init", "-q")
    streamed = subprocess.run(
        [sys.executable, "-m", "satchel.cli.main", "export", "--stream"],
        cwd=sam.folder, env=sam.env, capture_output=True, check=True,
    ).stdout  # fmt: skip
    subprocess.run(["git", "-C", str(sam.home / "read"), "fast-import", "--quiet"], input=streamed, check=True)
    assert git(sam.home / "read", "rev-parse", "main").decode().strip() == told["commit"]


def test_what_is_kept_no_longer_and_what_was_purged_is_named_and_left_out(server: Running, tmp_path: Path) -> None:
    owner, sam = server.tenant("gone"), Person(tmp_path, "sam")
    shares(sam, owner)
    owner.put("demo", "a.md", b"# One\n").ok()
    owner.put("demo", "b.md", b"# Two\n").ok()
    owner.put("demo", "secret.md", b"hunter2\n").ok()
    owner.put("demo", "c.md", b"# Three\n").ok()
    owner.post("/projects/demo/purge", {"paths": ["secret.md"]}).ok()
    sam.run("sync")
    repository, told = exported(sam, "git", status=1)
    assert told["missing"] == [{"version": 3, "path": "secret.md"}]
    made = commits(repository)
    assert [sorted(tree(repository, commit)) for commit in made] == [
        ["a.md"], ["a.md", "b.md"], ["a.md", "b.md"], ["a.md", "b.md", "c.md"], ["a.md", "b.md", "c.md"],
    ]  # fmt: skip
    assert "purged or lost:\n\n  secret.md\n" in message(repository, made[2])
    assert "left out of version 3: secret.md" in sam.run("export", str(sam.home / "said"), status=1).stderr
    assert git(repository, "fsck", "--strict", "--no-dangling") == b""

    owner.send("PATCH", "/tenant", {"settings": {"retention": {"versions": 1}}}).ok()
    server.run(collect_all(server.cloud))
    repository, told = exported(sam, "later")
    assert (told["firstVersion"], told["expired"], told["commits"], told["missing"]) == (5, 4, 1, [])
    assert "4 older versions are kept no longer" in message(repository, commits(repository)[0])
    assert "begins at version 5" in sam.run("export", str(sam.home / "told")).stderr
    assert sorted(tree(repository, commits(repository)[0])) == ["a.md", "b.md", "c.md"]


def test_edits_here_lie_over_what_others_did_meanwhile_and_undo_nothing_of_it(server: Running, tmp_path: Path) -> None:
    owner, sam = server.tenant("meanwhile"), Person(tmp_path, "sam")
    shares(sam, owner)
    tags = {name: owner.put("demo", name, b"first\n").headers["etag"] for name in ("mine.md", "theirs.md", "gone.md")}
    sam.run("sync")
    owner.put("demo", "theirs.md", b"second\n", tags["theirs.md"]).ok()
    owner.put("demo", "place/inside.md", b"a folder\n").ok()
    (sam.folder / "mine.md").write_bytes(b"edited\n")
    (sam.folder / "gone.md").unlink()
    (sam.folder / "place").write_bytes(b"a file\n")
    repository, told = exported(sam, "git", status=1)
    files = {"mine.md": b"edited\n", "theirs.md": b"second\n", "place/inside.md": b"a folder\n"}
    assert tree(repository, "HEAD") == {path: (False, data) for path, data in files.items()}
    assert [clash["path"] for clash in told["clashes"]] == ["place"]
    assert told["unsynced"] == 2
    # Where the folder was never in step, nothing counts as deleted here.
    for name in ("base-0", "base-1"):
        (sam.folder / ".satchel" / name).unlink(missing_ok=True)
    (sam.folder / "place").unlink()
    repository, _ = exported(sam, "again")
    assert tree(repository, "HEAD")["gone.md"] == (False, b"first\n")


def test_a_content_that_the_server_lost_and_the_folder_has_is_in_the_last_commit(tmp_path: Path) -> None:
    (tmp_path / "kept.md").write_bytes(b"kept\n")
    with closing(Worktree.open(tmp_path)) as worktree:
        scan = worktree.scan()
        stream = GitStream(lambda _: None)
        history = History(Head(Lineage("lin_x"), 1, digest(scan.tree)), tree=dict(scan.tree))
        assert _unsynced(worktree, history, stream, scan) == scan.tree
        stream.blob(scan.tree["kept.md"].object, b"kept\n")
        assert _unsynced(worktree, history, stream, scan) == {}


def test_a_folder_that_was_in_step_with_another_line_of_history_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept.md").write_bytes(b"kept\n")
    with closing(Worktree.open(tmp_path)) as worktree:
        scan = worktree.scan()
        whole = {**scan.tree, "gone.md": scan.tree["kept.md"]}
        cloud = {path: CloudEntry(*entry, 1, "Mia", 0) for path, entry in whole.items()}
        stream = GitStream(lambda _: None)
        stream.blob(scan.tree["kept.md"].object, b"kept\n")
        history = History(Head(Lineage("lin_new"), 1, digest(whole)), tree=whole)
        for lineage, found in (("lin_old", {}), ("lin_new", {"gone.md": None})):
            (tmp_path / ".satchel").mkdir(exist_ok=True)
            save_base(tmp_path, Base(Lineage(lineage), 1, digest(whole), cloud, {}))
            assert _unsynced(worktree, history, stream, scan) == found
