from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from satchel.worktree.ignore import MAX_RULES, Level, Patterns, Root, Rules, lines_of
from satchel.worktree.walk import Worktree

_PARTS = [
    "a",
    "b",
    "foo",
    "bar",
    "x.md",
    "y.txt",
    "*.md",
    "*",
    "**",
    "?",
    "fo*",
    "[ab]",
    "[!a]",
    "!x",
    "\\#z",
    ".h",
    "a b",
]
_NAMES = ["a", "b", "foo", "bar", "x.md", "y.txt", "!x", "#z", ".h", "ab", "a b"]


def _pattern(chance: random.Random) -> str:
    pattern = "/".join(chance.choice(_PARTS) for _ in range(chance.choice([1, 1, 1, 2, 2, 3])))
    pattern = ("/" if chance.random() < 0.25 else "") + pattern + chance.choice(["", "", "", "/", "/**", "/**/"])
    return ("!" if chance.random() < 0.3 else "") + pattern


def _folder(chance: random.Random, root: Path) -> dict[str, str]:
    """A random folder with ignore files in it; the text of each by path."""
    for _ in range(14):
        path = root.joinpath(*(chance.choice(_NAMES) for _ in range(chance.choice([1, 2, 2, 3, 4]))))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        except OSError:
            continue  # a file stands where a folder should
    texts = {}
    for folder in ("", "foo", "a", "b"):
        if (root / folder).is_dir() and (not folder or chance.random() < 0.5):
            lines = [_pattern(chance) for _ in range(chance.choice([1, 2, 3, 4]))]
            texts[f"{folder}/.gitignore".lstrip("/")] = chance.choice(["\n", "\r\n"]).join([*lines, "# end", ""])
    for name, text in texts.items():
        (root / name).write_bytes(text.encode())
    return texts


@pytest.mark.parametrize("block", range(5))
def test_git_leaves_out_the_same_files(tmp_path: Path, block: int) -> None:
    """40 random folders with random ignore files, against `git ls-files`."""
    for seed in range(block * 8, block * 8 + 8):
        root = tmp_path / str(seed)
        root.mkdir()
        texts = _folder(random.Random(seed), root)
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        command = ["git", "-C", str(root), "ls-files", "-o", "-z", "--exclude-standard"]
        listed = subprocess.run(
            command, capture_output=True, check=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        )
        wanted = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
        files, left_out = Worktree.open(root).survey()
        assert set(files) == wanted, (seed, texts)
        assert left_out == []


def admitted(rules: Rules, *paths: str, gitignore: str = "", satchelignore: str = "", info: str = "") -> list[str]:
    level = Level(Root(rules, info.encode()), "", satchelignore.encode(), gitignore.encode())
    kept = []
    for path in paths:
        parts = path.split("/")
        around = ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts))]
        if not any(level.leaves_out(folder) for folder in around) and not level.leaves_out(path):
            kept.append(path)
    return kept


def test_satchelignore_wins_over_gitignore_at_its_level() -> None:
    assert admitted(Rules(), "a.log", "b.log", gitignore="*.log", satchelignore="!a.log") == ["a.log"]
    assert admitted(Rules(), "a.md", gitignore="!a.md", satchelignore="a.md") == []


def test_a_deeper_ignore_file_wins_over_the_outer_one() -> None:
    outer = Level(Root(Rules(), b""), "", b"", b"*.log")
    inner = Level(outer, "sub", b"", b"!keep.log")
    assert not inner.leaves_out("sub/keep.log")
    assert inner.leaves_out("sub/other.log")
    assert inner.leaves_out("sub/deep/other.log")


def test_what_nobody_means_to_keep_is_left_out_unless_it_is_asked_for() -> None:
    paths = ("node_modules/x/readme.md", ".venv/a.txt", ".env", ".env.example", "id_rsa", "a.md~", "README.md")
    assert admitted(Rules(), *paths) == [".env.example", "README.md"]
    assert admitted(Rules(), *paths, satchelignore="!.env")[0] == ".env"
    assert admitted(Rules(include=("node_modules/x/", "*.md")), *paths) == ["node_modules/x/readme.md", "README.md"]


def test_include_admits_only_what_it_matches_and_folders_whole() -> None:
    rules = Rules(include=("*.md", "/docs/", "!secret.md"))
    paths = ("a.md", "src/b.md", "docs/c.png", "sub/docs/d.png", "secret.md", "e.py")
    assert admitted(rules, *paths) == ["a.md", "src/b.md", "docs/c.png"]
    assert admitted(rules, *paths, gitignore="src/") == ["a.md", "docs/c.png"]


def test_exclude_is_stronger_than_everything() -> None:
    rules = Rules(include=("*.md",), exclude=("drafts/", "x.md"))
    assert admitted(rules, "x.md", "a.md", "drafts/b.md", satchelignore="!x.md\n!drafts/") == ["a.md"]


def test_a_pattern_is_about_the_entry_and_not_about_what_is_in_it() -> None:
    """Nothing below a folder is asked about once it is left out, so only a pattern that takes back could go wrong."""
    patterns = Patterns(["*.md", "!docs/a", "/b/*"])
    paths = ("docs/a/x.md", "docs/a.md", "docs/a", "docs/a/", "b/", "b/c", "b/c/d")
    assert [patterns.verdict(path) for path in paths] == [True, True, False, False, None, True, None]


def test_the_private_excludes_of_git_are_read() -> None:
    assert admitted(Rules(), "mine.md", "a.md", info="mine.md") == ["a.md"]
    assert admitted(Rules(), "mine.md", info="mine.md", gitignore="!mine.md") == ["mine.md"]


@pytest.mark.parametrize("line", ["[", "[z-a]", "\\", "a[", "!", "/", "//", "***", "\udcff*", "x" * 10_000, "(", "a{1"])
def test_a_line_that_makes_no_pattern_is_harmless(line: str) -> None:
    patterns = Patterns([line, "a.md"])
    assert patterns.verdict("a.md") is True
    assert patterns.verdict("b.md") in (None, True)


def test_any_bytes_make_lines() -> None:
    assert lines_of(b"\xef\xbb\xbfa\r\nb\n\xff") == ["a", "b", "\udcff"]


def test_equal_rules_have_equal_chains_and_other_rules_others() -> None:
    def chain(rules: Rules, text: bytes) -> bytes:
        return Level(Root(rules, b""), "sub", b"", text).chain

    assert chain(Rules(), b"x") == chain(Rules(max_file_bytes=1), b"x")
    assert (
        len(
            {
                chain(Rules(), b"x"),
                chain(Rules(), b"y"),
                chain(Rules(("*.md",)), b"x"),
                chain(Rules((), ("*.md",)), b"x"),
            }
        )
        == 4
    )


@pytest.mark.promise("P8")
def test_a_pattern_of_many_stars_takes_no_time_that_grows_with_their_number() -> None:
    began = time.perf_counter()
    assert Patterns(["*a" * 20 + "*b"]).verdict("a" * 250) is None
    assert Patterns(["*a" * 20 + "*b"]).verdict("a" * 250 + "b") is True
    assert Patterns(["x/*a*[ab]*\\*?*b"]).verdict("x/aab*cb") is True
    assert time.perf_counter() - began < 2


@pytest.mark.promise("P8")
def test_a_pattern_of_many_double_stars_takes_no_time_that_grows_with_their_number() -> None:
    began = time.perf_counter()
    patterns = Patterns(["**/a/" * 15 + "b"])
    assert patterns.verdict("a/" * 60 + "c") is None
    assert patterns.verdict("a/" * 60 + "b") is True
    assert patterns.verdict("x/a/" * 15 + "b") is True
    assert patterns.verdict("a/" * 14 + "b") is None
    assert Patterns(["**/a/**/b/**/c"]).verdict("ab/a/bc/b/x/c") is True
    assert time.perf_counter() - began < 2


@pytest.mark.promise("P8")
@pytest.mark.parametrize("line", ["*x{0}*.m?d", "a{0}/*/b*", "z" * 5_000 + "{0}*"])
def test_a_folder_with_too_many_rules_is_left_out_whole_and_in_no_time(tmp_path: Path, line: str) -> None:
    """Its rules are not read in part: what is behind the limit could be the rule for a secret."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/.gitignore").write_text("".join(line.format(index) + "\n" for index in range(40_000)))
    (tmp_path / "sub/secret.md").write_text("x")
    (tmp_path / "a.md").write_text("x")
    began = time.perf_counter()
    scan = Worktree.open(tmp_path).scan()
    assert time.perf_counter() - began < 2
    assert list(scan.tree) == ["a.md"]
    assert [(item.path, item.reason) for item in scan.left_out] == [("sub", "too-many-rules")]
    assert scan.may_exist("sub/secret.md")
    assert not scan.may_exist("b.md")
    (tmp_path / ".gitignore").write_text("x\n" * (MAX_RULES + 1))
    scan = Worktree.open(tmp_path).scan()
    assert not scan.tree
    assert scan.may_exist("a.md")


@pytest.mark.promise("P8")
def test_many_ignore_files_share_one_limit(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".gitignore").write_text("# rules\n\n" + "x\n" * (MAX_RULES // 2))
        (tmp_path / name / "n.md").write_text("x")
    scan = Worktree.open(tmp_path).scan()
    assert [path for path in scan.tree if path.endswith(".md")] == ["a/n.md", "b/n.md"]
    assert [item.path for item in scan.left_out] == ["c"]
