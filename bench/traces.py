"""What traces cost a server: its CPU for each request with none, 1 %, 10 % and all requests traced, in one run.

    python bench/traces.py FOLDER [--seconds 2] [--rounds 5] [--json FILE]

Servers of one kind each, asked in turn for lists of projects of lengths that differ, with a collector in a process of
its own that throws away what it receives. The server's CPU includes that of the thread that sends the traces.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from load import result, start
from measure import machine, median, report, save
from reads import LIST, cpu_seconds, served
from serving import free_port

KINDS = {"none": None, "1 %": 1, "10 %": 10, "all": 100}
PATHS = {"remembered": [LIST], "not remembered": [f"{LIST}?limit={n}" for n in range(1, 1_001)]}
"""A list that was asked for before is answered from memory; the others ask the catalog."""
COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"])); self.send_response(200); self.end_headers()
    do_GET = do_POST
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receive).serve_forever()
"""


def cost(url: str, key: str, process: int, paths: list[str], seconds: float) -> float:
    """Microseconds of CPU for each answer."""
    before = cpu_seconds(process)
    load = result(start(url, paths, key, connections=2, seconds=seconds))
    return (cpu_seconds(process) - before) / len(load.latencies) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name, ExitStack() as stack:
        folder = Path(name, "bench")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        port = free_port()
        collector: subprocess.Popen[str] = subprocess.Popen([sys.executable, "-c", COLLECTOR, str(port)])
        stack.callback(collector.wait)
        stack.callback(collector.terminate)
        servers = {}
        for number, (kind, percent) in enumerate(KINDS.items()):
            settings = {} if percent is None else {"SATCHEL_OTLP_URL": f"http://127.0.0.1:{port}"}
            if percent is not None:
                settings["SATCHEL_TRACE_PERCENT"] = str(percent)
            shutil.rmtree(folder / ".satchel", ignore_errors=True)
            servers[kind] = stack.enter_context(served(folder, Path(name, str(number)), settings))
        took: dict[str, dict[str, list[float]]] = {what: {kind: [] for kind in KINDS} for what in PATHS}
        for _ in range(options.rounds):
            for what, paths in PATHS.items():
                for kind, one in servers.items():
                    took[what][kind].append(cost(*one, paths, options.seconds))
    rows = [
        [kind, *(text for what in PATHS for text in _told(median(took[what][kind]), median(took[what]["none"])))]
        for kind in KINDS
    ]
    header = ["traced", *(text for what in PATHS for text in (f"{what}: µs", "ratio"))]
    report("the server's CPU for a list of 10 projects", rows, header)
    save(options.json, {what: {kind: median(found) for kind, found in of.items()} for what, of in took.items()})


def _told(value: float, base: float) -> tuple[str, str]:
    return f"{value:.0f}", f"{value / base:.2f}"


if __name__ == "__main__":
    main()
