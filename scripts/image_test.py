"""Build the image and use it, as hard as it may be held: ``make image-test``.

With buildah and podman (Debian's packages), as root, and no registry of images: the base is made by mmdebstrap unless
BASE names one that is here already. What is checked: labels and size; that it runs with no capability, no new
privileges, a read-only root and a user of its own; that nothing but its data and /tmp can be written; the health check;
SIGTERM, which ends it with status 0 within ten seconds, also while it starts; and the five journeys of ``make demo``
with the server in a container. Ends with 1, naming what did not hold.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "image"
IMAGE = "localhost/satchel:test"
MADE_BASE = "localhost/satchel-base:bookworm"
TOOLS = "localhost/satchel-tools:bookworm"
MAX_ADDED_BYTES = 120 * 1024 * 1024
USER = 10_001
HARD = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:rw,noexec,nosuid,size=64m", "--cap-drop=all",
    "--security-opt=no-new-privileges", f"--user={USER}:{USER}", "--pids-limit=256", "--ulimit=nofile=8192:8192",
    "--ulimit=nproc=4096:4096", "--no-healthcheck",
)  # fmt: skip
"""Limits are named since not every machine lets podman set its own, and the health check is asked here, since podman
would have systemd ask it."""
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")


class Failed(Exception):
    """A check did not hold."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def run(*words: str, status: int | None = 0, seconds: float = 900, env: dict[str, str] | None = None) -> str:
    """Run a program; its stdout."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})}, cwd=ROOT, check=False
    )
    if status is not None and done.returncode != status:
        raise Failed(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}")
    return done.stdout


def check(good: object, what: str) -> None:
    if not good:
        raise Failed(what)
    say(f"ok: {what}")


def base() -> str:
    """The base to build on: BASE, or Debian with Python, made here once."""
    if os.environ.get("BASE"):
        return os.environ["BASE"]
    if subprocess.run([*PODMAN, "image", "exists", MADE_BASE], check=False).returncode:
        archive = BUILD / "base.tar"
        if not archive.exists():
            say("making a base of Debian with mmdebstrap")
            made = archive.with_suffix(".part")
            run("mmdebstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "--format=tar",
                "bookworm", str(made), seconds=1_800)  # fmt: skip
            made.rename(archive)
        run(*PODMAN, "import", str(archive), MADE_BASE)
    return MADE_BASE


def tools(base_name: str) -> str:
    """The base with binutils, by this machine's sources of packages."""
    if subprocess.run([*PODMAN, "image", "exists", TOOLS], check=False).returncode:
        say("adding binutils for the stage that builds")
        container = run("buildah", "from", "--pull-never", base_name).strip()
        run("buildah", "run", "--isolation", "chroot", "--volume", "/etc/apt:/etc/apt:ro", "--volume",
            "/etc/ssl:/etc/ssl:ro", container, "--", "sh", "-c",
            "apt-get -qq update && apt-get -qq install -y --no-install-recommends binutils")  # fmt: skip
        run("buildah", "commit", "--quiet", container, TOOLS)
        run("buildah", "rm", container)
    return TOOLS


def wheels() -> Path:
    """A folder with every wheel of the lock, checked against its hashes."""
    folder = BUILD / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    for lock in ("server", "build"):
        run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--only-binary", ":all:",
            "--require-hashes", "-r", f"requirements/{lock}.txt")  # fmt: skip
    return folder


def build(base_name: str) -> None:
    run("buildah", "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--volume",
        f"{wheels()}:/wheels:ro", "--build-arg", f"BASE={base_name}", "--build-arg", f"TOOLS={tools(base_name)}",
        "--build-arg", "PIP_OPTIONS=--no-index --find-links /wheels", "--build-arg", "VERSION=test",
        "-f", "deploy/Dockerfile", "-t", IMAGE, ".", seconds=1_800)  # fmt: skip


def inspected(image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(run(*PODMAN, "image", "inspect", image))
    return found[0]


def look_at_it(base_name: str) -> None:
    about = inspected(IMAGE)
    added = about["Size"] - inspected(base_name)["Size"]
    say(f"{about['Size'] / 1e6:.0f} MB, {added / 1e6:.0f} MB over its base")
    check(added <= MAX_ADDED_BYTES, "it adds no more than 120 MB to its base")
    config = about["Config"]
    check(config["User"] == f"{USER}:{USER}", "it runs as a user of its own")
    check(config["Labels"]["org.opencontainers.image.version"] == "test", "its labels say what it is")
    check(about.get("HealthCheck") or about.get("Healthcheck") or config.get("Healthcheck"), "it has a health check")


def started(name: str, data: Path, *more: str) -> None:
    run(*PODMAN, "run", "--detach", "--name", name, "--network=host", *HARD, f"--volume={data}:/var/lib/satchel",
        "--env=SATCHEL_HOST=127.0.0.1", "--env=SATCHEL_METRICS_PORT=0", *more, IMAGE)  # fmt: skip


def hold_it_hard(place: Path) -> None:
    name, data = f"satchel-image-test-{os.getpid()}", place / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    with socket.create_server(("127.0.0.1", 0)) as free:  # with the host's network, a fixed port may be somebody else's
        port = free.getsockname()[1]
    started(name, data, f"--env=SATCHEL_PORT={port}")
    try:
        probe = [*PODMAN, "exec", name, "satchel", "serve", "--probe"]
        for _ in range(120):
            if not subprocess.run(probe, capture_output=True, check=False).returncode:
                break
            time.sleep(0.5)
        else:
            raise Failed(f"it did not become ready:\n{run(*PODMAN, 'logs', name)}")
        say("ok: its health check says that it is ready")
        status = run(*PODMAN, "exec", name, "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        check(fields["Uid"].split()[0] == str(USER), f"its first process is of user {USER}")
        for caps in ("CapEff", "CapPrm", "CapBnd"):
            check(int(fields[caps], 16) == 0, f"{caps} is empty")
        check(fields["NoNewPrivs"] == "1", "it can gain no privileges")
        writing = "import sys; open(sys.argv[1], 'w').close()"
        for path, works in (("/opt/satchel/x", False), ("/x", False), ("/etc/x", False), ("/tmp/x", True)):
            python = [*PODMAN, "exec", name, "/opt/satchel/bin/python", "-c", writing, path]
            done = subprocess.run(python, capture_output=True, check=False)
            check((done.returncode == 0) == works, f"{path} can{'' if works else 'not'} be written")
        began = time.monotonic()
        run(*PODMAN, "stop", "--time", "30", name)
        took = time.monotonic() - began
        code = run(*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", name).strip()
        check(code == "0", "SIGTERM ends it with status 0")
        check(took < 10, f"within ten seconds ({took:.1f} s)")
        run(*PODMAN, "start", name)
        began = time.monotonic()
        while run(*PODMAN, "inspect", "--format", "{{.State.Running}}", name).strip() == "true":
            # A first process hears nothing before it says how, which the interpreter does once it is there.
            run(*PODMAN, "kill", "--signal", "TERM", name, status=None)
            if time.monotonic() - began > 30:
                raise Failed("it does not hear of its end while it starts")
            time.sleep(0.2)
        code = run(*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", name).strip()
        check(code == "0", "and so it does while it starts")
    finally:
        run(*PODMAN, "rm", "--force", name, status=None)


def walk_the_journeys(place: Path) -> None:
    """The demo, with a program that runs each server in a container over the data directory it is given."""
    program = place / "satchel-in-a-container"
    hard = shlex.join(HARD)
    program.write_text(
        "#!/bin/sh\nset -e\ndata=\nlast=\n"
        'for word in "$@"; do [ "$last" = --data ] && data=$word; last=$word; done\n'
        f'mkdir -p "$data"; chown -R {USER}:{USER} "$data"\n'
        f'exec {shlex.join(PODMAN)} run --rm --network=host {hard} --volume="$data:$data"'
        f' --env=SATCHEL_HOST=127.0.0.1 --env=SATCHEL_METRICS_PORT=0 {IMAGE} "$@"\n'
    )
    program.chmod(0o755)
    told = run(sys.executable, "scripts/demo.py", "docs", env={"SATCHEL_DEMO_SERVER": str(program)}, seconds=1_800)
    print(told[told.rfind("Summary") :], flush=True)
    say("ok: the five journeys hold against the container")


def main() -> int:
    missing = [name for name in ("buildah", "podman", "runc") if shutil.which(name) is None]
    if missing or (not os.environ.get("BASE") and shutil.which("mmdebstrap") is None):
        print(
            "image-test: needs buildah, podman, runc and, without BASE, mmdebstrap (Debian's packages)", file=sys.stderr
        )
        return 2
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        on = base()
        say(f"building on {on}")
        build(on)
        look_at_it(on)
        with tempfile.TemporaryDirectory(prefix="satchel-image-") as name:
            place = Path(name)
            hold_it_hard(place)
            walk_the_journeys(place)
    except Failed as error:
        print(f"image-test failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
