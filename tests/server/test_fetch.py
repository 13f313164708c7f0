"""Documents named by strangers: where the server goes for one, and what it takes for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from satchel.errors import SatchelError
from satchel.server.fetch import MAX_DOCUMENT_BYTES, Fetcher, FetchFailed
from satchel.server.fetchurl import LOOPBACK, MAX_URL_CHARACTERS, FetchRefused, Reach

PUBLIC = "93.184.215.14"

# A URL, and the addresses its host stands for where it gets as far as being looked up.
REFUSED: list[tuple[str, tuple[str, ...]]] = [
    # not https
    ("http://app.example.org/client.json", ()),
    ("HTTPS://app.example.org/client.json", ()),
    ("ftp://app.example.org/client.json", ()),
    ("file:///etc/passwd", ()),
    ("gopher://app.example.org/_x", ()),
    ("data:application/json,{}", ()),
    ("javascript:alert(1)", ()),
    ("//app.example.org/client.json", ()),
    ("app.example.org/client.json", ()),
    ("https:/app.example.org/", ()),
    ("https:app.example.org/", ()),
    ("https://", ()),
    ("https:///client.json", ()),
    ("", ()),
    # not plain text
    (" https://app.example.org/", ()),
    ("https://app.example.org/ x", ()),
    ("https://app.example.org/\r\nHost: other.example", ()),
    ("https://app.example.org\\@127.0.0.1/", ()),
    ("https://app.example.org\t/", ()),
    ("https://bücher.example/", ()),
    ("https://①②⑦.⓪.⓪.①/", ()),
    ("https://127。0。0。1/", ()),
    ("https://app.example.org/#fragment", ()),
    ("https://app.example.org/" + "a" * MAX_URL_CHARACTERS, ()),
    # a name, a password, a port
    ("https://user@app.example.org/", ()),
    ("https://user:password@app.example.org/", ()),
    ("https://app.example.org@127.0.0.1/", ()),
    ("https://127.0.0.1%40app.example.org/", ()),
    ("https://app.example.org:22/", ()),
    ("https://app.example.org:80/", ()),
    ("https://app.example.org:0/", ()),
    ("https://app.example.org:65536/", ()),
    ("https://app.example.org:0443/", ()),
    ("https://app.example.org:/", ()),
    ("https://app.example.org:443:443/", ()),
    ("https://app.example.org:https/", ()),
    # hosts that are no names in the DNS
    ("https://localhost/", ()),
    ("https://LOCALHOST/", ()),
    ("https://intranet/", ()),
    ("https://app.example.org./", ()),
    ("https://.example.org/", ()),
    ("https://app..example.org/", ()),
    ("https://-app.example.org/", ()),
    ("https://app_x.example.org/", ()),
    (f"https://{'a' * 64}.example.org/", ()),
    # dot segments
    ("https://app.example.org/a/../b", ()),
    ("https://app.example.org/%2e%2E/b", ()),
    ("https://app.example.org/./b", ()),
    # literal addresses, in every writing
    ("https://93.184.215.14/", ()),
    ("https://127.0.0.1/", ()),
    ("https://127.1/", ()),
    ("https://127.0.1/", ()),
    ("https://2130706433/", ()),
    ("https://017700000001/", ()),
    ("https://0177.0.0.1/", ()),
    ("https://0x7f.0.0.1/", ()),
    ("https://0x7f000001/", ()),
    ("https://0x7f.1/", ()),
    ("https://0/", ()),
    ("https://10.0.0.1/", ()),
    ("https://169.254.169.254/latest/meta-data/", ()),
    ("https://[::1]/", ()),
    ("https://[::]/", ()),
    ("https://[::ffff:127.0.0.1]/", ()),
    ("https://[::ffff:7f00:1]/", ()),
    ("https://[::127.0.0.1]/", ()),
    ("https://[64:ff9b::7f00:1]/", ()),
    ("https://[fe80::1%25eth0]/", ()),
    ("https://[fd00::1]/", ()),
    ("https://[::1/", ()),
    ("https://[app.example.org]/", ()),
    # names that stand for what is not public
    ("https://a.example.org/", ("0.0.0.0",)),
    ("https://a.example.org/", ("10.1.2.3",)),
    ("https://a.example.org/", ("100.64.0.1",)),
    ("https://a.example.org/", ("127.0.0.1",)),
    ("https://a.example.org/", ("127.255.255.254",)),
    ("https://a.example.org/", ("169.254.169.254",)),
    ("https://a.example.org/", ("172.16.0.1",)),
    ("https://a.example.org/", ("172.31.255.255",)),
    ("https://a.example.org/", ("192.0.0.192",)),
    ("https://a.example.org/", ("192.0.2.1",)),
    ("https://a.example.org/", ("192.88.99.1",)),
    ("https://a.example.org/", ("192.168.1.1",)),
    ("https://a.example.org/", ("198.18.0.1",)),
    ("https://a.example.org/", ("198.51.100.1",)),
    ("https://a.example.org/", ("203.0.113.1",)),
    ("https://a.example.org/", ("224.0.0.1",)),
    ("https://a.example.org/", ("255.255.255.255",)),
    ("https://a.example.org/", ("240.0.0.1",)),
    ("https://a.example.org/", ("168.63.129.16",)),
    ("https://a.example.org/", ("::",)),
    ("https://a.example.org/", ("::1",)),
    ("https://a.example.org/", ("::ffff:10.0.0.1",)),
    ("https://a.example.org/", ("::ffff:93.184.215.14",)),
    ("https://a.example.org/", ("::a00:1",)),
    ("https://a.example.org/", ("64:ff9b::a00:1",)),
    ("https://a.example.org/", ("64:ff9b:1::1",)),
    ("https://a.example.org/", ("100::1",)),
    ("https://a.example.org/", ("2001::1",)),
    ("https://a.example.org/", ("2001:0:7f00:1::1",)),
    ("https://a.example.org/", ("2001:db8::1",)),
    ("https://a.example.org/", ("2002:7f00:1::",)),
    ("https://a.example.org/", ("2002:a00:1::1",)),
    ("https://a.example.org/", ("3fff::1",)),
    ("https://a.example.org/", ("5f00::1",)),
    ("https://a.example.org/", ("fc00::1",)),
    ("https://a.example.org/", ("fd00:ec2::254",)),
    ("https://a.example.org/", ("fe80::1",)),
    ("https://a.example.org/", ("fe80::1%1",)),
    ("https://a.example.org/", ("fec0::1",)),
    ("https://a.example.org/", ("ff02::1",)),
    ("https://a.example.org/", (PUBLIC, "127.0.0.1")),  # one is enough
    ("https://a.example.org/", ("2606:4700::1111", "::1")),
]


def never(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def fetcher(addresses: Callable[[str, int], Sequence[str]], **more: object) -> Fetcher:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses(host, port)

    return Fetcher(resolve=resolve, **more)  # type: ignore[arg-type]


def test_no_address_is_gone_to_that_is_not_on_the_public_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def connects(*_: object, **__: object) -> None:
        raise AssertionError("it connected")

    monkeypatch.setattr("satchel.server.fetch._Pinned", connects)

    async def all_of_them() -> None:
        for url, addresses in REFUSED:
            guarded = fetcher((lambda *_, found=addresses: found) if addresses else never)
            with pytest.raises(FetchRefused):
                await guarded.document(url)

    asyncio.run(all_of_them())


def test_what_is_on_the_public_internet_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[list[str]] = []

    def connects(addresses: Sequence[object]) -> None:
        gone.append([str(address) for address in addresses])
        raise OSError("far enough")

    monkeypatch.setattr("satchel.server.fetch._Pinned", connects)
    monkeypatch.setattr("satchel.server.fetch.httpcore2.default_ssl_context", ssl.create_default_context)
    for url, found in [
        ("https://app.example.org/client.json?a=b", [PUBLIC]),
        ("https://APP.example.org:443/", ["2606:4700::1111", PUBLIC]),
        ("https://xn--bcher-kva.example", [PUBLIC]),
        ("https://a-b.c1.example/%20x/..b/c..", [PUBLIC]),
    ]:
        with pytest.raises(FetchFailed):
            asyncio.run(fetcher(lambda *_, found=found: found).document(url))
        assert gone.pop() == found
    assert not gone


# A server to fetch from ----------------------------------------------------------------------------------------------


class Origin:
    """Speaks TLS for ``docs.example.org`` on loopback; answers each connection with the bytes that are next."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "docs.example.org")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("docs.example.org"), x509.DNSName("localhost")]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = folder / "origin.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        self.trust = ssl.create_default_context(cafile=str(pem))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pem)
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            plain, _ = self._listener.accept()
            if self._closing:
                plain.close()
                return
            with contextlib.suppress(OSError), plain, self._tls.wrap_socket(plain, server_side=True) as stream:
                got = stream.recv(65_536)
                if got.startswith(b"POST"):
                    got += stream.recv(65_536)  # the client sends head and body one after the other
                self.requests.append(got)
                stream.sendall(self.answers.pop(0))
                stream.unwrap()


def http(body: bytes = b'{"a":1}', status: str = "200 OK", **headers: str) -> bytes:
    said = {"content-type": "application/json", "content-length": str(len(body))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    made = Origin(tmp_path_factory.mktemp("origin"))
    yield made
    made.stop()


def guarded(origin: Origin, **more: object) -> Fetcher:
    """Takes ``docs.example.org`` for this machine, and this machine for public."""
    reach = Reach(LOOPBACK, (origin.port,))
    more = {"trust": origin.trust, "seconds": 5.0, **more}
    return fetcher(lambda *_: ["127.0.0.1"], reach=reach, **more)


def url(origin: Origin, path: str = "/client.json") -> str:
    return f"https://docs.example.org:{origin.port}{path}"


def test_a_document_is_fetched_once_and_remembered_for_as_long_as_it_says(origin: Origin) -> None:
    now = [0.0]
    origin.answers[:] = [
        http(),
        http(b'{"a":2}', cache_control="max-age=60"),
        http(b'{"a":3}', cache_control="no-store"),
    ]
    origin.requests.clear()
    one = guarded(origin, clock=lambda: now[0])

    async def ask(at: float, *, fresh: bool = False) -> object:
        now[0] = at
        return (await one.document(url(origin, "/c?x=1"), fresh=fresh))["a"]

    async def story() -> list[object]:
        return [await ask(0), await ask(299), await ask(301), await ask(360), await ask(362), await ask(371)]

    assert asyncio.run(story()) == [1, 1, 2, 2, 3, 3]
    assert len(origin.requests) == 3
    line, *headers = origin.requests[0].decode().split("\r\n")
    assert line == "GET /c?x=1 HTTP/1.1"
    assert f"host: docs.example.org:{origin.port}" in [header.lower() for header in headers]
    assert not [header for header in headers if header.lower().startswith(("cookie", "authorization"))]


BAD_ANSWERS = [
    ("a redirect", http(status="302 Found", location="http://169.254.169.254/"), "redirect"),
    ("a redirect to itself", http(status="308 Permanent Redirect", location="/client.json"), "redirect"),
    ("not found", http(status="404 Not Found"), "404"),
    ("no content", http(b"", status="204 No Content"), "204"),
    ("a page", http(b"<html>", content_type="text/html"), "application/json"),
    ("no type", http(content_type=""), "application/json"),
    ("compressed", http(content_encoding="gzip"), "compressed"),
    ("too long", http(b'{"a":"' + b"x" * MAX_DOCUMENT_BYTES + b'"}'), "64 KiB"),
    (
        "endless",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + b" " * (MAX_DOCUMENT_BYTES + 1),
        "64 KiB",
    ),
    ("cut short", http()[:-1], "HTTP"),
    ("not HTTP", b"SSH-2.0-OpenSSH_9.9\r\n", "HTTP"),
    ("nothing", b"", "HTTP"),
    ("a header without an end", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "HTTP"),
    ("not JSON", http(b"{"), "not JSON"),
    ("not UTF-8", http(b'{"a":"\xff"}'), "not JSON"),
    ("an array", http(b"[]"), "object"),
    ("a name twice", http(b'{"a":1,"a":2}'), "not JSON"),
    ("nested without end", http(b"[" * 60_000), "not JSON"),
]


@pytest.mark.parametrize(("answer", "says"), [row[1:] for row in BAD_ANSWERS], ids=[row[0] for row in BAD_ANSWERS])
def test_what_is_no_small_json_document_is_not_taken_and_not_asked_for_again_at_once(
    origin: Origin, answer: bytes, says: str
) -> None:
    origin.answers[:] = [answer]
    one = guarded(origin)

    async def twice() -> list[SatchelError]:
        errors: list[SatchelError] = []
        for _ in range(2):
            with pytest.raises(FetchFailed) as failure:
                await one.document(url(origin))
            errors.append(failure.value)
        return errors

    first, second = asyncio.run(twice())
    assert says in first.message
    assert second.message == first.message
    assert not origin.answers


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_dns_says_next(origin: Origin) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    origin.answers[:] = [http()]
    one = fetcher(rebinding, reach=Reach(LOOPBACK, (origin.port,)), trust=origin.trust)
    assert asyncio.run(one.document(url(origin))) == {"a": 1}
    assert asked == ["docs.example.org"]


def test_the_next_address_of_a_host_is_tried_where_the_first_does_not_answer(origin: Origin) -> None:
    origin.answers[:] = [http()]
    one = fetcher(lambda *_: ["::1", "127.0.0.1"], reach=Reach(LOOPBACK, (origin.port,)), trust=origin.trust)
    assert asyncio.run(one.document(url(origin))) == {"a": 1}


def test_a_certificate_for_another_name_or_of_nobody_trusted_ends_the_fetch(origin: Origin) -> None:
    origin.answers[:] = [http(), http()]
    with pytest.raises(FetchFailed, match="trusted"):
        asyncio.run(guarded(origin).document(f"https://other.example.org:{origin.port}/"))
    with pytest.raises(FetchFailed, match="trusted"):
        asyncio.run(guarded(origin, trust=ssl.create_default_context()).document(url(origin)))


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_stated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        one = fetcher(lambda *_: ["127.0.0.1"], reach=Reach(LOOPBACK), seconds=0.1)
        with pytest.raises(FetchFailed, match=r"0\.1 seconds"):
            asyncio.run(one.document(f"https://localhost:{port}/"))


def test_no_proxy_of_the_environment_is_used(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    origin.answers[:] = [http()]
    assert asyncio.run(guarded(origin).document(url(origin))) == {"a": 1}


@pytest.mark.parametrize(
    "address",
    [
        "http://10.0.0.1/",
        "http://app.example.org/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://app.example.org:8443/",
        "http://127.0.0.1@10.0.0.1/",
        "http://2130706433/",
    ],
)
def test_leave_to_go_to_this_machine_is_leave_for_nothing_else(address: str) -> None:
    with pytest.raises(FetchRefused):
        asyncio.run(fetcher(never, reach=Reach(LOOPBACK)).document(address))


def test_http_to_this_machine_goes_only_where_it_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            with listener.accept()[0] as stream:
                stream.recv(65_536)
                stream.sendall(http(json.dumps({"port": port}).encode()))

        thread = threading.Thread(target=answer)
        thread.start()
        got = asyncio.run(Fetcher(Reach(LOOPBACK)).document(f"http://127.0.0.1:{port}/"))
        thread.join(5)
        assert got == {"port": port}
        with pytest.raises(FetchRefused):
            asyncio.run(fetcher(never).document(f"http://127.0.0.1:{port}/"))
    # A name that turns out to be another machine is not this one.
    with pytest.raises(FetchRefused):
        asyncio.run(fetcher(lambda *_: [PUBLIC], reach=Reach(LOOPBACK)).document("http://localhost/"))


def test_a_form_is_answered_whatever_the_status_and_never_remembered(origin: Origin) -> None:
    origin.answers[:] = [http(b'{"error":"invalid_grant"}', status="400 Bad Request"), http(b'{"ok":1}')]
    origin.requests.clear()
    one = guarded(origin)

    async def twice() -> list[tuple[int, dict[str, object]]]:
        return [await one.form(url(origin), {"code": "a b&c"}, {"authorization": "Basic eDp5"}) for _ in range(2)]

    assert asyncio.run(twice()) == [(400, {"error": "invalid_grant"}), (200, {"ok": 1})]
    assert origin.requests[0].startswith(b"POST /client.json HTTP/1.1\r\n")
    assert origin.requests[0].endswith(b"\r\n\r\ncode=a+b%26c")


def test_more_fetches_at_once_than_there_is_room_for_are_refused_at_once() -> None:
    async def flood() -> list[object]:
        gate = asyncio.Event()

        async def resolve(host: str, port: int) -> Sequence[str]:
            await gate.wait()
            return ["127.0.0.1"]

        one = Fetcher(resolve=resolve)
        tasks = [asyncio.create_task(one.document(f"https://a{i}.example.org/")) for i in range(80)]
        for _ in range(3):
            await asyncio.sleep(0)
        gate.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    kinds = [type(outcome) for outcome in asyncio.run(flood())]
    assert kinds.count(FetchFailed) == 8
    assert kinds.count(FetchRefused) == 72


def test_a_server_that_never_agrees_on_tls_is_hung_up_on() -> None:
    async def given_up(listener: socket.socket) -> None:
        one = fetcher(lambda *_: ["127.0.0.1"], reach=Reach(LOOPBACK), trust=ssl.create_default_context())
        fetching = asyncio.create_task(one.document(f"https://localhost:{listener.getsockname()[1]}/"))
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            connection.settimeout(30)
            assert (await asyncio.to_thread(connection.recv, 65_536)).startswith(b"\x16\x03")
            fetching.cancel()
            await asyncio.wait({fetching})
            while await asyncio.to_thread(connection.recv, 65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        asyncio.run(given_up(listener))
