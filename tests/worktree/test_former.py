from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from satchel.objects.frame import make_frames
from satchel.objects.ids import ObjectId, object_id
from satchel.worktree.find import local_dir
from satchel.worktree.former import MAX_PACKS, Former


def text(seed: int) -> bytes:
    words = random.Random(seed).choices([b"plan", b"task", b"server", b"note", b"why"], k=200)
    return b" ".join(words)


def keep(former: Former, *contents: bytes) -> list[ObjectId]:
    keeping = former.keep()
    for frame in make_frames((object_id(data), data) for data in contents):
        keeping.add(frame)
    keeping.commit()
    return [object_id(data) for data in contents]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    local_dir(tmp_path).mkdir()
    return tmp_path


def packs(root: Path) -> list[Path]:
    return sorted(path for path in (local_dir(root) / "former").iterdir() if path.name.isdecimal())


def test_what_was_kept_is_read_again_and_nothing_else(root: Path) -> None:
    names = keep(Former(root), text(1), text(2))
    absent = object_id(text(3))
    assert Former(root).read([*names, absent]) == {names[0]: text(1), names[1]: text(2)}
    assert Former(root).read([]) == {}
    assert all(path.stat().st_mode & 0o077 == 0 for path in packs(root))


def test_what_did_not_count_in_the_end_is_not_kept(root: Path) -> None:
    keeping = Former(root).keep()
    for frame in make_frames([(object_id(text(1)), text(1))]):
        keeping.add(frame)
    keeping.drop()
    assert Former(root).read([object_id(text(1))]) == {}
    assert os.listdir(local_dir(root) / "former") == []


def test_many_small_packs_are_joined_and_all_stay_readable(root: Path) -> None:
    names = [keep(Former(root), text(seed))[0] for seed in range(3 * MAX_PACKS)]
    assert len(packs(root)) <= MAX_PACKS + 1
    assert Former(root).read(names) == {name: text(seed) for seed, name in enumerate(names)}


def test_the_oldest_go_where_there_is_no_room_for_all(root: Path) -> None:
    former = Former(root, max_bytes=1_000)
    names = [keep(former, text(seed))[0] for seed in range(12)]
    kept = former.read(names)
    assert names[-1] in kept
    assert names[0] not in kept
    assert sum(path.stat().st_size for path in packs(root)) <= 1_000
    (name,) = keep(former, *[bytes(random.Random(1).choices(b"abcd", k=8_000))])
    assert former.read([name]) == {}


@pytest.mark.parametrize("harm", ["empty", "cut", "scrambled", "foreign"])
def test_a_damaged_pack_is_one_that_keeps_nothing(root: Path, harm: str) -> None:
    (name,) = keep(Former(root), text(1))
    (pack,) = packs(root)
    data = pack.read_bytes()
    harmed = {"empty": b"", "cut": data[:-5], "foreign": b"\xff" * len(data)}.get(harm)
    pack.write_bytes(bytes([data[0], *(byte ^ 1 for byte in data[1:200])]) + data[200:] if harmed is None else harmed)
    assert Former(root).read([name]) == {}
    (other,) = keep(Former(root), text(2))
    assert Former(root).read([name, other]) == {other: text(2)}


def test_content_that_does_not_compress_is_not_worth_keeping(root: Path) -> None:
    (name,) = keep(Former(root), random.Random(1).randbytes(5_000))
    assert Former(root).read([name]) == {}


def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_nothing(root: Path) -> None:
    (local_dir(root) / "former").write_text("in the way")
    assert Former(root).read(keep(Former(root), text(1))) == {}
    Former(root).note("lin_1", taken=True)
    assert not Former(root).taken("lin_1")


def test_what_a_server_takes_is_remembered_by_lineage(root: Path) -> None:
    Former(root).note("lin_1", taken=True)
    assert (Former(root).taken("lin_1"), Former(root).taken("lin_2")) == (True, False)
    Former(root).note("lin_1", taken=False)
    assert not Former(root).taken("lin_1")
    Former(root).forget()
    assert not (local_dir(root) / "former").exists()


def test_a_symlink_in_its_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (local_dir(root) / "former").symlink_to(elsewhere)
    assert Former(root).read(keep(Former(root), text(1))) == {}
    Former(root).note("lin_1", taken=True)
    Former(root).forget()
    assert (list(elsewhere.iterdir()), elsewhere.is_dir()) == ([], True)


def test_a_symlink_in_the_place_of_its_note_is_not_followed(root: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    keep(Former(root), text(1))
    (local_dir(root) / "former" / "taken").symlink_to(theirs)
    (local_dir(root) / "former" / "new").symlink_to(theirs)
    Former(root).note("lin_1", taken=True)
    names = [keep(Former(root), text(seed))[0] for seed in range(2 * MAX_PACKS)]
    assert theirs.read_text() == "precious"
    assert len(Former(root).read(names)) == len(names)


def test_what_a_crash_left_of_a_pack_is_not_there_for_ever(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        monkeypatch.setattr(os, "getpid", lambda seed=seed: 100_000 + seed)  # each in a process of its own
        keeping = Former(root).keep()  # never ended
        for frame in make_frames([(object_id(text(seed)), text(seed))]):
            keeping.add(frame)
    assert len(os.listdir(local_dir(root) / "former")) == 1
