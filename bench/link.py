"""A slow link on one machine: two network namespaces joined by a wire with a delay and a rate.

Needs root, iproute2, gcc and /dev/net/tun. Where one of these is absent ``slow`` says which, and the caller leaves the
slow link out by that name. What this starts it ends, by its own process id and names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DELAY_US, BITS_PER_S, QUEUE_BYTES = 20_000, 100_000_000, 1_250_000
"""40 ms there and back, 100 Mbit/s each way, and a queue of 100 ms at that rate."""


class Link(NamedTuple):
    """Where a server and a client run. The prefixes go before their commands."""

    name: str
    address: str
    """The server's, as the client reaches it."""
    server: list[str]
    client: list[str]
    device: str
    """The server's end of the wire, for counting."""

    def bytes(self) -> tuple[int, int]:
        """Bytes that went to the server and from it since the link stands, with the heads of IP and TCP."""
        if not self.device:
            return 0, 0
        text = subprocess.run([*self.server, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
        row = next(line for line in text.splitlines() if line.strip().startswith(f"{self.device}:"))
        fields = row.partition(":")[2].split()
        return int(fields[0]), int(fields[8])


LOOPBACK = Link("loopback", "127.0.0.1", [], [], "")


def absent() -> str:
    """Why there can be no slow link here; empty where there can."""
    if os.geteuid() != 0:
        return "not root"
    for tool in ("ip", "gcc"):
        if shutil.which(tool) is None:
            return f"no {tool}"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    probe = f"stl-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"no network namespaces ({made.stderr.strip()})"


@contextmanager
def slow() -> Iterator[Link]:
    """A link that is slow, while it is wanted."""
    pid = os.getpid()
    client, server = f"stl-client-{pid}", f"stl-server-{pid}"
    here, there = f"stlA{pid % 100_000}", f"stlB{pid % 100_000}"
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "tundelay")
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("tundelay.c")], check=True)
        command = [program, here, there, str(DELAY_US), str(BITS_PER_S), str(QUEUE_BYTES)]
        wire = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert wire.stdout is not None
            wire.stdout.readline()
            for name, device, address in ((client, here, "10.77.0.1"), (server, there, "10.77.0.2")):
                _ip("netns", "add", name)
                _ip("link", "set", device, "netns", name)
                inside = ["netns", "exec", name, "ip"]
                _ip(*inside, "addr", "add", f"{address}/24", "dev", device)
                _ip(*inside, "link", "set", device, "mtu", "1500", "up", "txqueuelen", "2000")
                _ip(*inside, "link", "set", "lo", "up")
            into = ["ip", "netns", "exec"]
            yield Link("40 ms, 100 Mbit/s", "10.77.0.2", [*into, server], [*into, client], there)
        finally:
            for name in (client, server):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            wire.terminate()
            wire.wait(timeout=15)
            if wire.stdout:
                wire.stdout.close()
            time.sleep(0.1)  # the devices go a moment after the process


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
