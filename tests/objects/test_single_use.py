"""No two seals share a key and a nonce: what AES-GCM must never see happen (it would show the text of both).

20,000 seals of one frame under one name, where nothing but the salt tells two apart; a million with ``PROVE=1``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from satchel.objects import seal as sealing
from satchel.objects.frame import make_frames
from satchel.objects.ids import object_id
from satchel.store.keyring import Keyring
from satchel.store.objectstore import MemoryStore
from satchel.store.packs import Vault
from tests.objects.tampering import PROJECT, TENANT, Keys

SEALS = 1_000_000 if os.environ.get("PROVE") else 20_000
FEW = 2_000


class Sink(MemoryStore):
    """Takes everything and keeps nothing."""

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        pass


class Seen:
    """Stands before AES-GCM and counts the pairs of key and nonce that encrypt."""

    def __init__(self) -> None:
        self.seals = 0
        self.pairs: set[bytes] = set()

    def __call__(self, key: bytes) -> Seen:
        self._key = key
        return self

    def encrypt(self, nonce: bytes, data: bytes, head: bytes) -> bytes:
        self.seals += 1
        self.pairs.add(self._key + nonce)
        return AESGCM(self._key).encrypt(nonce, data, head)


async def sealed_alike(seals: int, random: Callable[[int], bytes]) -> None:
    vault = Vault(Sink(), cast(Keyring, Keys()), random=random)
    (frame,) = make_frames([(object_id(b"the same"), b"the same")])
    writer = vault.writer(TENANT, PROJECT)
    for number in range(seals):
        if number % 10:
            await writer.add(frame)
        else:
            await vault.put_record(TENANT, PROJECT, "rec_1", b"the same")
    await writer.finish()


def repeats(monkeypatch: pytest.MonkeyPatch, seals: int, random: Callable[[int], bytes] = os.urandom) -> int:
    """How many of so many seals used a key and a nonce that another had used."""
    seen = Seen()
    monkeypatch.setattr(sealing, "AESGCM", seen)
    asyncio.run(sealed_alike(seals, random))
    assert seen.seals == seals
    return seals - len(seen.pairs)


@pytest.mark.promise("P5")
@pytest.mark.timeout(600)
def test_no_two_seals_share_key_and_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    assert repeats(monkeypatch, SEALS) == 0


def test_random_bytes_that_repeat_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    period = itertools.cycle([os.urandom(64) for _ in range(FEW // 2)])
    assert repeats(monkeypatch, FEW, lambda size: next(period)[:size]) > 0


def test_a_salt_used_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.urandom(sealing.SALT_BYTES)
    count = itertools.count()
    again = {1_001, 1_995}  # two frames

    def random(size: int) -> bytes:
        return kept if size == sealing.SALT_BYTES and next(count) in again else os.urandom(size)

    assert repeats(monkeypatch, FEW, random) == 1


def test_a_key_made_without_the_salt_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    derive = sealing.derive
    monkeypatch.setattr(sealing, "derive", lambda key, _salt, *info, length=32: derive(key, b"", *info, length=length))
    assert repeats(monkeypatch, FEW) > 0


def test_what_rests_in_the_store_is_sealed_in_one_place_only() -> None:
    """A cipher elsewhere would escape the count above. (``server.web.federated`` seals a cookie of ten minutes.)"""
    source = Path(__file__).parents[2] / "src/satchel"
    cipher = re.compile(r"\b(AESGCM|AESCCM|AESSIV|ChaCha20Poly1305|Fernet|Cipher)\b")
    using = {str(path.relative_to(source)) for path in source.rglob("*.py") if cipher.search(path.read_text())}
    assert using == {"objects/seal.py", "server/web/federated.py"}
