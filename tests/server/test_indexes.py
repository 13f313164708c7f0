"""Index files on the server's disk, and the keys they are under."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from satchel.objects.ids import Digest, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.server.indexes import IndexCache, Ref

REF = Ref(TenantId("ten_00000000000000000000000001"), ProjectId("prj_00000000000000000000000001"))


def keys(epoch: int) -> Callable[[bytes], bytes]:
    return lambda file_id: hashlib.sha256(bytes([epoch]) + file_id).digest()


def bring(cache: IndexCache, key_of: Callable[[bytes], bytes], text: str) -> Digest:
    data = text.encode()
    tree = {"a.md": Entry("100644", object_id(data))}
    with cache.build(REF, key_of) as index:
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
