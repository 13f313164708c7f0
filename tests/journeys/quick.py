"""The command line as quick as it can be asked: a process that has it loaded forks for each command.

``with quickly(folder) as programs:`` gives a folder for PATH with a ``satchel`` in it. What a command does is the same;
only the imports, most of the time of a short one, are done once. Not for what is to serve, or to be killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ASK = """\
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as to:
    to.connect({at!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(to, [len(said).to_bytes(4, "big")], [0, 1, 2])
    to.sendall(said)
    sys.exit(to.recv(1)[0])
"""
ANSWER = """\
import importlib, json, os, pkgutil, socket, sys, threading
import satchel.cli
from satchel.cli.main import main
for found in pkgutil.walk_packages(satchel.cli.__path__, "satchel.cli."):
    importlib.import_module(found.name)
for name in ("satchel.server.checks", "satchel.upkeep.backup", "satchel.upkeep.verify", "satchel.sync.run"):
    importlib.import_module(name)
def answer(one):
    head, files, _, _ = socket.recv_fds(one, 4, 3)
    said = b""
    while len(said) < int.from_bytes(head, "big"):
        said += one.recv(1 << 20)
    words, folder, env = json.loads(said)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF
    for number, file in enumerate(files):
        os.dup2(file, number)
    one.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["satchel", *words]
    status = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
def serve(one):
    with one:
        one.sendall(bytes([answer(one)]))
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen(8)
    while True:
        serve(listener.accept()[0])
"""


@contextmanager
def quickly(folder: Path) -> Iterator[Path]:
    """The folder with the program, as long as the block lasts."""
    programs, at = folder / "bin", folder / "ask"
    programs.mkdir(parents=True)
    (programs / "ask.py").write_text(ASK.format(at=str(at)))
    program = programs / "satchel"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {programs / "ask.py"} "$@"\n')
    program.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", ANSWER, str(at)], env={**os.environ, "PYTHONPATH": ""}) as process:
        try:
            while not at.exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield programs
        finally:
            process.kill()
