"""What keeps a folder in step with a server, each started with a password and measured at its own commands.

A peer has ``first``, ``no-op``, ``edit``, ``clone`` and ``fetch`` (of another such edit, into the clone), each the
whole commands somebody would type. What is not installed is named in ``absent`` and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from link import Link
from measure import satchel_command
from serving import free_port

STEPS = ("first", "no-op", "edit", "clone", "fetch")
_TICK = os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """One step of one peer."""

    wall: float
    client_cpu: float
    server_cpu: float
    up: int
    down: int
    client_mb: float
    """Peak resident size of the largest process of the client."""
    server_mb: float
    """What the server's peak had grown to since it stood ready: of its first process, without children."""


Command = Sequence[str | Path]


class Peer:
    """One way to sync: over ``link``, with everything below ``scratch``."""

    name = ""
    tool = ""

    def __init__(self, link: Link, scratch: Path) -> None:
        self.link, self.scratch = link, scratch
        self.port = free_port()
        home = scratch / "home"
        home.mkdir()
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.env |= {"HOME": str(home), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}

    @classmethod
    def absent(cls) -> str:
        return "" if shutil.which(cls.tool) else f"{cls.tool} is not installed"

    # For each peer to say ------------------------------------------------------------------------------------------

    def serve(self) -> Command:
        """The command of the server."""
        raise NotImplementedError

    def prepare(self, folder: Path) -> None:
        """Whatever is done once, unmeasured, before the first sync."""

    def push(self, folder: Path) -> list[Command]:
        raise NotImplementedError

    def nothing(self, folder: Path) -> list[Command]:
        return self.push(folder)

    def clone(self, target: Path) -> list[Command]:
        raise NotImplementedError

    def fetch(self, target: Path) -> list[Command]:
        """What brings a clone up to date."""
        return self.clone(target)

    # Running -------------------------------------------------------------------------------------------------------

    def steps(self, folder: Path, edit: Callable[[Path, int], object]) -> Iterator[tuple[str, Figures]]:
        with self._served() as server:
            self.prepare(folder)
            started = _peak(server.pid)
            yield "first", self._measured(server.pid, started, self.push(folder), folder)
            yield "no-op", self._measured(server.pid, started, self.nothing(folder), folder)
            edit(folder, 1)
            yield "edit", self._measured(server.pid, started, self.push(folder), folder)
            target = self.scratch / "clone"
            target.mkdir()
            yield "clone", self._measured(server.pid, started, self.clone(target), target)
            self._compare(folder, target)
            edit(folder, 2)
            for command in self.push(folder):
                self.run(*command, cwd=folder)
            yield "fetch", self._measured(server.pid, started, self.fetch(target), target)
            self._compare(folder, target)

    def _compare(self, folder: Path, target: Path) -> None:
        apart = ["diff", "-rq", "-x", ".satchel", "-x", ".git", folder, target]
        lost = subprocess.run(apart, capture_output=True, text=True, check=False)
        if lost.returncode:
            sys.exit(f"{self.name}: the clone is another than the folder:\n{lost.stdout[:500]}")

    def run(self, *command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
        """A command on the client's side, unmeasured."""
        words = [*self.link.client, *map(str, command)]
        done = subprocess.run(words, cwd=cwd, env=self.env, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout

    @contextmanager
    def _served(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [*self.link.server, *map(str, self.serve())]
        with Path(self.scratch, "server.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, cwd=self.scratch)
            try:
                self._wait_for(process)
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _wait_for(self, process: subprocess.Popen[bytes], limit: float = 60) -> None:
        probe = f"import socket; socket.create_connection(({self.link.address!r}, {self.port}), 2)"
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and process.poll() is None:
            tried = [*self.link.client, sys.executable, "-c", probe]
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit(f"the server of {self.name} did not come up:\n{Path(self.scratch, 'server.log').read_text()[-1000:]}")

    def _measured(self, server: int, started: float, commands: Sequence[Command], cwd: Path) -> Figures:
        os.sync()
        cpu, (up, down) = _cpu(server), self.link.bytes()
        client_cpu = client_mb = 0.0
        began = time.perf_counter()
        for command in commands:
            words = [*self.link.client, *map(str, command)]
            with Path(self.scratch, "client.log").open("w+b") as log:
                process = subprocess.Popen(words, cwd=cwd, env=self.env, stdout=log, stderr=log)
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode:
                    log.seek(0)
                    sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read()[-2000:].decode()}")
            client_cpu += used.ru_utime + used.ru_stime
            client_mb = max(client_mb, used.ru_maxrss / 1024)
        wall = time.perf_counter() - began
        up_now, down_now = self.link.bytes()
        grown = max(0.0, _peak(server) - started)
        return Figures(wall, client_cpu, _cpu(server) - cpu, up_now - up, down_now - down, client_mb, grown)


def _cpu(pid: int) -> float:
    """Seconds of a process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / _TICK


def _peak(pid: int) -> float:
    """The largest resident size so far, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


class Satchel(Peer):
    """HTTP, an API key, sealing, every fsync."""

    name = "satchel"

    def __init__(self, link: Link, scratch: Path) -> None:
        super().__init__(link, scratch)
        self.url = f"http://{link.address}:{self.port}"
        self.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"  # what is signed in here is nobody's
        for name in ("CONFIG", "STATE", "CACHE", "DATA"):
            self.env[f"XDG_{name}_HOME"] = str(scratch / "home" / name.lower())
        self.satchel = satchel_command()

    @classmethod
    def absent(cls) -> str:
        return ""

    def serve(self) -> Command:
        where = ["--host", self.link.address, "--port", str(self.port)]
        return [*self.satchel, "serve", "--data", self.scratch / "served", *where]

    def prepare(self, folder: Path) -> None:
        key = self._key()
        insecure = [] if self.link.address.startswith("127.") or self.url.startswith("https:") else ["--insecure"]
        self.run(*self.satchel, "login", self.url, "--key", "-", *insecure, text=key)
        self.run(*self.satchel, "init", cwd=folder)
        self.run(*self.satchel, "remote", "add", self.url, cwd=folder)
        for leftover in (folder / ".satchel").glob("state.db*"):
            leftover.unlink()  # its cache of hashes: a first sync reads everything

    def _key(self, limit: float = 60) -> str:
        """The admin's key, which a server prints at its first start, perhaps after it listens."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for word in Path(self.scratch, "server.log").read_text().split():
                if word.startswith("stl_"):
                    return word
            time.sleep(0.1)
        sys.exit("the server printed no key")

    def push(self, folder: Path) -> list[Command]:
        return [[*self.satchel, "sync", "--quiet"]]

    def clone(self, target: Path) -> list[Command]:
        self.run(*self.satchel, "init", cwd=target)
        join = [*self.satchel, "remote", "add", self.url, "--project", "folder", "--quiet"]
        return [join, *self.fetch(target)]

    def fetch(self, target: Path) -> list[Command]:
        return [[*self.satchel, "sync", "--from-cloud", "--quiet"]]


class SatchelTls(Satchel):
    """The same behind nginx with TLS, as ``deploy/compose/nginx.conf`` sets it up; what nginx takes is not counted."""

    name = "satchel tls"
    tool = "nginx"

    def __init__(self, link: Link, scratch: Path) -> None:
        super().__init__(link, scratch)
        self.outside = free_port()
        self.url = f"https://{link.address}:{self.outside}"
        self.certificate, self.key = scratch / "certificate.pem", scratch / "key.pem"
        self.env["SSL_CERT_FILE"] = str(self.certificate)

    @classmethod
    def absent(cls) -> str:
        return next((f"{tool} is not installed" for tool in ("nginx", "openssl") if not shutil.which(tool)), "")

    def serve(self) -> Command:
        return [*super().serve(), "--public-url", self.url]

    @contextmanager
    def _served(self) -> Iterator[subprocess.Popen[bytes]]:
        new = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        names = ["-subj", "/CN=bench", "-addext", f"subjectAltName=IP:{self.link.address}"]
        self.run(*new, *names, "-out", self.certificate, "-keyout", self.key)
        settings = self.scratch / "nginx.conf"
        settings.write_text(_NGINX.format(peer=self))
        command = [*self.link.server, "nginx", "-e", "stderr", "-p", str(self.scratch), "-c", str(settings)]
        with Path(self.scratch, "nginx.log").open("wb") as log:
            nginx = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                with super()._served() as server:
                    yield server
            finally:
                nginx.terminate()
                nginx.wait()


_NGINX = """
daemon off;
pid nginx.pid;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream satchel {{ server {peer.link.address}:{peer.port}; keepalive 16; }}
    server {{
        listen {peer.link.address}:{peer.outside} ssl;
        ssl_certificate {peer.certificate};
        ssl_certificate_key {peer.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        client_max_body_size 0;
        location / {{
            proxy_pass http://satchel;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


class Git(Peer):
    """Smart HTTP through `git http-backend`, a password; objects and packs fsynced as git does by itself."""

    name = tool = "git"

    def __init__(self, link: Link, scratch: Path) -> None:
        super().__init__(link, scratch)
        self.url = f"http://bench:bench@{link.address}:{self.port}/bench.git"
        settings = {"gc.auto": "0", "receive.autogc": "false", "http.receivepack": "true", "init.defaultBranch": "main"}
        self.env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
        self.env["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings.items()):
            self.env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        for name in ("AUTHOR", "COMMITTER"):
            self.env |= {f"GIT_{name}_NAME": "bench", f"GIT_{name}_EMAIL": "bench@localhost"}

    def serve(self) -> Command:
        script = Path(__file__).with_name("githttp.py")
        return [sys.executable, script, self.link.address, str(self.port), self.scratch]

    def prepare(self, folder: Path) -> None:
        self.run("git", "init", "-q", "--bare", self.scratch / "bench.git")
        self.run("git", "init", "-q", cwd=folder)
        self.run("git", "remote", "add", "origin", self.url, cwd=folder)

    def push(self, folder: Path) -> list[Command]:
        return [
            ["git", "add", "-A"],
            ["git", "commit", "-q", "--allow-empty", "-m", "bench"],
            ["git", "push", "-q", "origin", "main"],
        ]

    def nothing(self, folder: Path) -> list[Command]:
        return [["git", "fetch", "-q", "origin"], ["git", "status", "--porcelain"]]

    def clone(self, target: Path) -> list[Command]:
        return [["git", "clone", "-q", self.url, target]]

    def fetch(self, target: Path) -> list[Command]:
        return [["git", "pull", "-q"]]


class Restic(Peer):
    """To `rclone serve restic` with a password: rest-server is not in Debian."""

    name = "restic"

    def __init__(self, link: Link, scratch: Path) -> None:
        super().__init__(link, scratch)
        self.env["RESTIC_PASSWORD"] = "bench"
        self.env["RESTIC_REPOSITORY"] = f"rest:http://bench:bench@{link.address}:{self.port}/"

    @classmethod
    def absent(cls) -> str:
        return next((f"{tool} is not installed" for tool in ("restic", "rclone") if not shutil.which(tool)), "")

    def serve(self) -> Command:
        where = self.scratch / "restic"
        where.mkdir()
        address = f"{self.link.address}:{self.port}"
        return ["rclone", "serve", "restic", "--addr", address, "--user", "bench", "--pass", "bench", where]

    def prepare(self, folder: Path) -> None:
        self.run("restic", "init", "-q")

    def push(self, folder: Path) -> list[Command]:
        return [["restic", "backup", "-q", "."]]

    def clone(self, target: Path) -> list[Command]:
        return [["restic", "restore", "-q", "latest", "--target", "."]]


class Rsync(Peer):
    """To an rsync daemon with a password, with --fsync."""

    name = "rsync -a"
    tool = "rsync"
    flags: tuple[str, ...] = ("-a",)

    def __init__(self, link: Link, scratch: Path) -> None:
        super().__init__(link, scratch)
        self.env["RSYNC_PASSWORD"] = "bench"
        (scratch / "rsync").mkdir()
        secrets = scratch / "rsyncd.secrets"
        secrets.write_text("bench:bench\n")
        secrets.chmod(0o600)
        self.config = scratch / "rsyncd.conf"
        self.config.write_text(
            f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\npid file = {scratch}/rsyncd.pid\n"
            f"[bench]\npath = {scratch}/rsync\nread only = no\nauth users = bench\nsecrets file = {secrets}\n"
        )
        self.url = f"rsync://bench@{link.address}:{self.port}/bench/"

    def serve(self) -> Command:
        address = ["--address", self.link.address, "--port", str(self.port)]
        return ["rsync", "--daemon", "--no-detach", "--config", self.config, *address]

    def push(self, folder: Path) -> list[Command]:
        return [["rsync", *self.flags, "--delete", "--fsync", "./", self.url]]

    def clone(self, target: Path) -> list[Command]:
        return [["rsync", *self.flags, "--fsync", self.url, "./"]]


class RsyncZ(Rsync):
    name = "rsync -z"
    flags = ("-az",)


class Rclone(Peer):
    """To `rclone serve sftp` with a password, 32 transfers at once."""

    name = tool = "rclone"

    def serve(self) -> Command:
        where = self.scratch / "rclone"
        where.mkdir()
        address = f"{self.link.address}:{self.port}"
        return ["rclone", "serve", "sftp", "--addr", address, "--user", "bench", "--pass", "bench", where]

    def prepare(self, folder: Path) -> None:
        obscured = self.run("rclone", "obscure", "bench").strip()
        settings = {"TYPE": "sftp", "HOST": self.link.address, "PORT": str(self.port), "USER": "bench"}
        self.env |= {f"RCLONE_CONFIG_BENCH_{name}": value for name, value in settings.items()}
        self.env |= {"RCLONE_CONFIG_BENCH_PASS": obscured, "RCLONE_CONFIG_BENCH_SHELL_TYPE": "none"}

    def push(self, folder: Path) -> list[Command]:
        return [["rclone", "sync", "-q", "--transfers", "32", "--checkers", "32", ".", "bench:"]]

    def clone(self, target: Path) -> list[Command]:
        return [["rclone", "copy", "-q", "--transfers", "32", "--checkers", "32", "bench:", "."]]


ALL: tuple[type[Peer], ...] = (Satchel, SatchelTls, Git, Restic, Rsync, RsyncZ, Rclone)
