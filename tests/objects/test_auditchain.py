"""The chain of an audit: vectors that are kept for ever, read a second time from the specification alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import SealBroken
from satchel.objects.auditchain import (
    START,
    Anchor,
    SealedRow,
    chain_keys,
    decode_anchor,
    decode_rows,
    encode_anchor,
    encode_rows,
    row_hash,
    seal_mac,
)
from satchel.objects.ids import TenantId
from satchel.objects.seal import Binding, open_sealed

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/audit.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["good"])
def test_rows_seals_and_anchors_are_as_the_vectors_have_them(vector: dict[str, Any]) -> None:
    keys = chain_keys(bytes.fromhex(vector["secret"]), TenantId(vector["tenant"]))
    assert (keys.row.hex(), keys.seal.hex()) == (vector["row_key"], vector["seal_key"])
    for row in vector["rows"]:
        assert row_hash(keys, row["values"]) == row["hash"]
    for seal in vector["seals"]:
        assert encode_rows(decode_rows(seal["rows"])) == seal["rows"]
        mac = seal_mac(keys, bytes.fromhex(seal["previous"]), seal["sequence"], seal["time"], seal["rows"])
        assert mac.hex() == seal["mac"]
    kept = vector["anchor"]
    anchor = Anchor(kept["sequence"], bytes.fromhex(kept["mac"]), kept["time"])
    assert encode_anchor(anchor).hex() == kept["plaintext"]
    binding = Binding(TenantId(vector["tenant"]), "", "audit")
    opened = open_sealed(lambda _: bytes.fromhex(kept["key"]), binding, "audit", bytes.fromhex(kept["sealed"]))
    assert decode_anchor(opened) == anchor


@pytest.mark.parametrize("vector", VECTORS["good"])
def test_a_second_reading_of_the_specification_comes_to_the_same(vector: dict[str, Any]) -> None:
    secret = bytes.fromhex(vector["secret"])
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()

    def key(use: str) -> bytes:
        texts = (text.encode() for text in ("satchel audit 1", vector["tenant"], use))
        info = b"".join(len(text).to_bytes(2, "big") + text for text in texts)
        return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()

    def canonical(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    hashes = {
        row["values"][1]: hmac.new(key("row"), canonical(row["values"]), "sha256").hexdigest() for row in vector["rows"]
    }
    previous, at = bytes(32), 0
    for seal in vector["seals"]:
        covered = [row["values"][1] for row in vector["rows"] if at < row["values"][0] <= seal["sequence"]]
        text = canonical([[name, hashes[name]] for name in covered])
        assert text.decode() == seal["rows"]
        sealed = previous + struct.pack(">QQ", seal["sequence"], seal["time"]) + text
        previous, at = hmac.new(key("seal"), sealed, "sha256").digest(), seal["sequence"]
        assert previous.hex() == seal["mac"]
    assert (at, previous.hex()) == (vector["anchor"]["sequence"], vector["anchor"]["mac"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: f"{vector['what']}: {vector['why']}")
def test_what_no_writer_would_have_written_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(SealBroken) as refused:
        decode_rows(vector["text"]) if vector["what"] == "rows" else decode_anchor(vector["text"].encode())
    assert refused.value.code == VECTORS["refused_code"]


def test_keys_differ_by_tenant_and_use_and_are_not_shown() -> None:
    one, other = (chain_keys(b"s" * 32, TenantId(f"ten_0000000000000000000000000{n}")) for n in (1, 2))
    assert len({one.row, one.seal, other.row, other.seal}) == 4
    assert repr(one) == "ChainKeys()"


@pytest.mark.parametrize("member", range(10))
def test_every_column_and_the_number_of_a_row_count(member: int) -> None:
    keys = chain_keys(b"s" * 32, TenantId("ten_00000000000000000000000001"))
    row: list[str | int] = [1, "id", 2, "who", "name", "action", "target", "result", "request", "address"]
    changed = list(row)
    value = row[member]
    changed[member] = value + 1 if isinstance(value, int) else value + "x"
    assert row_hash(keys, row) != row_hash(keys, changed)


def test_values_do_not_run_into_each_other() -> None:
    keys = chain_keys(b"s" * 32, TenantId("ten_00000000000000000000000001"))
    assert row_hash(keys, ["ab", "c"]) != row_hash(keys, ["a", "bc"])
    assert row_hash(keys, ["1"]) != row_hash(keys, [1])


def test_what_a_seal_follows_its_number_its_time_and_its_rows_all_count() -> None:
    keys = chain_keys(b"s" * 32, TenantId("ten_00000000000000000000000001"))
    rows = encode_rows([SealedRow("aud_1", "00")])
    macs = {
        seal_mac(keys, START, 1, 1, rows),
        seal_mac(keys, b"\x01" * 32, 1, 1, rows),
        seal_mac(keys, START, 2, 1, rows),
        seal_mac(keys, START, 1, 2, rows),
        seal_mac(keys, START, 1, 1, encode_rows([])),
    }
    assert len(macs) == 5
