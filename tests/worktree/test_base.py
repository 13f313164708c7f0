from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import DiskFull
from satchel.objects.ids import Digest, Lineage, ObjectId, object_id
from satchel.objects.listing import Entry
from satchel.worktree.base import Base, CloudEntry, History, forget_base, history_of, load_base, save_base

OLD = Entry("100644", object_id(b"old"))


def base(version: int = 1, **held: Entry | None) -> Base:
    cloud = {
        "a.md": CloudEntry("100644", object_id(b"a"), 1, "ana", 1_700_000_000_000),
        "ü b.md": CloudEntry("100755", object_id(b"b"), version, 'bot "x"', 1_700_000_000_001),
    }
    return Base(Lineage("lin_x"), version, Digest("d" * 64), cloud, held)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".satchel").mkdir()
    return tmp_path


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def test_a_base_comes_back_as_it_was_saved(root: Path) -> None:
    assert load_base(root) == (None, [])
    held = base(7, **{"c.md": OLD, "new.md": None})
    save_base(root, held)
    assert load_base(root) == (held, [])


def test_held_paths_keep_what_both_sides_came_from(root: Path) -> None:
    tree = base(1, **{"a.md": OLD, "ü b.md": None}).tree
    assert tree == {"a.md": OLD}


@pytest.mark.promise("P6")
def test_the_newest_whole_generation_counts(root: Path) -> None:
    for version in (1, 2, 3):
        save_base(root, base(version))
    assert load_base(root)[0] == base(3)
    damage(root / ".satchel" / "base-0")  # the third was written there
    found, notices = load_base(root)
    assert found == base(2)
    assert "base-0 is damaged" in notices[0]
    save_base(root, base(4))
    assert load_base(root) == (base(4), [])


@pytest.mark.promise("P3")
def test_when_both_are_lost_there_is_no_base_and_the_person_is_told(root: Path) -> None:
    save_base(root, base(1))
    save_base(root, base(2))
    for slot in ("base-0", "base-1"):
        damage(root / ".satchel" / slot)
    found, notices = load_base(root)
    assert found is None
    assert "Nothing will be deleted" in notices[0]
    save_base(root, base(3))
    assert load_base(root)[0] == base(3)


@pytest.mark.promise("P8")
def test_a_base_that_never_ends_is_a_damaged_one(root: Path) -> None:
    save_base(root, base(1))
    save_base(root, base(2))
    newest = root / ".satchel" / "base-1"
    newest.unlink()
    os.mkfifo(newest)  # which nobody writes to
    assert load_base(root)[0] == base(1)
    save_base(root, base(3))
    assert load_base(root) == (base(3), [])


@pytest.mark.parametrize("length", [0, 10, 15, 16, 100, -1])
def test_a_base_cut_short_is_not_taken_for_whole(root: Path, length: int) -> None:
    save_base(root, base(1))
    path = root / ".satchel" / "base-0"
    path.write_bytes(path.read_bytes()[:length])
    assert load_base(root)[0] is None


@pytest.mark.promise("P6")
def test_a_write_that_fails_leaves_the_base_before_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_base(root, base(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        save_base(root, base(2))
    monkeypatch.undo()
    assert load_base(root) == (base(1), [])
    assert sorted(os.listdir(root / ".satchel")) == ["base-0"]


def test_history_of_some_paths_needs_no_whole_base(root: Path) -> None:
    assert history_of(root, ["a.md"]) == {}
    save_base(root, base(5, **{"held.md": OLD}))
    history = History(root)
    assert (history.lineage, history.version, history.digest) == ("lin_x", 5, "d" * 64)
    assert history.of(["a.md", "ü b.md", "held.md", "missing.md", "b.md"]) == dict(base(5).cloud)


def test_going_local_only_forgets_the_base(root: Path) -> None:
    save_base(root, base(1))
    save_base(root, base(2))
    forget_base(root)
    assert load_base(root) == (None, [])


_PATHS = st.text(min_size=1, max_size=8).filter(lambda path: path.isprintable()) | st.sampled_from(["],[", "a],[b"])
_ENTRIES = st.builds(Entry, st.sampled_from(["100644", "100755"]), st.just(ObjectId("0" * 64)))
_CLOUD = st.builds(
    CloudEntry, st.just("100644"), st.just(ObjectId("1" * 64)), st.integers(1, 9), st.text(max_size=5), st.integers()
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_PATHS, _CLOUD, max_size=4), st.dictionaries(_PATHS, st.none() | _ENTRIES, max_size=3))
def test_any_base_comes_back_and_each_path_has_its_history(
    tmp_path_factory: pytest.TempPathFactory, cloud: dict[str, CloudEntry], held: dict[str, Entry | None]
) -> None:
    root = tmp_path_factory.mktemp("base")
    saved = Base(Lineage("lin_y"), 3, Digest("e" * 64), cloud, held)
    save_base(root, saved)
    assert load_base(root) == (saved, [])
    assert history_of(root, [*cloud, *held]) == cloud


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "body", [b'["a"]\n', b"7\n", b"{\n", b"[1,2,3,4,5,6]\n", b'[["a"],"100644","b",1,"a",1]\n', b"[" * 100_000 + b"\n"]
)
def test_a_base_that_is_whole_and_none_of_ours_is_as_good_as_lost(root: Path, body: bytes) -> None:
    about = {"generation": 1, "lineage": "l", "version": 1, "digest": "d" * 64, "paths": 1, "held": 0}
    about["sha256"] = hashlib.sha256(body).hexdigest()
    (root / ".satchel/base-0").write_bytes(b"satchel-base 1\n" + json.dumps(about).encode() + b"\n" + body)
    found, notices = load_base(root)
    assert found is None
    assert "Nothing will be deleted" in notices[0]
    save_base(root, base(3))
    assert load_base(root)[0] == base(3)


def test_a_base_is_written_the_same_whatever_of_it_was_there_before(root: Path) -> None:
    save_base(root, base(1, **{"held.md": OLD}))
    before, _ = load_base(root)
    assert before is not None
    added = CloudEntry("100644", object_id(b"c"), 2, "ana", 1_700_000_000_002, "person")
    other = before.cloud["a.md"]._replace(author="bot")
    after = replace(before, version=2, cloud={"c.md": added, **before.cloud, "a.md": other}, held={}, lines=())
    save_base(root, after, before)
    known = (root / ".satchel/base-1").read_bytes()
    (root / ".satchel/base-1").unlink()
    save_base(root, after)
    assert (root / ".satchel/base-1").read_bytes() == known
    assert load_base(root) == (after, [])
