from __future__ import annotations

import hmac
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import Damaged, SealBroken, WrongKey
from satchel.objects.ids import TenantId
from satchel.objects.seal import SEAL_OVERHEAD, Binding, derive, open_sealed, seal

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/seals.json").read_text())
KEY, SALT = b"k" * 32, b"s" * 32
BINDING = Binding(TenantId("ten_a"), "prj_a", "frame")
TEXT = b"decision 17"
SEALED = seal(KEY, BINDING, "name", TEXT, epoch=3, salt=SALT, index=1, count=2)


def opened(sealed: bytes, binding: Binding = BINDING, name: str = "name", index: int = 1, count: int = 2) -> bytes:
    return open_sealed(lambda _epoch: KEY, binding, name, sealed, index=index, count=count)


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["kind"] + str(vector["epoch"]))
def test_a_seal_is_as_it_always_was(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["key"])
    binding = Binding(vector["tenant"], vector["project"], vector["kind"])
    place = {"index": vector["index"], "count": vector["count"]}
    salt, plaintext = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["plaintext"])
    sealed = seal(key, binding, vector["name"], plaintext, epoch=vector["epoch"], salt=salt, **place)
    assert sealed.hex() == vector["sealed"]
    assert open_sealed({vector["epoch"]: key}.__getitem__, binding, vector["name"], sealed, **place) == plaintext


@pytest.mark.parametrize("vector", VECTORS["derived"], ids=lambda vector: vector["info"][-1])
def test_a_derived_key_is_as_it_always_was(vector: dict[str, Any]) -> None:
    key, salt = bytes.fromhex(vector["key"]), bytes.fromhex(vector["salt"])
    derived = derive(key, salt, *vector["info"], length=vector.get("length", 32))
    assert derived.hex() == vector["bytes"]


def test_the_worked_example_of_the_specification_is_the_second_vector() -> None:
    """Each step anew, by HMAC alone, and found in the page as it is."""
    page = (Path(__file__).parents[2] / "docs/spec/sealing.md").read_text()
    vector = VECTORS["good"][1]
    key, salt, sealed = (bytes.fromhex(vector[name]) for name in ("key", "salt", "sealed"))
    texts = ("satchel seal 1", vector["tenant"], vector["project"], vector["kind"])
    infos = [struct.pack(">H", len(text)) + text.encode() for text in ("satchel seal 1 key check", *texts)]
    named = struct.pack(">H", 64) + vector["name"].encode()
    extracted = hmac.digest(salt, key, "sha256")
    check = hmac.digest(extracted, infos[0] + b"\x01", "sha256")[:16]
    once = hmac.digest(extracted, b"".join(infos[1:]) + named + b"\x01", "sha256")
    assert (check, once) == (sealed[60:76], derive(key, salt, *texts, vector["name"]))
    for step in (key, salt, extracted, *infos, check, once, sealed[76:-16], sealed[-16:]):
        assert f"`{step.hex()}`" in page
    assert sealed[:28].hex() in page.replace(" ", "")


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("binding", "name"),
    [
        (BINDING._replace(tenant=TenantId("ten_b")), "name"),
        (BINDING._replace(project="prj_b"), "name"),
        (BINDING._replace(kind="record"), "name"),
        (BINDING, "other"),
        (BINDING._replace(project="prj_afr", kind="ame"), "name"),
    ],
    ids=["another tenant", "another project", "another kind", "another name", "letters moved between parts"],
)
def test_sealed_bytes_open_only_where_they_belong(binding: Binding, name: str) -> None:
    assert opened(SEALED) == TEXT
    with pytest.raises(SealBroken):
        opened(SEALED, binding, name)


@pytest.mark.parametrize(("index", "count"), [(0, 2), (1, 3), (0, 1)])
def test_a_part_does_not_open_as_another_part(index: int, count: int) -> None:
    with pytest.raises(SealBroken):
        opened(SEALED, index=index, count=count)


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(len(SEALED) * 8):
        changed = bytearray(SEALED)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            opened(bytes(changed))


def test_every_missing_and_added_byte_is_refused() -> None:
    for length in range(len(SEALED)):
        with pytest.raises(SealBroken):
            opened(SEALED[:length])
    with pytest.raises(SealBroken):
        opened(SEALED + b"\0")


def test_a_wrong_key_is_told_from_damage() -> None:
    with pytest.raises(WrongKey):
        open_sealed(lambda _epoch: b"x" * 32, BINDING, "name", SEALED, index=1, count=2)


def test_the_epoch_asked_for_is_the_one_in_the_seal() -> None:
    asked: list[int] = []

    def key_of(epoch: int) -> bytes:
        asked.append(epoch)
        return KEY

    open_sealed(key_of, BINDING, "name", SEALED, index=1, count=2)
    assert asked == [3]


def test_the_same_text_sealed_twice_looks_unlike() -> None:
    """P10: the store does not show that two things are the same."""
    again = seal(KEY, BINDING, "name", TEXT, epoch=3, salt=b"t" * 32, index=1, count=2)
    assert again[76:] != SEALED[76:]
    assert len(SEALED) == len(TEXT) + SEAL_OVERHEAD


def test_a_short_key_or_salt_is_a_defect() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(KEY[:16], BINDING, "name", TEXT, epoch=1, salt=SALT)
    with pytest.raises(ValueError, match="32 bytes"):
        seal(KEY, BINDING, "name", TEXT, epoch=1, salt=SALT[:16])
