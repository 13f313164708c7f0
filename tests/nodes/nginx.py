"""nginx with the configuration of ``deploy/compose``, at other addresses: nothing else of the file is changed."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.real import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"


class Nginx:
    """Ends TLS for https://localhost:port with the certificate that ``secrets.sh`` makes, before two nodes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        script = folder / "secrets.sh"
        script.write_bytes((DEPLOY / "compose/secrets.sh").read_bytes())
        subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
        self.certificate = folder / "secrets/tls_certificate"
        self.plain_port, self.port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        """What trusts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def start(self, ports: Sequence[int]) -> None:
        """Start it before the nodes at two ports of this machine, and wait until it answers."""
        text = (DEPLOY / "compose/nginx.conf").read_text()
        scratch = self._folder / "tmp"
        scratch.mkdir()
        addresses = {
            "/tmp/": f"{scratch}/",  # first: the folders of tests are in /tmp as well
            "satchel-1:8470": f"127.0.0.1:{ports[0]}",
            "satchel-2:8470": f"127.0.0.1:{ports[1]}",
            "listen 8080;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 8443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "/run/secrets/": f"{self._folder}/secrets/",
        }
        for old, new in addresses.items():
            assert old in text, old
            text = text.replace(old, new)
        (self._folder / "nginx.conf").write_text(text)
        # Where the first process is root, the others would be nobody, who may not enter the folders of a test.
        options = "daemon off;" + ("" if os.geteuid() else " user root;")
        command = ["nginx", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-g", options]
        with (self._folder / "nginx.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/api/v1/health/live", timeout=10, context=self.context):
                    return
            except (urllib.error.URLError, ConnectionError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self._folder / "nginx.log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
