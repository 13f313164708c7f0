"""What holds for every file of the repository: no machine's paths, no registry, a licence, locks that pin by hash."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import satchel

ROOT = Path(__file__).parents[2]
LOCKS = ["base.txt", "server.txt", "dev.txt"]

# Written so that the patterns do not find themselves here.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root)/|" + re.escape(str(ROOT)))
REGISTRY_HOST = re.compile(
    r"pypi\.org|pythonhosted\.(?:org|com)|npmjs\.(?:org|com)|crates\.io|--(?:extra-)?index-url", re.IGNORECASE
)


def tracked_files() -> list[Path]:
    """The files git knows, or would take; without git (an unpacked archive), everything outside hidden folders."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True
    )
    if listing.returncode == 0:
        names = [name for name in listing.stdout.decode().split("\0") if name]
    else:
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not path.relative_to(ROOT).parts[0].startswith(".")
        ]
    return [path for path in (ROOT / name for name in names) if path.is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
            for match in pattern.finditer(text)
        ]
    return found


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRY_HOST) == []


@pytest.mark.parametrize("text", ["see /" + "work/main", "'/" + "root/x'", f"open({ROOT}/x)"])
def test_the_search_for_machine_paths_finds_them(text: str) -> None:
    assert MACHINE_PATH.search(text)


def test_the_licence_is_apache_2_word_for_word() -> None:
    words = " ".join((ROOT / "LICENSE").read_text().split())
    assert (
        hashlib.sha256(words.encode()).hexdigest() == "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"
    )


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", satchel.__version__)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_is_pinned_with_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / name).read_text().strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[^\s;]+( ;.*)? \\\n", entry), entry
        assert "--hash=sha256:" in entry, entry


def pins(name: str) -> set[str]:
    text = (ROOT / "requirements" / name).read_text()
    return {line.split(" ")[0] for line in text.splitlines() if "==" in line}


def test_the_locks_agree_with_each_other() -> None:
    assert pins("base.txt") <= pins("server.txt") <= pins("dev.txt")


def test_the_locks_hold_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, declared in {
        "base.txt": project["dependencies"],
        "server.txt": project["optional-dependencies"]["server"],
    }.items():
        locked = {pin.split("==")[0] for pin in pins(name)}
        wanted = {re.split(r"[\[<>=; ]", entry)[0].lower().replace(".", "-").replace("_", "-") for entry in declared}
        assert wanted <= locked, f"run `make lock`: {wanted - locked}"


def test_the_base_has_at_most_16_packages() -> None:
    assert len(pins("base.txt")) + 1 <= 16  # and satchel itself


def test_the_base_takes_at_most_35_megabytes() -> None:
    """Every file that the base's packages installed, compiled bytecode included, and our own package in source."""
    base = {pin.split("==")[0] for pin in pins("base.txt")}
    here = [each for each in metadata.distributions() if re.sub(r"[-_.]+", "-", each.name).lower() in base]
    places = {Path(str(file.locate())) for each in here for file in each.files or []}
    places |= set((ROOT / "src").rglob("*.py"))
    assert len(here) >= len(base) - 1  # backports.zstd is not needed from Python 3.14 on
    assert 1_000_000 < sum(place.stat().st_size for place in places if place.is_file()) <= 35_000_000
