"""Look for words in everything a process wrote, in any dress in which they could be read back without a key."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from satchel.objects import zstd

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST = 32 << 20
"""Most bytes taken out of one compressed stream."""
DEPTH = 2
"""Compressed inside compressed is opened this often."""
_EDGE = 4


def canary(seed: object) -> str:
    """A word of 28 letters that stands nowhere else. Random letters: no compressor can shorten the first of them."""
    dice = random.Random(f"canary {seed}")
    return "".join(dice.choices(LETTERS, k=28))


class Sighting(NamedTuple):
    """A word that could be read in a file."""

    file: Path
    word: str
    dress: str


def sightings(files: Iterable[Path], words: Iterable[str]) -> list[Sighting]:
    """Every word that one of the files gives away, and how. A file that is gone meanwhile is passed over."""
    looks = [(word, dress, form) for word in words for dress, form in dresses(word)]
    found = []
    for file in files:
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        for layer, text in layers(data):
            lower = text.lower()
            for word, dress, form in looks:
                if form in (text if dress.startswith("base64") else lower):
                    found.append(Sighting(file, word, f"{layer}{dress}"))
    return found


def dresses(word: str) -> Iterator[tuple[str, bytes]]:
    """What to look for: the inner letters, for an index may stem its end and share its beginning."""
    inner = word[_EDGE:-_EDGE].encode()
    yield "as it is", inner
    yield "UTF-16", inner.decode().encode("utf-16-le")
    yield "UTF-16 the other way round", inner.decode().encode("utf-16-be")
    yield "hex", inner.hex().encode()
    yield "backwards", inner[::-1]
    for shift in range(3):
        # Only the characters that stand for whole bytes of the word: what is beside it does not matter then.
        text = base64.b64encode(bytes(shift) + inner)
        form = text[(0, 2, 3)[shift] : -4 if (shift + len(inner)) % 3 else None]
        yield f"base64 from {shift}", form


def layers(data: bytes, depth: int = DEPTH) -> Iterator[tuple[str, bytes]]:
    """The bytes, and whatever can be decompressed from any place in them."""
    yield "", data
    if depth == 0:
        return
    for name, opened in compressed(data):
        for layer, text in layers(opened, depth - 1):
            yield f"{name}, {layer}", text


def compressed(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What starts as zstd, gzip or zlib anywhere in the bytes, as far as it can be opened."""
    for start in places(data, b"\x28\xb5\x2f\xfd"):
        opened = as_far_as_it_goes(zstd.ZstdDecompressor().decompress, data[start:])
        if opened:
            yield "zstd", opened
    for name, magics, bits in (
        ("gzip", (b"\x1f\x8b\x08",), 31),
        ("zlib", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), 15),
    ):
        for magic in magics:
            for start in places(data, magic):
                opened = as_far_as_it_goes(zlib.decompressobj(bits).decompress, data[start:])
                if len(opened) >= 16:
                    yield name, opened


def places(data: bytes, magic: bytes) -> Iterator[int]:
    start = data.find(magic)
    while start >= 0:
        yield start
        start = data.find(magic, start + 1)


def as_far_as_it_goes(decompress: object, data: bytes) -> bytes:
    """What comes out before the first byte that does not fit: a torn stream gives its beginning away too."""
    out = b""
    try:
        for start in range(0, len(data), 4_096):
            out += decompress(data[start : start + 4_096], MOST)  # type: ignore[operator]
            if len(out) > MOST:
                break
    except (zlib.error, zstd.ZstdError, EOFError):
        pass
    return out
