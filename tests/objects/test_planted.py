"""The tamper checks bite: each of these defects, planted into a copy of Satchel, makes them fail.

A few here; all of them with ``PROVE=1``, as ``scripts/prove.py`` runs them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Defect(NamedTuple):
    """In ``file``, ``there`` is replaced by ``instead``; and where two checks stand behind each other, ``also``."""

    what: str
    file: str
    there: str
    instead: str
    also: tuple[str, str, str] | None = None

    def spoilt(self, source: Path) -> Iterator[tuple[Path, str]]:
        """The files that change, and their text then."""
        for name, there, instead in ((self.file, self.there, self.instead), *([self.also] if self.also else [])):
            text = (source / "satchel" / name).read_text()
            assert text.count(there) == 1, f"the code that {self.what!r} is to spoil has changed"
            yield source / "satchel" / name, text.replace(there, instead)


SEAL, FRAME, PACK, RECORD, PACKS = (
    "objects/seal.py", "objects/frame.py", "objects/pack.py", "objects/record.py", "store/packs.py",
)  # fmt: skip

DEFECTS = (
    Defect("the header is not authenticated", SEAL, "sealed[: _HEAD.size]\n", 'b""\n'),
    Defect(
        "neither end authenticates the header",
        SEAL,
        ".encrypt(_NONCE, plaintext, head)",
        '.encrypt(_NONCE, plaintext, b"")',
    ),
    Defect("a part may stand for another", SEAL, "if (at, of) != (index, count):", "if False:"),
    Defect("a part may stand for another of its count", SEAL, "(at, of) != (index, count)", "of != count"),
    Defect("the key check is skipped", SEAL, "if not hmac.compare_digest(", "if False and not hmac.compare_digest("),
    Defect(
        "damage is taken for a wrong key",
        SEAL,
        "except InvalidTag as error:\n        raise SealBroken(",
        "except InvalidTag as error:\n        raise WrongKey(",
    ),
    Defect(
        "an added byte is let pass",
        SEAL,
        "if length != len(sealed) - SEAL_OVERHEAD:",
        "if length > len(sealed) - SEAL_OVERHEAD:",
    ),
    Defect("any length is let pass", SEAL, "if length != len(sealed) - SEAL_OVERHEAD:", "if False:"),
    Defect(
        "versions are not looked at",
        SEAL,
        "if (version, algorithm, zero) != (_VERSION, _AES_256_GCM_HKDF_SHA256, 0):",
        "if False:",
    ),
    Defect("the magic is not looked at", SEAL, "or sealed[:4] != _MAGIC:", "or False:"),
    Defect("the name is left out of the key", SEAL, ", binding.kind, name)", ", binding.kind)"),
    Defect("the kind is left out of the key", SEAL, "binding.project, binding.kind, name)", "binding.project, name)"),
    Defect("the project is left out of the key", SEAL, "binding.tenant, binding.project,", "binding.tenant,"),
    Defect("the tenant is left out of the key", SEAL, '"satchel seal 1", binding.tenant,', '"satchel seal 1",'),
    Defect(
        "the salt is left out of the key",
        SEAL,
        'return derive(key, salt, "satchel seal 1",',
        'return derive(key, b"", "satchel seal 1",',
    ),
    Defect("lengths are left out of the info", SEAL, 'struct.pack(">H", len(part)) + part', "part"),
    Defect("the epoch is not looked at", SEAL, "key = key_of(epoch)", "key = key_of(1)"),
    Defect("bytes after the zstd frame are let pass", FRAME, "or decompressor.unused_data", ""),
    Defect("a cut zstd frame is let pass", FRAME, "or not decompressor.eof or", "or"),
    Defect(
        "a frame read in part may go on behind its end", FRAME, "    if in_part:\n        _check_blocks(data)\n", ""
    ),
    Defect("reserved bits are let pass", FRAME, "if descriptor & 0b0001_1000:", "if False:"),
    Defect("dictionaries are let pass", FRAME, "if descriptor & 0b11:", "if False:"),
    Defect("a missing content size is let pass", FRAME, "if size_flag == 0:", "if False:"),
    Defect("wide windows are let pass", FRAME, "if window > MAX_WINDOW:", "if False:"),
    Defect(
        "another content size is let pass",
        FRAME,
        "if stated > MAX_FRAME_RAW or (raw_size is not None and stated != raw_size):",
        "if False:",
    ),
    Defect("gaps in a table are let pass", FRAME, "if slot.offset != offset or", "if slot.offset < offset or"),
    Defect("overlaps in a table are let pass", FRAME, "if slot.offset != offset or", "if slot.offset > offset or"),
    Defect("an object twice is let pass", FRAME, "if len({slot.object for slot in table}) != len(table):", "if False:"),
    Defect(
        "parts that are not full are let pass",
        FRAME,
        "if raw_size == 0 or (not last and raw_size != MAX_FRAME_RAW):",
        "if raw_size == 0:",
    ),
    Defect(
        "any number of parts is let pass", FRAME, "if not (1 <= parts <= MAX_PARTS and 0 <= part < parts):", "if False:"
    ),
    Defect(
        "more compressed bytes than can be are let pass",
        FRAME,
        "if len(frame.data) > compress_bound(frame.raw_size):",
        "if False:",
        (PACK, " or packed > compress_bound(raw_size)", ""),
    ),
    Defect("a sequence may come in any order", FRAME, "if frame.part != len(self._pieces) or", "if"),
    Defect(
        "a sequence may end early",
        FRAME,
        '        if self._pieces:\n            raise FrameRefused("a sequence is unfinished")',
        "        return",
    ),
    Defect("objects are not hashed on the wire", FRAME, "if hashlib.sha256(data).hexdigest() != name:", "if False:"),
    Defect("objects are not hashed at rest", PACKS, "if hashlib.sha256(data).hexdigest() != name:", "if False:"),
    Defect(
        "long objects are not hashed at rest",
        PACKS,
        "yield place.object, _checked(place.object, whole)",
        "yield place.object, whole",
    ),
    Defect(
        "frames at rest are opened as the only part", PACKS, "index=frame.part, count=frame.parts)", "index=0, count=1)"
    ),
    Defect("a pack may go on after its end", PACK, "if self._ended and self._buffer:", "if False:"),
    Defect("a pack may lack its end", PACK, "if not self._ended:\n            raise", "if False:\n            raise"),
    Defect("the count at the end of a pack is not looked at", PACK, "if frames != self._frames:", "if False:"),
    Defect("a record need not be canonical", RECORD, "if _canonical(fields) != text:", "if False:"),
    Defect("frames need not tile their pack", RECORD, "if frame.offset != at:", "if False:"),
)
SMALL = (
    "the header is not authenticated",
    "the name is left out of the key",
    "bytes after the zstd frame are let pass",
)


def noticed(source: Path) -> bool:
    """Whether the tamper checks fail against the Satchel in ``source``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tests.objects.tampering"]
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert done.returncode == 0 or "noticed: " in done.stderr or "Error" in done.stderr, done.stderr
    return done.returncode == 1


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Satchel's source, to be spoiled."""
    shutil.copytree(ROOT / "src/satchel", tmp_path / "satchel", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_without_a_defect_the_checks_pass(copy: Path) -> None:
    assert not noticed(copy)


@pytest.mark.parametrize(
    "defect",
    [defect for defect in DEFECTS if os.environ.get("PROVE") or defect.what in SMALL],
    ids=lambda defect: defect.what,
)
def test_a_planted_defect_is_noticed(copy: Path, defect: Defect) -> None:
    for file, text in defect.spoilt(copy):
        file.write_text(text)
    assert noticed(copy)


def test_every_defect_could_be_planted() -> None:
    for defect in DEFECTS:
        assert list(defect.spoilt(ROOT / "src"))
