from __future__ import annotations

import errno
import hashlib
import io
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import DiskFull, InvalidInput
from satchel.sync.settle import NothingToUndo, undo
from satchel.worktree.durable import FolderUnwritable
from satchel.worktree.undo import Bounds, Kept, UndoFull, UndoStore, told
from satchel.worktree.walk import Worktree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".satchel").mkdir()
    return tmp_path


def fill(root: Path, sync_id: str, *kept: Kept, max_bytes: int = 10_000) -> UndoStore:
    store = UndoStore(root, Bounds(max_bytes))
    store.begin(sync_id)
    for path, mode, data, _ in kept:
        store.keep(path, data, mode)
    store.close()
    return store


FILE = Kept("a b.md", "100755", b"bytes\nwith\x00everything\n")
NOTHING = Kept("new.md", None, None)


@pytest.mark.promise("P3")
def test_what_was_kept_comes_back_in_another_process(root: Path) -> None:
    fill(root, "s1", FILE, NOTHING, Kept("empty", "100644", b""))
    again = UndoStore(root)
    assert again.syncs() == ["s1"]
    assert list(again.kept("s1")) == [FILE, NOTHING, Kept("empty", "100644", b"")]


def test_the_first_state_of_a_path_in_a_sync_counts(root: Path) -> None:
    fill(root, "s1", FILE, FILE._replace(data=b"later"))
    assert list(UndoStore(root).kept("s1")) == [FILE]


def test_a_sync_that_overwrote_nothing_leaves_nothing(root: Path) -> None:
    fill(root, "s1")
    assert UndoStore(root).syncs() == []
    assert not (root / ".satchel/undo").exists()


def test_a_record_of_before_permissions_were_kept_is_read(root: Path) -> None:
    store = fill(root, "s1", FILE)
    journal = root / ".satchel/undo/s1/journal"
    journal.write_bytes(journal.read_bytes().replace(b',"permissions":511', b""))
    assert list(store.kept("s1")) == [FILE]
    journal.write_bytes(journal.read_bytes().replace(b'"}\n', b'","permissions":true}\n'))
    assert list(store.kept("s1")) == []


@pytest.mark.promise("P6")
def test_a_journal_cut_off_anywhere_gives_its_whole_records(root: Path) -> None:
    fill(root, "s1", FILE, NOTHING)
    journal = root / ".satchel/undo/s1/journal"
    whole = journal.read_bytes()
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        assert list(UndoStore(root).kept("s1")) in ([], [FILE])


@pytest.mark.promise("P6")
def test_what_a_crash_cut_off_is_no_damage(root: Path) -> None:
    store = fill(root, "s1", FILE, NOTHING)
    journal = root / ".satchel/undo/s1/journal"
    whole = journal.read_bytes()
    for length in range(len(whole) + 1):
        journal.write_bytes(whole[:length])
        assert not store.damaged("s1")
    journal.unlink()  # what the sync was about to write is noted before
    assert not store.damaged("s1")


def test_a_damaged_record_is_never_given_back(root: Path) -> None:
    store = fill(root, "s1", FILE, NOTHING)
    journal = root / ".satchel/undo/s1/journal"
    whole = journal.read_bytes()
    for was, now in ((b"everything", b"EVERYTHING"), (b'"size"', b'"SIZE"'), (b"satchel-undo", b"SATCHEL-UNDO")):
        journal.write_bytes(whole.replace(was, now, 1))
        assert list(store.kept("s1")) == []
        assert store.damaged("s1")


@pytest.mark.promise("P8")
def test_the_oldest_syncs_make_room_and_never_the_one_that_runs(root: Path) -> None:
    big = Kept("big", "100644", b"x" * 700)
    for sync_id in ("s1", "s2", "s3"):
        fill(root, sync_id, big, max_bytes=2_000)
    assert UndoStore(root).syncs() == ["s2", "s3"]
    store = UndoStore(root, Bounds(2_000))
    store.begin("s4")
    store.keep("one", b"x" * 1_400, "100644")
    with pytest.raises(UndoFull):
        store.keep("two", b"x" * 700, "100644")
    store.close()
    assert [kept.path for kept in store.kept("s4")] == ["one"]


@pytest.mark.promise("P3")
def test_what_is_too_old_or_in_the_way_goes_and_is_named(root: Path) -> None:
    day = 86_400 * 10**9

    def sync(number: int) -> str:
        return f"{number * day:020d}-aa"

    fill(root, "not-a-time", FILE)
    made = [sync(number) for number in range(100, 112)]
    for name in made:
        fill(root, name, FILE)
    store = UndoStore(root, Bounds(10_000, days=10))
    store.begin(sync(112))
    assert (store.dropped, store.syncs()) == (made[:3], [*made[3:], "not-a-time"])
    left = 10_000 - sum(journal.stat().st_size for journal in store.folder.glob("*/journal"))
    store.keep("big", b"x" * left, "100644")  # too long by its own line, which is shorter than a record
    store.close()
    assert store.dropped == made[:4]
    words = told(store.dropped, store.bounds)
    assert words.startswith("The undo store let go of 4 syncs, the newest of 1970-04-14: it keeps 10 days")


@pytest.mark.promise("P3")
@pytest.mark.parametrize("ahead", [100, 36_500])
def test_a_clock_that_jumps_makes_nothing_old_and_no_step_the_newest_that_is_not(root: Path, ahead: int) -> None:
    day = 86_400 * 10**9
    names = []
    for now in (100, 100 + ahead, 101, 102 + ahead, 1, 102):
        store = UndoStore(root)
        names.append(store.fresh(now * day, b"abc"))
        store.begin(names[-1])
        store.keep("a.md", b"bytes", "100644")
        store.close()
        assert store.dropped == []
    assert names == sorted(names) == UndoStore(root).syncs()


def test_a_memory_of_no_days_is_of_the_newest_alone(root: Path) -> None:
    for number in (1, 2):
        store = UndoStore(root, Bounds(days=0))
        store.begin(store.fresh(number, b"abc"))
        store.keep("a.md", b"bytes", "100644")
        store.close()
    assert len(UndoStore(root).syncs()) == 1


def test_an_undone_sync_can_be_forgotten(root: Path) -> None:
    store = fill(root, "s1", FILE)
    store.forget("s1")
    store.forget("never was")
    assert store.syncs() == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a b"])
def test_a_name_that_could_leave_the_store_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        UndoStore(root).begin(name)


def record(path: object, mode: object, data: bytes, **other: object) -> bytes:
    about = {"path": path, "mode": mode, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **other}
    return json.dumps(about).encode() + b"\n" + data + b"\n"


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    "planted",
    [
        record("../out.md", "100644", b"evil"),
        record("/tmp/out.md", "100644", b"evil"),
        record(".git/hooks/pre-commit", "100755", b"evil"),
        record(".satchel/config.toml", "100644", b"evil"),
        record(7, "100644", b"evil"),
        record(["a"], "100644", b"evil"),
        record("a\ud800", "100644", b"evil"),
        record("a.md", "120000", b"evil"),
        record("a.md", 5, b"evil"),
        record("a.md", "100644", b"evil", size=-1),
        record("a.md", "100644", b"evil", size=10**13),
        record("a.md", "100644", b"evil", size=10**30),
        record("../out.md", None, b"", size=None),
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_journal_that_came_with_a_folder_writes_nothing_anywhere(root: Path, planted: bytes) -> None:
    project = root / "project"
    (project / ".satchel/undo/s1").mkdir(parents=True)
    (project / ".satchel/undo/s1/journal").write_bytes(b"satchel-undo 1\n" + planted)
    with pytest.raises(NothingToUndo):
        undo(Worktree.open(project))
    assert not [path for path in root.rglob("*") if path.is_file() and ".satchel" not in path.parts]
    assert not (root / "out.md").exists()


@pytest.mark.promise("P5")
def test_a_symlink_that_stands_for_the_store_is_not_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mine = tmp_path_factory.mktemp("elsewhere")
    fill_in = mine / "s0"
    fill_in.mkdir()
    (fill_in / "journal").write_bytes(b"x" * 900)
    (root / ".satchel/undo").symlink_to(mine)
    store = UndoStore(root, Bounds(1_000))
    assert store.syncs() == []
    store.begin("s1")
    with pytest.raises(FolderUnwritable):
        store.keep("a.md", b"x" * 500, "100644")
    assert [path.name for path in mine.iterdir()] == ["s0"]


@pytest.mark.promise("P3")
def test_what_is_kept_after_the_disk_was_full_when_the_store_was_closed_comes_back(root: Path) -> None:
    store = fill(root, "s1", FILE)
    size = (root / ".satchel/undo/s1/journal").stat().st_size
    store.begin("s1")
    store.keep(NOTHING.path, None, None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fill(root, "s1", FILE._replace(path="later.md"))
    assert list(UndoStore(root).kept("s1")) == [FILE, FILE._replace(path="later.md")]


@pytest.mark.promise("P6")
def test_a_disk_that_is_full_is_told_by_name_and_not_again_when_the_store_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def start(self: UndoStore) -> Any:
        journal: Any = io.BufferedWriter(Full())
        self._journal = journal
        return journal

    store = UndoStore(tmp_path)
    store.begin("sync-1")
    monkeypatch.setattr(UndoStore, "_start", start)
    with pytest.raises(DiskFull):
        store.keep("a.md", b"data", "100644")
    store.close()
