"""Projects with text in them, for benchmarks of a server: pushed by the client's own code, without folders."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parent))

from corpus import Writer

from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.remote import Remote
from satchel.sync.wire import Parent, Sent, encode_preamble


def texts(writer: Writer, files: int, size: int) -> dict[str, bytes]:
    """New documents of about ``size`` bytes."""
    return {
        f"docs/{writer.phrase(1)}-{number}.md": "\n".join(writer.lines(size)).encode() + b"\n"
        for number in range(files)
    }


def push(remote: Remote, project: str, tree: dict[str, bytes], changed: dict[str, bytes] | None = None) -> int:
    """One sync of ``tree``, of which ``changed`` (all of it) travels; the version it made."""
    head = remote.head(project)
    parent = Parent(Lineage(head.lineage), head.version, Digest(head.digest))
    entries = {path: Entry("100644", object_id(text)) for path, text in tree.items()}
    sent = tree if changed is None else changed
    frames = list(make_frames([(object_id(text), text) for text in sent.values()]))
    rows = [Sent(path, entries[path], len(text)) for path, text in sent.items()]
    pieces = [*encode_preamble(parent, digest(entries), rows), encode_pack_start(), *map(encode_frame, frames)]
    pieces.append(encode_pack_end(len(frames)))
    made = remote.sync(project, pieces, sum(map(len, pieces)), os.urandom(16).hex())
    return made.version


def words(writer: Writer) -> str:
    """What somebody may ask for: two words of these texts."""
    return " ".join(writer.random.sample(writer.words[:2_000], 2))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def status(process: int, field: str) -> int:
    """A field of the process's status, in bytes where it has a unit."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            value = line.split()[1:]
            return int(value[0]) * (1024 if value[1:] == ["kB"] else 1)
    raise KeyError(field)


def open_files(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


def home(name: str, stack: Any) -> Path:
    """A temporary folder for a benchmark, gone at its end."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"satchel-{name}-")))
