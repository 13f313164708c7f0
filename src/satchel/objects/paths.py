"""Which paths a tree may hold: the one check of names, made on both sides of every sync.

A listable path means the same file on every system that may ever hold the tree, can be written below a folder without
leaving it, and never names what belongs to git or to Satchel itself. ``docs/spec/objects.md`` states the rules; they
depend on nothing but the string, and on Unicode 14.0 whatever Python runs them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from satchel.errors import PathRefused
from satchel.objects.unicode14 import is_assigned

MAX_PATH_BYTES = 1_024
MAX_NAME_BYTES = 255
"""Longest part of a path in UTF-8: what ext4, APFS and NTFS can all hold."""

# Names that mean something else on some filesystem, as a prefix of a part, in any case: `.git` and `.satchel`; their
# short names on FAT and NTFS (`git~1`, `satche~1`, and the hashed form `gi7eba~1`); the devices of Windows, with or
# without an extension.
_RESERVED = (
    r"(?:\.git|\.satchel)(?=/|\Z)"
    r"|(?:git|satc(?:he?)?|(?:gi|sa)[0-9a-f]{4})~[0-9]+(?=[./]|\Z)"
    r"|(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$)\ *(?=[./]|\Z)"
)
_RESERVED_NAME = re.compile(_RESERVED, re.IGNORECASE)

# Nearly every path, in lower case, matches this and is decided in one step: printable ASCII parts, none reserved, none
# ending in a dot or a space (which also excludes `.` and `..`), without the separators of Windows.
_INSIDE, _LAST = r"[ -.0-9;-\[\]-~]", r"[!-\-0-9;-\[\]-~]"
_PLAIN = re.compile(rf"(?:(?!{_RESERVED}){_INSIDE}*{_LAST}(?:/(?!\Z)|\Z))+")

# HFS+ ignores these when it compares names, so that `.g<U+200C>it` opens `.git` there.
_IGNORABLE = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF],
)
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_ENDS = frozenset("\u2028\u2029")

_known_good: set[str] = set()  # characters found acceptable so far; at most as many as Unicode 14.0 has


def path_problem(path: str) -> str | None:
    """Why ``path`` is not listable, in words for a person, or ``None`` when it is."""
    if len(path) <= MAX_NAME_BYTES and path.isascii() and _PLAIN.fullmatch(path.lower()) is not None:
        return None
    return _slow_problem(path)


def check_path(path: str) -> str:
    """Return ``path`` if it is listable; raises ``PathRefused`` saying why not."""
    problem = path_problem(path)
    if problem is not None:
        raise PathRefused(f"{_shown(path)} cannot be a path of a project: {problem}", path=_shown(path))
    return path


def tree_problems(paths: Iterable[str]) -> dict[str, str]:
    """The paths that cannot be in one tree, each with the reason; the others can be listed together.

    Of paths that clash, the first by code points stays and the later ones are named. Takes no more memory than the
    paths do, however many folders they name.
    """
    ordered = sorted(paths)
    problems = {path: problem for path in ordered if (problem := path_problem(path)) is not None}
    keys = [(_deep_key(path), path) for path in ordered if path not in problems]
    if all(not _inside(key, before) for before, key in pairwise(sorted([key for key, _ in keys]))):
        return problems
    clashes = _clashes(keys)
    return {path: problems.get(path) or clashes[path] for path in ordered if path in problems or path in clashes}


def as_listed(beginning: str) -> str:
    """The beginning of a path as trees have it: composed, which what a shell of macOS completes may not be, and without
    a ``./`` before it."""
    beginning = beginning.removeprefix("./")
    return beginning if beginning.isascii() else unicodedata.normalize("NFC", beginning)


def collision_key(path: str) -> str:
    """Equal for two paths that a case- or normalisation-insensitive filesystem holds to be one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _deep_key(path: str) -> str:
    """The collision key of a path in a form by which whatever lies in a folder comes next after the folder: no
    character of a listable path is before NUL."""
    return collision_key(path).replace("/", "\0")


def _inside(key: str, above: str) -> bool:
    """Whether ``key`` is that of the same file, or lies in it as if it were a folder."""
    return key.startswith(above) and key[len(above) : len(above) + 1] in ("", "\0")


def _clashes(keys: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The paths, each with its deep key, that clash with one before them that stays."""
    clashes: dict[str, str] = {}
    kept: list[str] = []  # sorted; as none of them is inside another, what a key clashes with is next to its place
    path_of: dict[str, str] = {}
    for key, path in keys:
        place = bisect_left(kept, key)
        before, after = kept[max(place - 1, 0) : place], kept[place : place + 1]
        if after == [key]:
            same = path_of[key]
            clashes[path] = "listed twice" if same == path else f"the same as {_shown(same)} where case does not count"
        elif after and _inside(after[0], key):
            clashes[path] = f"a file and also the folder of {_shown(path_of[after[0]])}"
        elif before and _inside(key, before[0]):
            clashes[path] = f"inside {_shown(path_of[before[0]])}, which is a file"
        else:
            kept.insert(place, key)
            path_of[key] = path
    return clashes


def _slow_problem(path: str) -> str | None:
    if not path:
        return "it is empty"
    if path[0] == "/":
        return "it is absolute"
    problem = None if path.isascii() and path.isprintable() else _character_problem(path)
    if problem is not None:
        return problem
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES:,} bytes"
    for name in path.split("/"):
        problem = _name_problem(name)
        if problem is not None:
            return problem
    return None


def _character_problem(path: str) -> str | None:
    for character in set(path) - _known_good:
        category = unicodedata.category(character)
        if category == "Cs":
            return "it is not valid UTF-8"
        if category == "Cc" or character in _LINE_ENDS:
            return "it holds a control character"
        if character in _BIDI:
            return "it holds a character that changes the direction of text"
        if not is_assigned(character):
            return f"it holds U+{ord(character):04X}, which Unicode 14.0 does not assign"
        _known_good.add(character)
    if not unicodedata.is_normalized("NFC", path):
        return "it is not in Unicode normal form C"
    return None


@lru_cache(maxsize=4_096)  # folders repeat
def _name_problem(name: str) -> str | None:
    if not name:
        return "it has an empty part"
    if name in {".", ".."}:
        return f"it has the part {name!r}"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"a part of it is longer than {MAX_NAME_BYTES} bytes"
    if "\\" in name or ":" in name:
        return "it holds a backslash or a colon, which separate on Windows"
    if name[-1] in ". ":
        return "a part of it ends in a dot or a space, which Windows drops"
    if _is_reserved(name):
        return f"{_shown(name)} is a reserved name on some system, or an alias of one"
    return None


def _is_reserved(name: str) -> bool:
    if _RESERVED_NAME.match(name) is not None:
        return True
    if name.isascii():
        return False
    bare = name.translate(_IGNORABLE).casefold().rstrip(". ")
    return not bare or _RESERVED_NAME.match(bare) is not None  # nothing left: HFS+ takes it for "", "." or ".."


def _shown(path: str) -> str:
    """A path made safe and short enough for a message."""
    text = ascii(path) if not path.isprintable() else path
    return text if len(text) <= 200 else text[:197] + "..."


# Files that some tool runs, or takes commands to run from, merely because they lie in a folder it opens. In lower
# case, matched at the end of a path; a trailing slash names a folder, with all that is inside. What a person has to
# start (a Makefile, `package.json`, `conftest.py`) is not here; what a push alone starts somewhere with credentials
# is. docs/guide/safe-folder.md lists them all.
EXECUTED_FILES = (
    "/.mcp.json",
    "/.envrc",
    "/.pre-commit-config.yaml",
    "/.exrc",
    "/.vimrc",
    "/.lvimrc",
    "/.nvimrc",
    "/.nvim.lua",
    "/.dir-locals.el",
    "/.devcontainer.json",
    "/.vscode/tasks.json",
    "/.vscode/launch.json",
    "/.vscode/settings.json",
    "/.vscode/mcp.json",
    "/.cursor/mcp.json",
    "/.cursor/hooks.json",
    "/.cursor/environment.json",
    "/.claude/settings.json",
    "/.claude/settings.local.json",
    "/.codex/config.toml",
    "/.gemini/settings.json",
    "/.roo/mcp.json",
    "/.windsurf/hooks.json",
    "/.zed/tasks.json",
    "/.zed/settings.json",
    "/.amazonq/mcp.json",
    "/.kiro/settings/mcp.json",
    "/.gdbinit",
    "/.lldbinit",
    "/.autoenv",
    "/.autoenv.zsh",
    "/.mise.toml",
    "/mise.toml",
    "/.cargo/config",
    "/.cargo/config.toml",
    "/.yarnrc",
    "/.yarnrc.yml",
    "/lefthook.yml",
    "/.lefthook.yml",
    "/.gitlab-ci.yml",
    "/opencode.json",
    "/opencode.jsonc",
    ".code-workspace",
)
EXECUTED_FOLDERS = (
    "/.claude/hooks/",
    "/.claude/plugins/",
    "/.cursor/hooks/",
    "/.gemini/extensions/",
    "/.kiro/hooks/",
    "/.github/actions/",
    "/.github/hooks/",
    "/.github/workflows/",
    "/.circleci/",
    "/.opencode/",
    "/.idea/",
    "/.devcontainer/",
    "/.husky/",
    "/.githooks/",
    "/.git-hooks/",
    "/.hg/",
    "/.svn/",
    "/.bzr/",
    "/.jj/",
    "/.direnv/",
)


def executed_by_tools(path: str) -> bool:
    """Whether a tool would run this file, or commands it names, on its own: it arrives only when trusted."""
    if "." not in path:
        return False
    text = f"/{collision_key(path)}"
    return text.endswith(EXECUTED_FILES) or any(folder in text for folder in EXECUTED_FOLDERS)
