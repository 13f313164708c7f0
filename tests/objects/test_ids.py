from __future__ import annotations

import pytest

from satchel.objects.ids import is_hex_id, is_random_id, new_id, object_id


def test_an_object_is_named_as_sha256sum_names_it() -> None:
    assert object_id(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_only_64_lowercase_hex_digits_are_a_hash() -> None:
    assert is_hex_id("0f" * 32)
    assert not any(map(is_hex_id, ["0F" * 32, "0f" * 31, "0f" * 32 + "\n", "", "٠" * 64]))


def test_an_id_holds_all_its_randomness_and_nothing_else() -> None:
    assert new_id("prj", b"\xff" * 16) == "prj_7zzzzzzzzzzzzzzzzzzzzzzzzz"
    assert new_id("prj", bytes(15) + b"\x20") == "prj_00000000000000000000000010"
    assert is_random_id(new_id("key", bytes(16)), "key")
    assert not is_random_id(new_id("key", bytes(16)), "ten")
    assert not is_random_id("key_80000000000000000000000000")  # would be over 128 bits
    with pytest.raises(ValueError, match="16 random bytes"):
        new_id("prj", bytes(8))
