"""Make what a release consists of, into ``dist/``, from the commit that is checked out: ``make release``.

The wheel and the sdist are built twice, in places, time zones and under permissions that differ, and once more from the
sdist alone: all have to be equal to the byte. Then each is tried as somebody else would: installed from the locked
packages into an empty environment, measured, and used. Bills of materials and checksums follow. Nothing is published
and nothing is signed; CONTRIBUTING.md says how that is done. Ends with 1, naming what did not hold.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
MAX_BASE_PACKAGES = 16
MAX_BASE_BYTES = 35_000_000
UV = (sys.executable, "-m", "uv", "--quiet", "--no-progress")


class Failed(Exception):
    """A release cannot be made of this."""


def run(*words: str | Path, at: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a program; its stdout."""
    done = subprocess.run(words, cwd=at, env=env or dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(source: Path, out: Path, moment: int, *, zone: str = "UTC", only: str = "") -> list[Path]:
    """Build wheel and sdist of a source tree, as of ``moment`` (seconds); ``only`` names one of the two."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(moment), "TZ": zone}
    run(sys.executable, "-m", "hatchling", "build", "-d", out, *(["-t", only] if only else []), at=source, env=env)
    return sorted(out.iterdir())


def rebuilt(sdist: Path, place: Path, moment: int) -> Path:
    """The wheel that the sdist alone gives."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    [tree] = place.iterdir()
    [wheel] = build(tree, place / "out", moment, only="wheel")
    return wheel


def differing(left: Iterable[Path], right: Iterable[Path]) -> list[str]:
    """The names of files that only one side has, or whose bytes differ."""
    one, other = ({path.name: path.read_bytes() for path in side} for side in (left, right))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def environment(place: Path) -> Path:
    """An empty environment, without even pip; its Python."""
    run(*UV, "venv", "--python", sys.executable, place)
    return place / "bin" / "python"


def packages(python: Path) -> dict[str, str]:
    """The distributions of an environment and their versions, Satchel's own left out."""
    [site] = python.parents[1].glob("lib/python*/site-packages")
    found = {each.name: each.version for each in metadata.distributions(path=[str(site)])}
    found.pop("satchel", None)
    return found


def size(python: Path) -> int:
    """Bytes of all that is installed, Satchel itself and compiled bytecode included."""
    return sum(path.stat().st_size for path in (python.parents[1] / "lib").rglob("*") if path.is_file())


def measure_base(python: Path) -> str:
    """Hold an environment with the base alone to its bounds; the figures as a sentence."""
    count, total = len(packages(python)), size(python)
    if count > MAX_BASE_PACKAGES or total > MAX_BASE_BYTES:
        raise Failed(f"the base is {count} packages and {total:,} bytes: over its bounds")
    return f"the base is {count} packages beside Satchel and {total / 1e6:.1f} MB installed"


def use(python: Path, place: Path) -> None:
    """Walk the first minute with an installed Satchel: make a project, search it, read a file."""
    folder = place / "project"
    folder.mkdir(parents=True)
    (folder / "runbook.md").write_text("# Runbook\n\n## Rollback\n\nThe harbour master approves a rollback.\n")
    env = {"HOME": str(place), "PATH": f"{python.parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    run("satchel", "init", at=folder, env=env)
    for words in (("search", "who approves a rollback"), ("get", "runbook.md")):
        answer = run(python.parent / "satchel", *words, at=folder, env=env)
        if "harbour master" not in answer:
            raise Failed(f"satchel {words[0]} did not find what is there:\n{answer}")


def install(wheel: Path, lock: str, place: Path) -> Path:
    """An environment with the packages of a lock, checked by hash, and the wheel; its Python."""
    python = environment(place)
    run(*UV, "pip", "install", "--compile-bytecode", "--python", python, "--require-hashes", "-r", ROOT / lock)
    run(*UV, "pip", "install", "--compile-bytecode", "--python", python, "--no-deps", wheel)
    run(*UV, "pip", "check", "--python", python)
    return python


def checksums(files: Iterable[Path]) -> str:
    """Lines for ``sha256sum --check``."""
    return "".join(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from satchel import __version__ as version
    from scripts.sbom import bill

    if run("git", "status", "--porcelain"):
        raise Failed("there are changes that are not committed")
    moment = int(run("git", "log", "-1", "--format=%ct"))
    tagged = f"v{version}" in run("git", "tag", "--points-at", "HEAD").split()
    page = ROOT / "CHANGELOG.md"
    if tagged and (not page.exists() or f"\n## {version} (" not in page.read_text(encoding="utf-8")):
        raise Failed(f"CHANGELOG.md says nothing of {version}: scripts/changelog.py --write {version} DATE")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run("git", "archive", "--format=tar", "-o", place / "tree.tar", "HEAD")
        made = []
        for side, mask, zone in (("one", 0o022, "UTC"), ("the-other-place", 0o077, "Asia/Kathmandu")):
            os.umask(mask)
            with tarfile.open(place / "tree.tar") as archive:
                archive.extractall(place / side, filter="tar")
            made.append(build(place / side, place / f"{side}-out", moment, zone=zone))
        os.umask(0o022)
        wheel, sdist = made[0]
        again = rebuilt(sdist, place / "rebuilt", moment)
        if different := differing(*made) or differing([wheel], [again]):
            raise Failed(f"two builds of one commit differ: {', '.join(different)}")
        print("wheel and sdist are the same in every build, the wheel made from the sdist too")
        base = install(wheel, "requirements/base.txt", place / "base")
        print(measure_base(base))
        use(base, place / "used")
        server = install(wheel, "requirements/server.txt", place / "server")
        run(server.parent / "satchel", "serve", "--help", at=place)
        print(f"with [server,otel] it is {len(packages(server))} packages and {size(server) / 1e6:.1f} MB")
        for path in (wheel, sdist):
            shutil.copy(path, DIST)
        when = datetime.fromtimestamp(moment, UTC)
        for kind in ("base", "server"):
            text = bill(ROOT / "requirements" / f"{kind}.txt", version, when, wheel)
            (DIST / f"satchel-{version}-{kind}.cdx.json").write_text(text, encoding="utf-8")
    (DIST / "SHA256SUMS").write_text(checksums(sorted(DIST.iterdir())), encoding="utf-8")
    print((DIST / "SHA256SUMS").read_text(encoding="utf-8"), end="")
    print(f"dist/ holds {version}" + ("" if tagged else f", on trial: this commit has no tag v{version}"))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"release: {failure}")
