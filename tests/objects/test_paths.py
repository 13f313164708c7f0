from __future__ import annotations

import json
import time
import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from satchel.errors import PathRefused
from satchel.objects import paths
from satchel.objects.paths import check_path, collision_key, executed_by_tools, path_problem, tree_problems

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/paths.json").read_text())

hostile = st.text(st.sampled_from("aZ.~ 1/\\:\u200c\u0301gitsachelcon\u0130\u00e9\ud800\n"), max_size=12) | st.text(
    max_size=8
)


@pytest.mark.parametrize("path", VECTORS["listable"])
def test_an_ordinary_name_is_listable(path: str) -> None:
    assert path_problem(path) is None
    assert check_path(path) == path


@pytest.mark.parametrize("path", VECTORS["refused"], ids=ascii)
def test_a_name_that_could_mean_something_else_is_refused_with_a_reason(path: str) -> None:
    with pytest.raises(PathRefused) as refused:
        check_path(path)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 400


@settings(max_examples=100)
@given(hostile)
@example(".git")
@example("a/con.txt")
@example("a/.")
def test_the_fast_way_and_the_full_rules_agree(path: str) -> None:
    assert (path_problem(path) is None) == (paths._slow_problem(path) is None)


@settings(max_examples=100)
@given(hostile)
def test_a_listable_path_stays_below_its_folder(path: str) -> None:
    if path_problem(path) is not None:
        return
    assert (Path("/below") / path).resolve().is_relative_to("/below")
    assert unicodedata.normalize("NFC", path) == path
    for part in path.casefold().split("/"):
        assert part.translate(dict.fromkeys(range(0x200C, 0x2010))).rstrip(". ") not in {".git", ".satchel", ""}


@pytest.mark.parametrize("vector", VECTORS["clashes"], ids=lambda vector: "+".join(map(ascii, vector["paths"])))
def test_of_files_that_clash_on_some_system_the_first_stays(vector: dict[str, Any]) -> None:
    assert sorted(tree_problems(vector["paths"])) == vector["left_out"]
    assert sorted(tree_problems(reversed(vector["paths"]))) == vector["left_out"]


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from("aAbß/İ."), min_size=1, max_size=5), unique=True, max_size=8))
def test_what_is_left_of_a_tree_has_no_two_names_for_one_file(names: list[str]) -> None:
    kept = set(names) - set(tree_problems(names))
    keys = [collision_key(path) for path in kept]
    assert len(set(keys)) == len(keys)
    folders = {key[:at] for key in keys for at in range(len(key)) if key[at] == "/"}
    assert not folders & set(keys)


def test_an_unlistable_path_of_a_tree_is_named_with_its_reason() -> None:
    assert tree_problems(["ok.md", "bad\n.md", ".GIT/hooks/x"]) == {
        "bad\n.md": "it holds a control character",
        ".GIT/hooks/x": ".GIT is a reserved name on some system, or an alias of one",
    }


def test_a_path_given_twice_is_a_clash() -> None:
    assert tree_problems(["a", "a"]) == {"a": "listed twice"}


@pytest.mark.parametrize(
    "path",
    [
        ".vscode/tasks.json",
        "sub/.MCP.json",
        "a/.husky/pre-commit",
        ".claude/settings.local.json",
        ".envrc",
        "x/.hg/hgrc",
        "team.code-workspace",
        ".devcontainer/devcontainer.json",
        ".github/workflows/ci.yml",
        "a/b/.Cursor/Hooks/x.sh",
        ".gitlab-ci.yml",
        ".cargo/config.toml",
    ],
)
def test_a_file_that_tools_run_on_their_own_is_known(path: str) -> None:
    assert executed_by_tools(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "tasks.json",
        "docs/mcp.json",
        ".claude/CLAUDE.md",
        ".cursor/rules/a.mdc",
        "Makefile",
        ".github/prompts/a.md",
    ],
)
def test_a_file_that_is_only_read_is_not_held_back(path: str) -> None:
    assert not executed_by_tools(path)


def test_the_guide_lists_every_file_that_waits_for_trust() -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/safe-folder.md").read_text()
    missing = [
        name for name in (*paths.EXECUTED_FILES, *paths.EXECUTED_FOLDERS) if f"`{name.lstrip('/')}`" not in guide
    ]
    assert missing == []


@settings(max_examples=200)
@given(st.lists(st.text(st.sampled_from("aA-/ ."), min_size=1, max_size=6), max_size=8))
def test_what_stays_of_a_tree_is_what_clashes_with_nothing_that_stays_before_it(names: list[str]) -> None:
    def clash(one: str, other: str) -> bool:
        one, other = collision_key(one) + "/", collision_key(other) + "/"
        return one.startswith(other) or other.startswith(one)

    kept: list[str] = []
    left_out = set()
    for path in sorted(names):
        if path_problem(path) is not None or any(clash(path, other) for other in kept):
            left_out.add(path)
        else:
            kept.append(path)
    assert list(tree_problems(names)) == sorted(left_out)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("extra", [[], ["0"]])
def test_paths_of_hundreds_of_folders_take_no_more_memory_than_they_are_long(extra: list[str]) -> None:
    deep = [f"{n}/{'a/' * 500}x" for n in range(1_000)]
    tracemalloc.start()
    try:
        assert list(tree_problems([*deep, *extra])) == [path for path in deep if path.startswith("0/")][: len(extra)]
        assert tracemalloc.get_traced_memory()[1] < 8 * sum(map(len, deep))  # 280 times as much with all the folders
    finally:
        tracemalloc.stop()


def test_24000_paths_are_checked_in_far_less_than_a_second() -> None:
    many = [f"docs/area-{n % 97}/feature-{n % 1013}/document-{n}.md" for n in range(24_000)]
    started = time.process_time()
    assert not tree_problems(many)
    assert time.process_time() - started < 1.0  # 0.1 s measured; the bound is for slow machines
