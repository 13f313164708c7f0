"""What client and server say to each other, kept: a session of today's client, its exchanges and what it made of them.

A release leaves one file here, which is never changed: ``python -m tests.conformance.exchanges.golden FILE`` writes it.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3

from satchel.errors import SatchelError
from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.remote import FixedToken, Remote
from satchel.sync.wire import Parent, Sent, encode_preamble
from tests.server.running import serving

FOLDER = Path(__file__).parent
OF_INTEREST = ("accept", "content-type", "if-match", "if-none-match", "idempotency-key", "etag")
TEXTS = {"README.md": b"# Acme\n\nWho approves a rollback? @kim does.\n", "tasks.md": b"# Tasks\n\n- [ ] ship it\n"}


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. Bodies that are no JSON are in base64."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    said: dict[str, str]
    json: Any
    raw: str

    @property
    def sent(self) -> bytes:
        return base64.b64decode(self.body)

    @property
    def answered(self) -> bytes:
        return base64.b64decode(self.raw) if self.json is None else json.dumps(self.json).encode()


def kept(file: Path) -> tuple[list[Exchange], list[Any]]:
    """The exchanges of a release, and the results its client had."""
    whole = json.loads(file.read_text())
    return [Exchange(**one) for one in whole["exchanges"]], whole["results"]


# The session -------------------------------------------------------------------------------------------------------


def session(remote: Remote) -> list[Any]:
    """What a client does from its first sync to a refusal; what it got, as JSON."""
    made = remote.create_project("golden", description="Kept for the next release")
    head = remote.head("golden")
    parent = Parent(Lineage(head.lineage), head.version, Digest(head.digest))
    tree = {path: Entry("100644", object_id(text)) for path, text in TEXTS.items()}
    after = digest(tree)
    changes = [Sent(path, entry, len(TEXTS[path])) for path, entry in tree.items()]
    frames = list(make_frames([(object_id(text), text) for text in TEXTS.values()]))
    pieces = [*encode_preamble(parent, after, changes), encode_pack_start(), *map(encode_frame, frames)]
    pieces.append(encode_pack_end(len(frames)))
    length = sum(map(len, pieces))
    ids = [object_id(text) for text in TEXTS.values()]
    got = [
        made,
        head,
        sorted(remote.lacking("golden", ids)),
        remote.sync("golden", pieces, length, "the-first-push"),
        refusal(lambda: remote.sync("golden", pieces, length, "a-push-too-late")),
        remote.changes("golden", 0, None)[:5],  # what a release of before read of it; fields added since stand behind
        [dict(frame.table) if isinstance(frame.table, Mapping) else [str(row) for row in frame.table]
         for frame in remote.read_objects("golden", ids)],
        remote.put_artifact("golden", "later.md", b"# Later\n", None),
        refusal(lambda: remote.put_artifact("golden", "later.md", b"# Again\n", None)),
        remote.artifact("golden", "README.md"),
        remote.artifact_bytes("golden", "README.md").decode(),
        remote.artifacts("golden"),
        remote.outline("golden", "README.md"),
        remote.search("rollback", projects=["golden"]),
        remote.search("rollback"),
        remote.tasks("golden"),
        remote.context("golden"),
        remote.history("golden"),
        remote.projects(),
        refusal(lambda: remote.head("nonesuch")),
    ]  # fmt: skip
    return json.loads(json.dumps(got, default=str))  # type: ignore[no-any-return]


def refusal(call: Callable[[], object]) -> list[Any]:
    """The error that a call ends with."""
    try:
        return ["not refused", str(call())]
    except SatchelError as error:
        return [type(error).__name__, error.code, error.message, error.hint]


# Between them ------------------------------------------------------------------------------------------------------

Answering = Callable[[str, str, dict[str, str], bytes], tuple[int, Mapping[str, str], bytes]]


@contextmanager
def between(answer: Answering) -> Iterator[str]:
    """A server that answers as it is told to; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _take(self) -> None:
            body = b"".join(self._body())
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said, content = answer(self.command, self.path, headers, body)
            self.send_response_only(status)
            for name, value in {**said, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _take  # noqa: N815 (http.server looks for these)

        def _body(self) -> Iterator[bytes]:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                yield self.rfile.read(int(self.headers.get("content-length") or 0))
                return
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def recording(url: str, into: list[Exchange]) -> Answering:
    """Pass requests on to a server, and note them with its answers."""
    pool = urllib3.PoolManager(retries=False)

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        passed = {name: value for name, value in headers.items() if name not in ("host", "transfer-encoding")}
        got = pool.request(method, url + path, body=body, headers=passed, redirect=False)
        said = {name.lower(): value for name, value in got.headers.items() if of_interest(name.lower())}
        as_json = json.loads(got.data) if "json" in said.get("content-type", "") else None
        into.append(
            Exchange(
                method, path, {name: value for name, value in headers.items() if of_interest(name)},
                base64.b64encode(body).decode(), got.status, said, as_json,
                "" if as_json is not None else base64.b64encode(got.data).decode(),
            )
        )  # fmt: skip
        return got.status, said, got.data

    return answer


def of_interest(name: str) -> bool:
    return name in OF_INTEREST or name.startswith("satchel-")


def playing(exchanges: list[Exchange], wrong: list[str]) -> Answering:
    """Answer with what was kept, one after the other; what is asked otherwise is noted in ``wrong``."""
    left = iter(exchanges)

    def answer(method: str, path: str, _headers: dict[str, str], _body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        one = next(left, None)
        if one is None or (one.method, one.path) != (method, path):
            wrong.append(
                f"{method} {path} instead of {one.method} {one.path}" if one else f"{method} {path} at the end"
            )
            return 500, {}, b""
        return one.status, one.said, one.answered

    return answer


def main(file: str) -> None:
    exchanges: list[Exchange] = []
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Path(place)) as running,
        between(recording(running.url, exchanges)) as url,
    ):
        remote = Remote(url, FixedToken(running.tenant("golden").key))
        results = session(remote)
        remote.close()
    whole = {"exchanges": [asdict(one) for one in exchanges], "results": results}
    Path(file).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
