"""Index files on the server's disk, and the keys they are under."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from satchel.objects.ids import Digest, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.search.index import Index
from satchel.server import indexes
from satchel.server.indexes import IndexCache, Ref

REF = Ref(TenantId("ten_00000000000000000000000001"), ProjectId("prj_00000000000000000000000001"))


def keys(epoch: int) -> Callable[[bytes], bytes]:
    return lambda file_id: hashlib.sha256(bytes([epoch]) + file_id).digest()


def bring(cache: IndexCache, key_of: Callable[[bytes], bytes], text: str, ref: Ref = REF) -> Digest:
    data = text.encode()
    tree = {"a.md": Entry("100644", object_id(data))}
    with cache.build(ref, key_of) as index:
        index.bring(digest(tree), tree, lambda _path: data)
    return digest(tree)


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.db"))


def test_a_new_key_of_the_tenant_begins_another_file_while_readers_end_with_the_old_one(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    first = bring(cache, keys(1), "# One\n")
    (old,) = files(tmp_path)
    with cache.borrow(REF, keys(2)) as reading:  # the keyring has another key by now: the file has not
        assert reading.digest == first
        with cache.borrow(REF, keys(2)) as beside:
            assert beside.digest == first
        second = bring(cache, keys(2), "# Two\n")
        assert reading.digest == first
    (new,) = files(tmp_path)
    assert new != old
    with cache.borrow(REF, keys(2)) as reading:
        assert reading.digest == second
    cache.close()


def test_a_file_of_an_old_key_is_built_anew_after_a_restart(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    bring(cache, keys(1), "# One\n")
    cache.close()
    again = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    with again.borrow(REF, keys(2)) as index:
        assert index.digest is None
    second = bring(again, keys(2), "# Two\n")
    with again.borrow(REF, keys(2)) as index:
        assert index.digest == second
    again.close()


def test_a_file_written_before_a_purge_elsewhere_goes_and_one_written_since_stays(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    bring(cache, keys(1), "# One\n")
    assert cache.tenants() == {REF.tenant}
    [path] = tmp_path.rglob("*.db")
    written = path.stat().st_mtime_ns // 1_000_000
    cache.discard(REF, not_since=written - 60_000)
    assert files(tmp_path) == [path.name]
    cache.discard(REF, not_since=written + 60_000)
    assert (files(tmp_path), cache.tenants()) == ([], set())
    cache.discard(REF, not_since=written + 60_000)  # nothing is there: nothing to do
    cache.close()


def test_the_index_of_the_past_goes_with_that_of_the_head_and_with_the_process(tmp_path: Path) -> None:
    past = REF._replace(past=True)
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    head = bring(cache, keys(1), "# Two\n")
    then = bring(cache, keys(1), "# One\n", past)
    with cache.borrow(REF, keys(1)) as now, cache.borrow(past, keys(1)) as before:
        assert (now.digest, before.digest) == (head, then)
    cache.discard(past)
    assert len(files(tmp_path)) == 1
    bring(cache, keys(1), "# One\n", past)
    cache.discard(REF)
    assert files(tmp_path) == []
    bring(cache, keys(1), "# Two\n")
    bring(cache, keys(1), "# One\n", past)
    cache.close()
    again = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    assert len(files(tmp_path)) == 1
    with again.borrow(REF, keys(1)) as index:
        assert index.digest == head
    again.close()


@pytest.mark.parametrize("bound", ["number", "bytes"])
def test_of_many_projects_the_last_that_were_asked_stay_open_and_the_bytes_are_counted(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {"number": 3}.get(bound, 100)
    monkeypatch.setattr(indexes, "OPEN_BYTES", {"bytes": 2_000_000}.get(bound, 1 << 30))
    monkeypatch.setattr(indexes, "ONE_OPEN_BYTES", 512 * 1024)
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom, max_open=most)
    refs = [REF._replace(project=ProjectId(f"prj_{number:026}")) for number in range(6)]
    for ref in refs:
        bring(cache, keys(1), f"# {ref.project}\n", ref)
    seen: dict[Ref, Index] = {}
    for ref in refs:
        with cache.borrow(ref, keys(1)) as index:
            seen[ref] = index
    for ref in (refs[5], refs[3], refs[5]):
        with cache.borrow(ref, keys(1)) as index:
            assert index is seen[ref]  # still open
    with cache.borrow(refs[0], keys(1)) as index:
        assert index is not seen[refs[0]]
    with cache.borrow(refs[4], keys(1)) as index:
        assert index is not seen[refs[4]]  # it was the one asked longest ago
    on_disk = {path.name: path.stat().st_size for path in tmp_path.rglob("*.db")}
    assert cache.bytes_used >= sum(on_disk.values())
    cache.discard(refs[0])
    cache.forget(REF.tenant)
    assert (cache.bytes_used, files(tmp_path)) == (0, [])
    cache.close()


def test_a_question_that_finds_an_index_behind_leaves_it_open_for_the_builder_and_one_that_fails_does_not(
    tmp_path: Path,
) -> None:
    class Behind(BaseException):
        pass

    def ask(error: type[BaseException]) -> None:
        with cache.borrow(REF, keys(1)) as index:
            asked.append(index)
            raise error

    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    asked: list[Index] = []
    bring(cache, keys(1), "# One\n")
    with pytest.raises(Behind):
        ask(Behind)
    with cache.build(REF, keys(1)) as index:
        assert index is asked[0]
    with pytest.raises(ZeroDivisionError):
        ask(ZeroDivisionError)
    with cache.borrow(REF, keys(1)) as index:
        assert asked[0] is asked[1] is not index
    cache.close()


def test_a_file_takes_the_place_of_an_empty_one_while_readers_end_with_that(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    file_id, made = os.urandom(16), cache.scratch(REF)
    tree = {"a.md": Entry("100644", object_id(b"# One\n"))}
    with Index.open(made, key=keys(1)(file_id)) as other:
        other.bring(digest(tree), tree, lambda _path: b"# One\n")
    with cache.borrow(REF, keys(1)) as empty, cache.pinned([REF]):
        assert empty.digest is None
        assert cache.replace(REF, cache.held(REF), file_id, made)
        assert empty.digest is None
        with cache.borrow(REF, keys(1)) as index:
            assert index.digest == digest(tree)
    assert files(tmp_path) == [f"{file_id.hex()}.db"]
    with cache.borrow(REF, keys(1)) as index:
        assert index.digest == digest(tree)
    assert cache.bytes_used == (tmp_path / REF.tenant / REF.project / f"{file_id.hex()}.db").stat().st_size
    cache._max_bytes = 0
    bring(cache, keys(1), "# Two\n")  # nobody holds it: it can go
    assert (files(tmp_path), cache.bytes_used) == ([], 0)
    cache.close()


def test_a_file_comes_too_late_where_the_index_was_discarded_meanwhile(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom)
    with cache.pinned([REF]):
        before, made = cache.held(REF), cache.scratch(REF)
        made.write_bytes(b"what was purged")
        cache.discard(REF)
        assert not cache.replace(REF, before, os.urandom(16), made)
    with cache.pinned([REF]):
        assert not cache.replace(REF, before, os.urandom(16), made)
    assert files(tmp_path) == []
    IndexCache(tmp_path, 1 << 30, random=os.urandom).close()
    assert not list(tmp_path.rglob("*.part"))  # what was cut off goes at the next start


def test_on_a_full_disk_the_less_recently_used_half_goes_before_an_index_cannot_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()
    cache = IndexCache(tmp_path, 1 << 30, random=os.urandom, yields=lambda: asked.append(1))
    refs = [Ref(REF.tenant, ProjectId(f"prj_{number:026}")) for number in range(4)]
    for ref in refs:
        bring(cache, keys(1), "# One\n", ref)
    new, make = Ref(REF.tenant, ProjectId(f"prj_{9:026}")), Path.mkdir

    def full(path: Path, *how: int, **more: bool) -> None:
        if new.project in path.parts and not asked:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, *how, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Path, "mkdir", full)
    done = bring(cache, keys(1), "# New\n", new)
    with cache.borrow(new, keys(1)) as index:
        assert index.digest == done
    assert ({path.parent.name for path in tmp_path.rglob("*.db")}, asked) == (
        {refs[2].project, refs[3].project, new.project},
        [1],
    )
    cache.close()
