from __future__ import annotations

import pytest

from satchel.context.absent import MAX_PATHS, MOST, no_artifact

PATHS = (
    "docs/runbooks/rollback.md", "specs/warnings.md", "README.md", "docs/README.md", "decisions/0012-queue.md",
    "notes/Überblick.md", ".env.md", "specs/warning-s.md",
)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("rollback", ["docs/runbooks/rollback.md"]),
        ("Docs/runbooks/Rollback.MD", ["docs/runbooks/rollback.md"]),
        ("docs/rollback.md", ["docs/runbooks/rollback.md"]),
        ("rolback.md", ["docs/runbooks/rollback.md"]),
        ("/specs/warnings.md", ["specs/warnings.md"]),
        ("./specs/warning.txt", []),
        ("specs/warning.md", ["specs/warnings.md", "specs/warning-s.md"]),
        ("lighthouse/specs/warnings.md", ["specs/warnings.md"]),
        ("satchel://lighthouse/specs/warnings.md", ["specs/warnings.md"]),
        ("readme.md", ["README.md", "docs/README.md"]),
        ("SPECS/warnings.md", ["specs/warnings.md"]),
        ("doc/README.md", ["README.md", "docs/README.md"]),
        ("notes/U\u0308BERBLICK", ["notes/Überblick.md"]),
        ("zeppelin.md", []),
        ("", []),
        ("/", []),
        ("md", []),
        ("\udcff.md", []),
    ],
)
def test_a_near_miss_names_what_may_have_been_meant(asked: str, meant: list[str]) -> None:
    error = no_artifact("lighthouse", asked, PATHS)
    assert [path for path in PATHS if repr(path) in error.hint] == sorted(meant, key=PATHS.index)
    assert error.hint.startswith("Did you mean") == bool(meant)


@pytest.mark.parametrize("asked", ["specs", "specs/", "docs/runbooks"])
def test_of_a_folder_it_is_said_that_it_is_one(asked: str) -> None:
    assert repr(asked.rstrip("/") + "/") in no_artifact("lighthouse", asked, PATHS).hint


@pytest.mark.promise("P8")
def test_what_is_compared_and_said_is_bounded() -> None:
    many = [f"{'d' * 800}/{number:05}/same.md" for number in range(MAX_PATHS)]
    error = no_artifact("lighthouse", "same.txt", many)
    assert error.hint.count("same.md") == MOST
    assert "Did you mean" not in no_artifact("lighthouse", "same.txt", [*many, "same.md"]).hint
    assert len(no_artifact("lighthouse", "x" * 1_000_000, many).message) < 2_000
