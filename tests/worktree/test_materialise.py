from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import DiskFull, PathRefused
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry
from satchel.worktree import durable
from satchel.worktree.materialise import FEW_FILES, Materialiser
from satchel.worktree.undo import Bounds, Kept, UndoFull, UndoStore
from satchel.worktree.walk import ChangedMeanwhile, Worktree


def entry(data: bytes, mode: str = "100644") -> Entry:
    return Entry(mode, object_id(data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".satchel").mkdir(parents=True)
    (folder / "a.md").write_bytes(b"old")
    return folder


@pytest.fixture
def undo(root: Path) -> UndoStore:
    store = UndoStore(root)
    store.begin("sync-1")
    return store


def tree_of(root: Path) -> dict[str, Entry]:
    return Worktree.open(root).scan().tree


def test_files_are_written_replaced_and_deleted_with_their_modes_and_folders(root: Path, undo: UndoStore) -> None:
    with Materialiser(root, undo) as into:
        into.write("a.md", b"new", "100644", entry(b"old"))
        into.write("deep/er/run.sh", b"#!", "100755", None)
        into.write("deep/gone.md", b"x", "100644", None)
        into.delete("deep/gone.md", entry(b"x"))
    assert tree_of(root) == {"a.md": entry(b"new"), "deep/er/run.sh": entry(b"#!", "100755")}
    with Materialiser(root, undo) as into:
        into.delete("deep/er/run.sh", entry(b"#!", "100755"))
    assert sorted(os.listdir(root)) == [".satchel", "a.md"]


@pytest.mark.promise("P3")
def test_what_is_overwritten_or_deleted_is_in_the_undo_store_first(root: Path, undo: UndoStore) -> None:
    with Materialiser(root, undo) as into:
        into.write("a.md", b"new", "100644", entry(b"old"))
        into.write("b.md", b"b", "100644", None)
        into.write("a.md", b"newer", "100644", entry(b"new"))
        into.delete("b.md", entry(b"b"))
    permissions = stat.S_IMODE((root / "a.md").stat().st_mode)
    assert list(undo.kept("sync-1")) == [Kept("a.md", "100644", b"old", permissions), Kept("b.md", None, None)]


@pytest.mark.promise("P3")
@pytest.mark.parametrize("path", ["a.md", "new.md"])
@pytest.mark.parametrize("aside", [False, True])
def test_what_an_editor_saves_while_the_undo_store_waits_for_the_disk_is_not_overwritten(
    root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch, path: str, aside: bool
) -> None:
    real = UndoStore.keep

    def keep(store: UndoStore, *kept: Any) -> None:
        real(store, *kept)
        (root / "aside").write_bytes(b"own")
        if aside:
            (root / "aside").rename(root / path)
        else:
            (root / path).write_bytes(b"own")

    monkeypatch.setattr(UndoStore, "keep", keep)
    expect = tree_of(root).get(path)
    with Materialiser(root, undo) as into:
        with pytest.raises(ChangedMeanwhile):
            into.write(path, b"new", "100644", expect)
        if expect is not None:
            (root / path).write_bytes(b"old")
            with pytest.raises(ChangedMeanwhile):
                into.delete(path, expect)
    assert (root / path).read_bytes() == b"own"


@pytest.mark.promise("P3")
@pytest.mark.parametrize("expect", [None, entry(b"older"), entry(b"old", "100755")])
def test_a_file_that_is_not_as_expected_is_not_touched(root: Path, undo: UndoStore, expect: Entry | None) -> None:
    with Materialiser(root, undo) as into:
        with pytest.raises(ChangedMeanwhile):
            into.write("a.md", b"new", "100644", expect)
        with pytest.raises(ChangedMeanwhile):
            into.write("missing.md", b"new", "100644", entry(b"was"))
        with pytest.raises(ChangedMeanwhile):
            into.delete("a.md", entry(b"something"))
    assert tree_of(root) == {"a.md": entry(b"old")}
    assert undo.syncs() == []


@pytest.mark.parametrize("path", ["link.md", "dir/x.md", "dir/new.md", "a.md/below.md", "folder"])
def test_nothing_is_written_through_a_symlink_or_over_something_else(root: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.md").write_bytes(b"theirs")
    (root / "link.md").symlink_to(outside / "x.md")
    (root / "dir").symlink_to(outside)
    (root / "folder").mkdir()
    (root / "folder/ignored").write_text("x")
    with Materialiser(root, None) as into:
        for expect in (None, entry(b"theirs")):
            with pytest.raises(ChangedMeanwhile):
                into.write(path, b"ours", "100644", expect)
    assert (outside / "x.md").read_bytes() == b"theirs"
    assert os.listdir(outside) == ["x.md"]
    assert os.listdir(root / ".satchel/tmp") == []


@pytest.mark.promise("P5")
@pytest.mark.parametrize("again", ["dir/b.md", "dir/sub/b.md", "other/b.md"])
def test_a_folder_swapped_for_a_symlink_while_a_pull_writes_leads_nowhere(
    root: Path, tmp_path: Path, again: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)

    def pull() -> None:
        with Materialiser(root, None) as into:
            for path in ("dir/a.md", "other/a.md", "dir/a2.md"):
                into.write(path, b"ours", "100644", None)
            for name in ("dir", "other"):
                (root / name).rename(root / f"{name}.old")
                (root / name).symlink_to(outside)
            into.write(again, b"ours", "100644", None)

    with pytest.raises(ChangedMeanwhile):  # at the latest where folders are synced
        pull()
    assert sorted(path.name for path in outside.rglob("*")) == ["sub"]


@pytest.mark.parametrize("path", ["../x.md", "/x.md", ".git/config", ".satchel/config.toml", "a/.GIT/x", "con.md", ""])
def test_a_path_no_tree_may_hold_is_refused(root: Path, path: str) -> None:
    with Materialiser(root, None) as into, pytest.raises(PathRefused):
        into.write(path, b"x", "100644", None)


def test_a_folder_that_still_holds_ignored_files_stays(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub/a.md").write_bytes(b"a")
    (root / "sub/.DS_Store").write_bytes(b"b")
    with Materialiser(root, None) as into:
        into.delete("sub/a.md", entry(b"a"))
    assert os.listdir(root / "sub") == [".DS_Store"]


@pytest.mark.promise("P6")
def test_a_full_disk_leaves_the_file_as_it_was(root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with Materialiser(root, undo) as into:

        def full(fd: int, data: Any) -> None:
            os.write(fd, bytes(data)[:1])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(durable, "write_all", full)
        with pytest.raises(DiskFull):
            into.write("a.md", b"new", "100644", entry(b"old"))
        monkeypatch.undo()
    assert tree_of(root) == {"a.md": entry(b"old")}
    assert os.listdir(root / ".satchel/tmp") == []


@pytest.mark.promise("P3")
def test_a_sync_that_does_not_fit_the_undo_store_stops_before_it_overwrites(root: Path) -> None:
    store = UndoStore(root, Bounds(100))
    store.begin("sync-1")
    with Materialiser(root, store) as into, pytest.raises(UndoFull):
        into.write("a.md", b"new", "100644", entry(b"old"))
    assert (root / "a.md").read_bytes() == b"old"
    assert store.syncs() == []


def test_what_a_crash_left_half_written_is_cleared_away(root: Path) -> None:
    (root / ".satchel/tmp").mkdir()
    (root / ".satchel/tmp/left").write_bytes(b"half")
    Materialiser(root, None).close()
    assert os.listdir(root / ".satchel/tmp") == []


def test_another_filesystem_below_the_folder_is_written_in_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if src_dir_fd != dst_dir_fd:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", rename)
    with Materialiser(root, None) as into:
        into.write("mount/x.md", b"x", "100644", None)
    assert tree_of(root)["mount/x.md"] == entry(b"x")
    assert os.listdir(root / "mount") == ["x.md"]


def test_the_umask_is_obeyed(root: Path) -> None:
    before = os.umask(0o027)
    try:
        with Materialiser(root, None) as into:
            into.write("x.sh", b"x", "100755", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "x.sh").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("was", "mode", "then"),
    [(0o600, "100644", 0o600), (0o640, "100755", 0o750), (0o775, "100644", 0o664), (0o444, "100644", 0o444)],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_who_could_not_read_a_file_cannot_read_what_replaces_it(
    root: Path, was: int, mode: str, then: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if elsewhere and src_dir_fd != dst_dir_fd:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", rename)
    (root / "a.md").chmod(was)
    with Materialiser(root, None) as into:
        into.write("a.md", b"new", mode, tree_of(root)["a.md"])
    assert stat.S_IMODE((root / "a.md").stat().st_mode) == then
    assert tree_of(root) == {"a.md": entry(b"new", mode)}


@pytest.mark.promise("P6")
def test_bytes_are_on_disk_before_the_name_and_the_undo_record_before_both(
    root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noting_fsync(fd: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        steps.append("sync " + ("new bytes" if name.startswith(".satchel-tmp") else name))
        fsync(fd)

    def noting_rename(*args: Any, **kwargs: Any) -> None:
        steps.append("rename")
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    with Materialiser(root, undo) as into:
        steps.clear()
        into.write("a.md", b"new", "100644", entry(b"old"))
    at = steps.index("rename")
    assert sorted(steps[:at]) == ["sync .satchel", "sync journal", "sync new bytes", "sync sync-1", "sync undo"]
    assert steps[at + 1 :] == ["sync project"]


@pytest.mark.promise("P6")
def test_a_folder_that_somebody_made_and_did_not_sync_is_durable_with_what_is_put_into_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    (root / "made/by/hand").mkdir(parents=True)
    with Materialiser(root, None) as folder:
        folder.write("made/by/hand/a.md", b"x", "100644", None)
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    assert synced == [(root / path).stat().st_ino for path in (".", "made", "made/by", "made/by/hand")]


@pytest.mark.promise("P6")
def test_a_folder_of_ours_is_durable_before_anything_is_put_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    durable.replace(tmp_path / "new/deep/file", b"x")
    kept = [(tmp_path / path).stat().st_ino for path in (".", "new", "new/deep/file", "new/deep")]
    assert synced == kept


def test_a_new_file_takes_the_place_of_folders_that_hold_nothing(root: Path) -> None:
    (root / "docs/old/older").mkdir(parents=True)
    (root / "kept/empty").mkdir(parents=True)
    (root / "kept/ignored").write_text("x")
    with Materialiser(root, None) as into:
        into.write("docs", b"a file now", "100644", None)
        with pytest.raises(ChangedMeanwhile):
            into.write("kept", b"ours", "100644", None)
    assert (root / "docs").read_bytes() == b"a file now"
    assert (root / "kept/empty").is_dir()


MANY = [(b"%d" % number, "100644") for number in range(FEW_FILES + 1)]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("trusted", [True, False])
def test_many_files_are_on_disk_before_any_has_its_name(
    root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    synced: list[str] = []

    def flush(fd: int) -> None:
        synced.extend(sorted(os.listdir(fd)))

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2])

    monkeypatch.setattr(durable, "flushes", lambda _fd: trusted)
    monkeypatch.setattr(durable, "flush_filesystem", flush)
    with Materialiser(root, undo) as folder:
        monkeypatch.setattr(os, "fsync", fsync)
        staged = folder.stage(MANY)
        monkeypatch.undo()
        assert sorted(synced) == sorted(one.name for one in staged)
        for number, one in enumerate(staged):
            folder.place(f"{number}.md", one, None)
    assert {path.read_bytes() for path in root.glob("[0-9]*.md")} == {data for data, _ in MANY}


@pytest.mark.promise("P6")
def test_what_is_written_ahead_is_waited_for_before_the_folder_is_let_go(
    root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()
    real, flushed = durable.flush_filesystem, list[int]()

    def flush(fd: int) -> None:
        began.set()
        assert go.wait(30)
        real(fd)
        flushed.append(fd)

    monkeypatch.setattr(durable, "flushes", lambda _fd: True)
    monkeypatch.setattr(durable, "flush_filesystem", flush)
    folder = Materialiser(root, undo)
    staged = folder.staging(MANY)
    assert began.wait(30)
    folder.write("meanwhile.md", b"written", "100644", None)
    threading.Timer(0.01, go.set).start()
    folder.close()
    assert len(flushed) == 1
    assert len(staged()) == len(MANY)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("trusted", [True, False])
def test_many_folders_are_on_disk_when_it_says_so(
    root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """Those on another filesystem than the rest, as ``apart`` is here, one by one all the same."""
    names = ["apart", *(f"made{number}" for number in range(FEW_FILES))]
    synced: list[str] = []
    real = os.fstat

    def name_of(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2]

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        fields = list(found)
        fields[2] += name_of(fd) == "apart"
        return os.stat_result(fields)

    with Materialiser(root, undo) as folder:
        for name in names:
            folder.write(f"{name}/below/a.md", b"text", "100644", None)
        monkeypatch.setattr(durable, "flushes", lambda _fd: trusted)
        monkeypatch.setattr(durable, "flush_filesystem", lambda _fd: synced.append("all"))
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(name_of(fd)))
        monkeypatch.setattr(os, "fstat", fstat)
        folder.finish()
        monkeypatch.undo()
    each = sorted([root.name, *names, *["below"] * len(names)])
    assert sorted(synced) == (["all", "apart"] if trusted else each)


@pytest.mark.promise("P6")
def test_folders_that_cannot_be_flushed_are_told(root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with Materialiser(root, undo) as folder:
        for number in range(FEW_FILES):
            folder.write(f"{number}/a.md", b"text", "100644", None)
        monkeypatch.setattr(durable, "flushes", lambda _fd: True)
        monkeypatch.setattr(durable, "flush_filesystem", flush)
        with pytest.raises(DiskFull):
            folder.finish()
        monkeypatch.undo()


@pytest.mark.promise("P6")
def test_a_flush_that_fails_leaves_nothing_behind(root: Path, undo: UndoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "flushes", lambda _fd: True)
    monkeypatch.setattr(durable, "flush_filesystem", flush)
    with Materialiser(root, undo) as folder, pytest.raises(DiskFull):
        folder.stage(MANY)
    assert list((root / ".satchel/tmp").iterdir()) == []


def test_a_flush_is_trusted_on_the_filesystems_it_is_known_of(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    try:
        if durable.flushes(fd):
            durable.flush_filesystem(fd)
    finally:
        os.close(fd)
    reading, writing = os.pipe()
    assert not durable.flushes(reading)  # a pipe is on none of them
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("bits", [0o777, 0o666, None], ids=["all run", "none runs", "held"])
def test_a_filesystem_that_holds_no_mode_is_known_by_what_it_makes_of_one(
    bits: int | None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstat
    if bits is not None:
        monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((stat.S_IFREG | bits, *real(fd)[1:10])))
    assert durable.holds_modes(root / ".satchel") is (bits is None)
    assert os.listdir(root / ".satchel") == []
    assert durable.holds_modes(root / "not there")
