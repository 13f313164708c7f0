"""Connections, bodies and troubles of HTTP, against servers that say exactly what a test wants."""

from __future__ import annotations

import datetime as dt
import gc
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from satchel.remote.http import MAX_INTERIM, MAX_TRAILERS, Broken, Pool, Silent, Unreachable, Untrusted

Says = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Script:
    """A server that does one thing after another with each connection; counts them."""

    def __init__(self, *says: Says, tls: ssl.SSLContext | None = None) -> None:
        self.says, self.tls, self.connections = says, tls, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            with self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as talking:
                self.says[min(number, len(self.says) - 1)](talking)
        except OSError:
            pass

    def close(self) -> None:
        with suppress(OSError):  # closed before
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@contextmanager
def script(*says: Says, tls: ssl.SSLContext | None = None, silence: float = 20) -> Iterator[tuple[Script, Pool]]:
    server = Script(*says, tls=tls)
    pool = Pool(server.url, connect=20, silence=silence, keep=2)
    with closing(server), closing(pool):
        yield server, pool


def heard(connection: socket.socket) -> bytes:
    """The head of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            raise ConnectionError
        data += more
    return data


def again_and_again(connection: socket.socket) -> None:
    while True:
        heard(connection)
        connection.sendall(OK)


def answers(data: bytes) -> Says:
    def say(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(data)

    return say


def get(pool: Pool) -> bytes:
    with pool.ask("GET", "/", None, []) as answer:
        return b"".join(answer.chunks(1 << 16))


def test_a_connection_serves_one_request_after_another() -> None:
    with script(again_and_again) as (server, pool):
        assert [get(pool) for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    closed = threading.Event()

    def once(connection: socket.socket) -> None:
        answers(OK)(connection)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with script(once, again_and_again) as (server, pool):
        assert get(pool) == b"ok"
        closed.wait(20)
        assert get(pool) == b"ok"
        assert server.connections == 2


def test_a_pool_that_nobody_holds_any_more_leaves_no_connection_open() -> None:
    with script(again_and_again) as (server, _):
        pool = Pool(server.url, connect=20, silence=20, keep=1)
        assert get(pool) == b"ok"
        [kept] = pool._kept
        waiting = kept.sock
        del pool
        gc.collect()
        assert waiting.fileno() == -1


def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it() -> None:
    with script(again_and_again) as (server, pool):
        pool.ask("GET", "/", None, []).close()
        assert get(pool) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n9\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n",  # its head is cut off: how long the body is stood there
        b"HTTP/1.1 200 OK\r\nx: y\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0",  # of 0123, say
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r",
        b"HTTP/1.1 100 Continue\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_whole_answer_is_told(data: bytes) -> None:
    with script(answers(data)) as (_, pool), pytest.raises(Broken):
        get(pool)


_EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", _EARLY])
def test_what_comes_before_the_answer_is_none(interim: bytes) -> None:
    def twice(connection: socket.socket) -> None:
        for _ in range(2):
            heard(connection)
            connection.sendall(interim * MAX_INTERIM + OK)
        connection.recv(1)  # until the client lets go

    with script(twice) as (server, pool):
        assert [get(pool), get(pool)] == [b"ok", b"ok"]
        assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + b"a: b\r\n" * MAX_TRAILERS + b"\r\n",
    ],
    ids=["interim", "trailers"],
)
def test_what_stands_around_an_answer_is_not_read_for_ever(data: bytes) -> None:
    with script(answers(data)) as (_, pool), pytest.raises(Broken):
        get(pool)


def test_an_answer_to_half_a_request_counts() -> None:
    refused = b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfull"
    answered = threading.Event()

    def early(connection: socket.socket) -> None:
        answers(refused)(connection)
        connection.shutdown(socket.SHUT_RD)
        answered.set()
        heard(connection)

    def body() -> Iterator[bytes]:
        yield b"first"
        answered.wait(20)
        yield from [b"x" * 4096] * 64

    with script(early) as (_, pool), pool.ask("POST", "/", body(), []) as answer:
        assert (answer.status, b"".join(answer.chunks(10))) == (429, b"full")


def test_a_body_of_unknown_length_goes_in_chunks_and_one_of_bytes_with_its_length() -> None:
    requests: list[bytes] = []

    def note(connection: socket.socket) -> None:
        while True:
            data = heard(connection)
            while not data.endswith((b"0\r\n\r\n", b"whole")):
                data += connection.recv(1 << 16)
            requests.append(data)
            connection.sendall(OK)

    with script(note) as (_, pool):
        for body in (b"whole", [b"ab", b"", b"c"]):
            with pool.ask("POST", "/", body, [("x", "1")]) as answer:
                assert list(answer.chunks(9)) == [b"ok"]
    whole, pieces = requests
    assert b"content-length: 5\r\n" in whole
    assert whole.endswith(b"\r\n\r\nwhole")
    assert b"transfer-encoding: chunked\r\n" in pieces
    assert pieces.endswith(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


def test_silence_and_refusal_have_names() -> None:
    def silent(connection: socket.socket) -> None:
        heard(connection)
        connection.recv(1)

    with script(silent, silence=0.05) as (server, pool):
        with pytest.raises(Silent):
            get(pool)
        server.close()
        with pytest.raises(Unreachable) as told:
            get(pool)
        assert told.value.refused


@pytest.mark.parametrize(("target", "value"), [("/a b", "x"), ("/\r\nx: y", "x"), ("/", "x\r\ny: z"), ("/", "x\n")])
def test_nothing_can_be_slipped_into_the_head_of_a_request(target: str, value: str) -> None:
    with script(again_and_again) as (_, pool), pytest.raises(ValueError, match=r"(?i)invalid|contain"):
        pool.ask("GET", target, None, [("x", value)])


def test_the_trouble_of_a_body_is_its_own() -> None:
    def body() -> Iterator[bytes]:
        yield b"first"
        raise FileNotFoundError("a file that went away")

    with script(again_and_again) as (_, pool), pytest.raises(FileNotFoundError):
        pool.ask("POST", "/", body(), [])


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def serving_tls(certified: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified)
    return context


def test_a_connection_made_ahead_is_the_one_that_is_used(certified: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the handshake come tickets for further sessions, which are no reason to part."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certified))
    ready = threading.Event()

    def ticketed(connection: socket.socket) -> None:
        ready.set()
        again_and_again(connection)

    with script(ticketed, tls=serving_tls(certified)) as (server, pool):
        pool.connect()
        ready.wait(20)
        assert [get(pool), get(pool)] == [b"ok", b"ok"]
        assert server.connections == 1


def test_a_certificate_that_nobody_vouches_for_ends_it(certified: Path) -> None:
    with script(again_and_again, tls=serving_tls(certified)) as (_, pool), pytest.raises(Untrusted):
        get(pool)


def test_a_server_that_goes_in_the_handshake_is_no_stranger(certified: Path) -> None:
    with script(lambda connection: connection.close()) as (server, _):
        away = Pool(server.url.replace("http:", "https:"), connect=20, silence=20, keep=1)
        with closing(away), pytest.raises(Broken):
            get(away)
