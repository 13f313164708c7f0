"""What every test gets: a home of its own, no Satchel setting from outside, loopback at most, a project to work on.

The sockets are guarded by pytest-socket (see `addopts` in pyproject.toml). Processes that a test starts inherit the
private home, so that nothing a test does can be seen on the machine that runs it.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import engines, logged
from tests.postgres import empty_postgres, own_postgres, postgres, postgres_server, template_of_run
from tests.real import azurite, azurite_port, own_seaweedfs, seaweedfs, seaweedfs_port
from tests.sample import write_sample_project

__all__ = [  # fixtures for every test
    "azurite",
    "azurite_port",
    "empty_postgres",
    "own_postgres",
    "own_seaweedfs",
    "postgres",
    "postgres_server",
    "seaweedfs",
    "seaweedfs_port",
]

# A slow machine is not a wrong answer: no deadline per example. A failure prints what repeats it.
settings.register_profile("satchel", deadline=None, max_examples=100, print_blob=True)
settings.load_profile("satchel")
logged.install()
_LINES = pytest.StashKey[list[str]]()
_homes = itertools.count()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked ``system("strace")`` is skipped by name without that program, unless everything is required."""
    for marker in item.iter_markers("system"):
        absent = [program for program in marker.args if shutil.which(program) is None]
        if absent and os.environ.get("REQUIRE_SYSTEM_TESTS"):
            pytest.fail(f"not installed: {', '.join(absent)}")
        if absent:
            pytest.skip(f"not installed: {', '.join(absent)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that failed, the last that its servers logged."""
    if call.when == "setup":
        item.stash[_LINES] = []
    lines = item.stash[_LINES] = [*item.stash[_LINES], *logged.taken()][-100:]
    report = yield
    if report.failed and lines:
        report.sections.append((f"Captured log of servers, {call.when}", "\n".join(lines)))
    return report


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HOME with the XDG folders inside it, and no SATCHEL_ variable from outside."""
    home = tmp_path_factory.mktemp(f"home-{next(_homes)}", numbered=False)  # to find a free number it lists them all
    for name in [name for name in os.environ if name.startswith("SATCHEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name, folder in {
        "XDG_CONFIG_HOME": ".config",
        "XDG_STATE_HOME": ".local/state",
        "XDG_CACHE_HOME": ".cache",
        "XDG_DATA_HOME": ".local/share",
        "XDG_RUNTIME_DIR": ".run",
    }.items():
        (home / folder).mkdir(parents=True, mode=0o700)
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv(
        "PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring"
    )  # the one of this machine is somebody's
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("TZ", "UTC")
    return home


@pytest.fixture
def sample_project(tmp_path: Path) -> Path:
    """A small folder of context, freshly written and never initialised (tests/sample.py says what is in it)."""
    return write_sample_project(tmp_path / "lighthouse")


@pytest.fixture
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def engine_of_the_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A PostgreSQL for all tests, where that is the engine of the run."""
    if engines.POSTGRESQL:
        engines.prepare(request.getfixturevalue("postgres_server"), template_of_run(tmp_path_factory))


@pytest.fixture(autouse=True)
def databases_of_one_test(engine_of_the_run: None, request: pytest.FixtureRequest) -> Iterator[None]:
    folder: Path | None = request.getfixturevalue("tmp_path") if engines.POSTGRESQL else None
    yield
    if folder is not None:
        engines.drop(folder)
