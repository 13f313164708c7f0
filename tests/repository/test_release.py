"""What a release consists of: the same bytes from every build, an installation that works alone, and its papers."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from satchel import __version__
from scripts import changelog, release, sbom

ROOT = Path(__file__).parents[2]
MOMENT = 1_800_000_000
BASE = ROOT / "requirements" / "base.txt"
UNTRACKED = shutil.ignore_patterns("__pycache__", ".satchel", "node_modules")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What git tracks of the package, twice: the second where only its owner may look, with other times."""
    place = tmp_path_factory.mktemp("trees")
    for name in ("one", "other"):
        for folder in ("src", "docs", "requirements", "changelog.d", "scripts"):
            shutil.copytree(ROOT / folder, place / name / folder, ignore=UNTRACKED, copy_function=shutil.copyfile)
        for file in [*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "Makefile", ROOT / "pyproject.toml"]:
            shutil.copyfile(file, place / name / file.name)
    for path in (place / "other").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return place / "one", place / "other"


@pytest.fixture(scope="module")
def built(trees: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    wheel, sdist = release.build(trees[0], tmp_path_factory.mktemp("built"), MOMENT)
    return wheel, sdist


@pytest.fixture(scope="module")
def offline_base(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment that gets the locked packages of the base from here, without a network, and the wheel."""
    python = release.environment(tmp_path_factory.mktemp("base") / "environment")
    [site] = python.parents[1].glob("lib/python*/site-packages")
    for name in sbom.pinned(BASE):
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:  # a backport that this Python does not need
            continue
        for file in files:
            if ".." not in file.parts and Path(str(file.locate())).exists():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), site / file)
    release.run(*release.UV, "pip", "install", "--offline", "--python", python, "--no-deps", built[0])
    release.run(*release.UV, "pip", "check", "--offline", "--python", python)
    return python


def test_two_builds_and_one_from_the_sdist_are_the_same_to_the_byte(
    trees: tuple[Path, Path], built: tuple[Path, Path], tmp_path: Path
) -> None:
    other = release.build(trees[1], tmp_path / "other", MOMENT, zone="Asia/Kathmandu")
    assert release.differing(built, other) == []
    assert release.differing([built[0]], [release.rebuilt(built[1], tmp_path / "rebuilt", MOMENT)]) == []


def test_the_base_installs_alone_stays_light_and_answers(offline_base: Path, tmp_path: Path) -> None:
    found = {canonicalize_name(name) for name in release.packages(offline_base)}
    assert found == {name for name in sbom.pinned(BASE) if _here(name)}
    assert "packages beside Satchel" in release.measure_base(offline_base)
    release.use(offline_base, tmp_path / "used")
    find = "import satchel.cli.main, importlib.util as u; print(u.find_spec('fastapi'))"
    assert release.run(offline_base, "-c", find).strip() == "None"


def test_the_page_about_versions_names_the_packages_that_the_locks_hold() -> None:
    page = (ROOT / "docs" / "guide" / "support.md").read_text()
    assert f"{len(sbom.pinned(BASE))} packages beside Satchel" in page
    assert f"({len(sbom.pinned(ROOT / 'requirements' / 'server.txt'))} packages together," in page


def test_a_base_over_its_bounds_is_refused(offline_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "MAX_BASE_BYTES", 1_000_000)
    with pytest.raises(release.Failed, match="over its bounds"):
        release.measure_base(offline_base)


def test_the_licences_of_all_that_a_wheel_holds_come_with_it(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
    assert {name.partition("/licenses/")[2] for name in names if "/licenses/" in name} == {
        "LICENSE",
        "src/satchel/server/common_passwords.LICENSE",
    }


@pytest.mark.parametrize("kind", ["base", "server"])
def test_the_bill_of_materials_names_every_locked_package_its_licence_and_what_needs_it(kind: str) -> None:
    lock = ROOT / "requirements" / f"{kind}.txt"
    moment = datetime.fromtimestamp(MOMENT, UTC)
    text = sbom.bill(lock, __version__, moment)
    assert text == sbom.bill(lock, __version__, moment)
    made = json.loads(text)
    assert {part["name"]: part["version"] for part in made["components"]} == sbom.pinned(lock)
    assert [part["name"] for part in made["components"] if not part.get("licenses")] == [
        name for name in sbom.pinned(lock) if not _here(name)
    ]
    needed = {ref for entry in made["dependencies"] for ref in entry.get("dependsOn", [])}
    assert needed == {part["bom-ref"] for part in made["components"]}


def test_fragments_become_a_section_on_top_of_the_changelog_and_go(tmp_path: Path) -> None:
    (tmp_path / "changelog.d").mkdir()
    for name, text in {
        "README.md": "About.\n",
        "fixed-b.md": "A bug is gone.\n",
        "added-a.md": "There is more.\n\nSee the [guide](../docs/guide/index.md).\n",
    }.items():
        (tmp_path / "changelog.d" / name).write_text(text)
    changelog.write(tmp_path, "0.2.0", "2026-12-01")
    (tmp_path / "changelog.d" / "security-c.md").write_text("Install this soon.\n")
    changelog.write(tmp_path, "0.2.1", "2026-12-02")
    assert [path.name for path in (tmp_path / "changelog.d").iterdir()] == ["README.md"]
    assert (tmp_path / "CHANGELOG.md").read_text() == (
        f"{changelog.HEAD}\n## 0.2.1 (2026-12-02)\n\n### Security\n\n- **Install this soon.**\n"
        "\n## 0.2.0 (2026-12-01)\n\n### Added\n\n- **There is more.**\n  See the [guide](docs/guide/index.md).\n"
        "\n### Fixed\n\n- **A bug is gone.**\n"
    )
    (tmp_path / "changelog.d" / "fixed-d.md").write_text("Another.\n")
    with pytest.raises(SystemExit, match=r"has a section 0\.2\.1 already"):
        changelog.write(tmp_path, "0.2.1", "2026-12-02")


def test_a_signed_list_of_checksums_is_verified_as_the_guide_says_and_an_altered_one_refused(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    (tmp_path / "satchel.whl").write_bytes(b"a wheel")
    (tmp_path / "SHA256SUMS").write_text(release.checksums([tmp_path / "satchel.whl"]))
    release.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key", at=tmp_path)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed_signers").write_text(f"release@satchel {public}")
    page = (ROOT / "docs" / "guide" / "support.md").read_text()
    [verify] = [line for line in page.splitlines() if line.startswith("ssh-keygen -Y verify")]
    [sign] = [
        line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("ssh-keygen -Y sign")
    ]
    release.run("sh", "-c", sign.partition("#")[0].replace("~/.ssh/release", "key").replace("dist/", ""), at=tmp_path)
    assert "Good" in release.run("sh", "-c", verify, at=tmp_path)
    release.run("sha256sum", "--check", "SHA256SUMS", at=tmp_path)
    (tmp_path / "SHA256SUMS").write_text("0000  satchel.whl\n")
    assert subprocess.run(["sh", "-c", verify], cwd=tmp_path, capture_output=True).returncode != 0


def _here(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
