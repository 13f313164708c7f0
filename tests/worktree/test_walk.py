from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satchel.errors import NoSuchArtifact, NotAFolder
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.worktree import state, walk
from satchel.worktree.beneath import read_all
from satchel.worktree.ignore import Rules
from satchel.worktree.state import Remembered
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

LATER = 3_600 * 10**9
"""Nanoseconds: a clock this far ahead finds every file settled."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def state_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


def put(root: Path, path: str, text: str | bytes = "x") -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text if isinstance(text, bytes) else text.encode())


def scan_of(root: Path, state_path: Path | None = None, rules: Rules | None = None, ahead: int = LATER) -> Scan:
    """A scan by a process of its own, whose clock is ahead so that every file counts as settled."""
    worktree = Worktree(root, rules or Rules(), state_path, lambda: time.time_ns() + ahead)
    try:
        return worktree.scan()
    finally:
        worktree.close()


def reasons(scan: Scan) -> dict[str, str]:
    return {item.path: item.reason for item in scan.left_out}


def test_every_file_that_belongs_is_in_the_tree_with_its_object_mode_and_size(root: Path) -> None:
    put(root, "a.md", "# A")
    put(root, ".github/x.yml", "y: 1")
    put(root, "deep/er/run.sh", "#!/bin/sh")
    (root / "deep/er/run.sh").chmod(0o755)
    put(root, ".satchel/state.db", "ours")
    put(root, ".git/HEAD", "git's")
    put(root, "sub/.git", "gitdir: elsewhere")
    scan = scan_of(root)
    assert scan.tree == {
        "a.md": ("100644", object_id(b"# A")),
        ".github/x.yml": ("100644", object_id(b"y: 1")),
        "deep/er/run.sh": ("100755", object_id(b"#!/bin/sh")),
    }
    assert scan.sizes == {"a.md": 3, ".github/x.yml": 4, "deep/er/run.sh": 9}
    assert (scan.left_out, scan.reread) == ([], 3)


def test_only_what_changed_is_read_again(root: Path, state_path: Path) -> None:
    for name in ("a.md", "b.md", "sub/c.md"):
        put(root, name)
    assert scan_of(root, state_path).reread == 3
    assert scan_of(root, state_path).reread == 0
    put(root, "b.md", "changed")
    put(root, "sub/d.md", "new")
    (root / "a.md").unlink()
    after = scan_of(root, state_path)
    assert after.reread == 2
    assert after.tree == scan_of(root).tree


def test_a_change_that_keeps_size_and_time_is_seen(root: Path, state_path: Path) -> None:
    put(root, "a.md", "old")
    scan_of(root, state_path)
    found = (root / "a.md").stat()
    put(root, "a.md", "new")
    os.utime(root / "a.md", ns=(found.st_atime_ns, found.st_mtime_ns))
    assert scan_of(root, state_path).tree["a.md"].object == object_id(b"new")


def test_a_file_read_in_the_tick_it_was_written_is_read_again(root: Path, state_path: Path) -> None:
    """Another change within the same tick of the filesystem's clock would leave the same stat behind."""
    put(root, "a.md")
    assert scan_of(root, state_path, ahead=-LATER).reread == 1  # no time has passed, however slow the machine
    assert scan_of(root, state_path, ahead=LATER).reread == 1
    assert scan_of(root, state_path, ahead=LATER).reread == 0


def test_a_change_of_mode_alone_is_seen(root: Path, state_path: Path) -> None:
    put(root, "a.sh")
    scan_of(root, state_path)
    (root / "a.sh").chmod(0o755)
    assert scan_of(root, state_path).tree["a.sh"].mode == "100755"


def test_the_ignore_rules_are_asked_only_about_what_is_new(root: Path, state_path: Path) -> None:
    """pathspec costs a third of a search's time to import, and what parses documents a twentieth of a sync's."""
    put(root, "a.md")
    put(root, "node_modules/x.js")
    put(root, "bad\x01name.md")
    (root / "link").symlink_to("a.md")
    put(root, ".gitignore", "*.log\n")
    put(root, "x.log")
    scan_of(root, state_path)
    code = (
        "import sys, pathlib; from satchel.worktree.walk import Worktree, Rules\n"
        "scan = Worktree(pathlib.Path(sys.argv[1]), Rules(), pathlib.Path(sys.argv[2])).scan()\n"
        "banned = {'pathspec', 'asyncio', 'socket', 'ssl', 'pydantic', 'urllib3', 'http', 'yaml'}\n"
        "banned = (banned | {'satchel.documents.marks'}) & set(sys.modules)\n"
        "print(sorted(scan.tree), scan.reread, sorted(banned))"
    )

    def run() -> str:
        command = [sys.executable, "-c", code, str(root), str(state_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert run() == "['.gitignore', 'a.md'] 0 []"
    put(root, "b.md")
    assert run() == "['.gitignore', 'a.md', 'b.md'] 1 ['pathspec']"


@pytest.mark.parametrize("name", [".gitignore", ".satchelignore", "sub/.gitignore"])
def test_a_changed_ignore_file_decides_anew_about_every_name_below(root: Path, state_path: Path, name: str) -> None:
    put(root, "sub/a.md")
    put(root, "sub/b.txt")
    put(root, name, "nothing\n")
    assert "sub/b.txt" in scan_of(root, state_path).tree
    put(root, name, "*.txt\n")
    assert "sub/b.txt" not in scan_of(root, state_path).tree
    (root / name).unlink()
    assert "sub/b.txt" in scan_of(root, state_path).tree


def test_a_changed_rule_of_the_project_decides_anew(root: Path, state_path: Path) -> None:
    put(root, "a.md")
    put(root, "b.txt", "longer")
    assert sorted(scan_of(root, state_path).tree) == ["a.md", "b.txt"]
    assert sorted(scan_of(root, state_path, Rules(include=("*.md",))).tree) == ["a.md"]
    assert sorted(scan_of(root, state_path, Rules(exclude=("*.md",))).tree) == ["b.txt"]
    assert reasons(scan_of(root, state_path, Rules(max_file_bytes=3))) == {"b.txt": "too-large"}
    assert sorted(scan_of(root, state_path).tree) == ["a.md", "b.txt"]


def test_under_changed_rules_no_file_is_read_again_that_is_as_it_was(root: Path, state_path: Path) -> None:
    for name in ("a.md", "sub/b.md", "sub/c.txt"):
        put(root, name, name)
    before = scan_of(root, state_path)
    put(root, "sub/b.md", "B")
    put(root, ".gitignore", "*.txt\n")
    after = scan_of(root, state_path)
    assert after.reread == 2  # the edited one and the rules
    changed = {"sub/b.md": Entry("100644", object_id(b"B")), ".gitignore": Entry("100644", object_id(b"*.txt\n"))}
    assert after.tree == {**{p: e for p, e in before.tree.items() if p != "sub/c.txt"}, **changed}


def test_a_hostile_folder_is_scanned_and_everything_left_out_has_its_reason(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "secret.md", "secret")
    put(root, "good.md")
    (root / "out.md").symlink_to(outside / "secret.md")
    (root / "outdir").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe.md")
    put(root, "x" * 252 + ".md")
    put(root, "con.md")
    put(root, "cafe\u0301.md")
    put(root, "A/x.md")
    put(root, "a/x.md")
    put(root, "big.md", b"x" * 101)
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.md"))).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root)
        server.bind("sock")
        os.chdir(here)
        scan = scan_of(root, rules=Rules(max_file_bytes=100))
    assert sorted(scan.tree) == ["A/x.md", "good.md", "x" * 252 + ".md"]
    assert reasons(scan) == {
        "out.md": "symlink",
        "outdir": "symlink",
        "loop": "symlink",
        "dangling": "symlink",
        "pipe.md": "special",
        "sock": "special",
        "con.md": "bad-name",
        "cafe\u0301.md": "bad-name",
        "a/x.md": "bad-name",
        "big.md": "too-large",
        "\\xff\\xfe.md": "bad-name",
    }
    assert all(item.path.isprintable() for item in scan.left_out)


def test_a_case_clash_is_still_left_out_when_nothing_changed(root: Path, state_path: Path) -> None:
    put(root, "A.md")
    put(root, "a.md")
    for _ in range(3):
        scan = scan_of(root, state_path)
        assert (sorted(scan.tree), reasons(scan)) == (["A.md"], {"a.md": "bad-name"})
    (root / "A.md").unlink()
    assert sorted(scan_of(root, state_path).tree) == ["a.md"]


def test_a_folder_nested_deeper_than_a_path_may_be_is_left_out(root: Path) -> None:
    here = os.getcwd()
    os.chdir(root)
    try:
        for _ in range(700):
            os.mkdir("d")
            os.chdir("d")
        Path("deep.md").write_text("x")
    finally:
        os.chdir(here)
    put(root, "top.md")
    scan = scan_of(root)
    assert sorted(scan.tree) == ["top.md"]
    assert [item.reason for item in scan.left_out] == ["bad-name"]
    subprocess.run(["rm", "-rf", str(root / "d")], check=True)  # pathlib and shutil cannot reach that deep


def test_what_is_left_out_may_exist_and_is_not_taken_for_deleted(root: Path) -> None:
    put(root, "big.md", b"x" * 11)
    put(root, "con/inside.md")
    put(root, "a.md")
    scan = scan_of(root, rules=Rules(max_file_bytes=10))
    assert scan.may_exist("big.md")
    assert scan.may_exist("con/inside.md")
    assert not scan.may_exist("gone.md")
    assert not scan.may_exist("cone/gone.md")


def test_files_beyond_the_limit_are_left_out_and_nothing_counts_as_deleted(
    root: Path, state_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "MAX_FILES", 3)
    for name in ("a", "b", "c", "d", "sub/e"):
        put(root, name + ".md")
    for _ in range(2):
        scan = scan_of(root, state_path)
        assert sorted(scan.tree) == ["a.md", "b.md", "c.md"]
        assert [item.reason for item in scan.left_out] == ["too-many-files"]
        assert scan.may_exist("sub/e.md")


def test_a_file_that_vanishes_or_turns_into_a_symlink_before_it_is_read_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.md", "b.md", "c.md", "sub/d.md"):
        put(root, name)
    real = Worktree._walk

    def then_meddle(self: Worktree, before: Remembered) -> walk._Walk:
        found = real(self, before)
        (root / "b.md").unlink()
        (root / "c.md").unlink()
        (root / "c.md").symlink_to("a.md")
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to("moved")
        return found

    monkeypatch.setattr(Worktree, "_walk", then_meddle)
    scan = scan_of(root)
    assert sorted(scan.tree) == ["a.md"]
    assert reasons(scan) == {"b.md": "vanished", "c.md": "symlink", "sub/d.md": "vanished"}


def test_a_file_changed_while_it_is_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "a.md", "one")
    put(root, "restless.md", "0")
    real = read_all
    changes = {"a.md": 1, "restless.md": 99}

    def meddle(fd: int, size: int) -> bytes:
        data = real(fd, size)
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        if changes[name] > 0:
            changes[name] -= 1
            put(root, name, data + b"+")
        return data

    monkeypatch.setattr(walk, "read_all", meddle)
    scan = scan_of(root)
    assert scan.tree["a.md"].object == object_id(b"one+")
    assert reasons(scan) == {"restless.md": "unsettled"}
    assert changes["restless.md"] == 99 - walk.READ_TRIES


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(root: Path) -> None:
    put(root, "locked.md")
    put(root, "shut/x.md")
    (root / "locked.md").chmod(0)
    (root / "shut").chmod(0)
    scan = scan_of(root)
    (root / "shut").chmod(0o755)
    assert reasons(scan) == {"locked.md": "unreadable", "shut": "unreadable"}
    assert scan.may_exist("shut/x.md")


def test_files_that_belong_and_are_not_indexed_are_named_with_the_reason(root: Path, state_path: Path) -> None:
    put(root, "a.md")
    put(root, "b.md", b"caf\xe9")
    put(root, "c.md", b"a\0b")
    put(root, "d.png", b"\x89PNG\0")
    put(root, "e.py", "code")
    put(root, "f.json", b"[" + b" " * 300_000 + b"]")
    for _ in range(2):
        scan = scan_of(root, state_path)
        assert len(scan.tree) == 6
        assert {item.path: item.reason for item in scan.not_indexed} == {
            "b.md": "not-utf8",
            "c.md": "binary",
            "d.png": "binary",
            "e.py": "format",
            "f.json": "data-too-large",
        }


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1_000)


def _half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * (len(data) - len(data) // 2))


def _other_format(path: Path) -> None:
    database = apsw.Connection(str(path))
    database.execute("PRAGMA user_version=99")
    database.close()


@pytest.mark.promise("P9")
@pytest.mark.parametrize("damage", [_garbage, _half, _other_format, Path.unlink])
def test_a_damaged_state_is_made_again_and_changes_no_answer(
    root: Path, state_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST_LEFT_BESIDE", 0)  # else it is all in the log beside it
    for number in range(200):
        put(root, f"sub/{number}.md", str(number))
    before = scan_of(root, state_path)
    damage(state_path)
    after = scan_of(root, state_path)
    assert after.tree == before.tree
    assert bool(after.notices) is (damage in (_garbage, _half))
    assert scan_of(root, state_path).reread == 0


def test_the_digest_that_is_remembered_is_that_of_the_tree(root: Path, state_path: Path) -> None:
    """Whatever was changed, left out, not settled yet, or clashes; and only then is the tree made again."""

    def checked(*, remembered: bool, ahead: int = LATER) -> None:
        scan = scan_of(root, state_path, ahead=ahead)
        assert ("digest" in vars(scan) and bool(scan._rows)) is remembered
        assert scan.digest == digest(scan_of(root, None).tree) == digest(scan.tree)

    put(root, "docs/a.md", "a")
    put(root, "b.md", "b")
    checked(remembered=False)
    for change in (
        lambda: put(root, "b.md", "changed"),
        lambda: put(root, "docs/new.md", "n"),
        lambda: (root / "docs/a.md").chmod(0o755),
        lambda: (root / "b.md").rename(root / "c.md"),
        (root / "docs/new.md").unlink,
        lambda: put(root, ".satchelignore", "c.md\n"),
        lambda: put(root, "DOCS/A.md", "clashes"),
    ):
        change()
        checked(remembered=False)
        checked(remembered=True)
    put(root, "z.md", "just now")
    checked(remembered=False, ahead=0)
    put(root, "z.md", "in the same tick")
    checked(remembered=False, ahead=0)
    checked(remembered=False)
    checked(remembered=True)
    put(root, "y.md", "gone before it was settled")
    checked(remembered=False, ahead=0)
    (root / "y.md").unlink()
    checked(remembered=False)


def test_a_file_is_in_the_tree_again_once_what_it_clashed_with_is_gone(root: Path, state_path: Path) -> None:
    """Also where that was gone before it was settled."""
    for ahead in (LATER, 0):
        put(root, "docs/a.md")
        assert list(scan_of(root, state_path).tree) == ["docs/a.md"]
        put(root, "DOCS/A.md")
        assert list(scan_of(root, state_path, ahead=ahead).tree) == ["DOCS/A.md"]
        (root / "DOCS/A.md").unlink()
        assert list(scan_of(root, state_path).tree) == ["docs/a.md"]


@pytest.mark.parametrize("damage", [_garbage, _half, Path.unlink, lambda path: path.with_name("state.db-wal").unlink()])
def test_a_small_change_waits_in_a_log_whose_loss_changes_no_answer(
    root: Path, state_path: Path, damage: Callable[[Path], None]
) -> None:
    for number in range(40):
        put(root, f"sub/{number}.md", str(number))
    before = scan_of(root, state_path)
    assert 0 < state_path.with_name("state.db-wal").stat().st_size <= state.MOST_LEFT_BESIDE
    assert scan_of(root, state_path).reread == 0
    damage(state_path)
    assert scan_of(root, state_path).tree == before.tree
    assert scan_of(root, state_path).reread == 0


def test_a_long_log_is_brought_into_the_state(root: Path, state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "a.md")
    scan_of(root, state_path)
    monkeypatch.setattr(state, "MOST_LEFT_BESIDE", 1_000)
    put(root, "b.md")
    scan_of(root, state_path)
    assert not state_path.with_name("state.db-wal").exists()
    assert scan_of(root, state_path).reread == 0


def test_a_state_that_is_a_symlink_is_set_aside_and_what_it_leads_to_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    put(root, "a.md")
    elsewhere, state_path = tmp_path / "elsewhere.db", tmp_path / "linked.db"
    elsewhere.write_bytes(b"")
    state_path.symlink_to(elsewhere)
    assert "set aside" in scan_of(root, state_path).notices[0]
    assert elsewhere.read_bytes() == b""
    assert scan_of(root, state_path).reread == 0


def test_a_state_that_another_command_just_makes_is_waited_for(
    root: Path, state_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "a.md")
    state_path.parent.mkdir()
    other = apsw.Connection(str(state_path))
    other.execute("BEGIN IMMEDIATE; CREATE TABLE other(x)")
    monkeypatch.setattr(time, "sleep", lambda _seconds: other.execute("COMMIT"))
    assert scan_of(root, state_path).notices == []
    assert scan_of(root, state_path).reread == 0
    other.close()


def test_a_state_that_cannot_be_written_is_done_without(root: Path, tmp_path: Path) -> None:
    put(root, "a.md")
    (tmp_path / "file").write_text("no folder")
    scan = scan_of(root, tmp_path / "file" / "state.db")
    assert sorted(scan.tree) == ["a.md"]
    assert "read again each time" in scan.notices[0]


def test_one_worktree_scans_many_times(root: Path, state_path: Path) -> None:
    put(root, "a.md")
    worktree = Worktree(root, Rules(), state_path, lambda: time.time_ns() + LATER)
    assert [worktree.scan().reread for _ in range(3)] == [1, 0, 0]
    put(root, "b.md")
    assert worktree.scan().reread == 1
    worktree.close()


def test_a_survey_counts_what_belongs_without_reading_it(root: Path) -> None:
    put(root, "a.md", "abc")
    put(root, "x.log")
    put(root, ".gitignore", "*.log")
    assert Worktree.open(root).survey() == ({".gitignore": 5, "a.md": 3}, [])


@pytest.mark.parametrize(
    "path", ["../outside.md", "/etc/hostname", "link.md", "dir/x.md", "missing.md", "sub", "", "a//b"]
)
def test_reading_never_leaves_the_folder(root: Path, tmp_path: Path, path: str) -> None:
    put(tmp_path, "outside.md")
    put(tmp_path, "elsewhere/x.md")
    put(root, "sub/x.md")
    (root / "link.md").symlink_to(tmp_path / "outside.md")
    (root / "dir").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoSuchArtifact):
        Worktree.open(root).read(path)


def test_reading_can_insist_on_the_object_it_expects(root: Path) -> None:
    put(root, "a.md", "now")
    worktree = Worktree.open(root)
    assert worktree.read("a.md", object_id(b"now")) == b"now"
    with pytest.raises(ChangedMeanwhile):
        worktree.read("a.md", ObjectId(hashlib.sha256(b"then").hexdigest()))


def test_no_folder_is_refused(root: Path) -> None:
    put(root, "file.md")
    for path in (root / "missing", root / "file.md"):
        with pytest.raises(NotAFolder):
            Worktree.open(path)
    worktree = Worktree.open(root)
    (root / "file.md").unlink()
    root.rmdir()
    with pytest.raises(NotAFolder):
        worktree.scan()


_NAMES = st.sampled_from(["a.md", "b.txt", "sub/a.md", "sub/b.txt", "sub/deep/c.md", "x.log"])
_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), _NAMES, st.sampled_from(["", "one", "two"])),
        st.tuples(st.just("delete"), _NAMES, st.just("")),
        st.tuples(
            st.just("write"),
            st.sampled_from([".gitignore", "sub/.satchelignore"]),
            st.sampled_from(["*.txt\n", "deep/\n", "!b.txt\n"]),
        ),
        st.tuples(st.just("scan"), st.just(""), st.just("")),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_EDITS)
def test_remembering_never_changes_what_a_scan_finds(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("edits")
    state_path = folder / "state.db"
    root = folder / "project"
    root.mkdir()
    for what, path, text in edits:
        if what == "write":
            put(root, path, text)
        elif what == "delete":
            (root / path).unlink(missing_ok=True)
        else:
            scan_of(root, state_path)
    remembered, plain = scan_of(root, state_path), scan_of(root)
    assert (remembered.tree, remembered.left_out, remembered.not_indexed) == (
        plain.tree,
        plain.left_out,
        plain.not_indexed,
    )


def test_of_two_scans_at_once_the_later_to_end_leaves_nothing_that_does_not_fit_the_other(
    root: Path, state_path: Path
) -> None:
    def opened() -> Worktree:
        return Worktree(root, Rules(), state_path, lambda: time.time_ns() + 10**10)  # all of it is settled

    def meanwhile(_name: object, _data: bytes) -> None:
        put(root, "new.md")
        put(root, ".gitignore", b"hush.md\n")
        with closing(opened()) as other:
            assert sorted(other.scan().tree) == [".gitignore", "a.md", "new.md"]

    put(root, "a.md")
    with closing(opened()) as slow:
        slow.scan()
        put(root, "hush.md")
        assert sorted(slow.scan(meanwhile).tree) == ["a.md", "hush.md"]
        with closing(opened()) as after:
            for worktree in (after, slow, after):
                scan = worktree.scan()
                assert (sorted(scan.tree), scan.digest) == ([".gitignore", "a.md", "new.md"], digest(scan.tree))
