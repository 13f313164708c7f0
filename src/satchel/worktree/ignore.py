"""Which files of a folder belong to the project: the patterns of git at every level, then the project's own lists.

Strongest first: version control's and Satchel's own folders never belong; ``exclude`` of ``config.toml``; per
folder, the deeper before the outer, ``.satchelignore`` before ``.gitignore``; ``.git/info/exclude``; a list of what
nobody means to keep (``DEFAULTS``). Of the rest, an ``include`` list admits only what it matches. As with git,
nothing below a folder that is left out comes back.

``pathspec`` translates patterns and is imported when the first one is needed, which is when a name is new.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

NEVER = frozenset(
    (".git", ".hg", ".svn", ".bzr", ".jj", ".sl", ".pijul", "_darcs", "CVS", ".satchel"),
)
"""Names of folders (and files: a worktree's ``.git``) that never belong."""
GITIGNORE = ".gitignore"
SATCHELIGNORE = ".satchelignore"
MAX_IGNORE_BYTES = 1024 * 1024
"""More of an ignore file is not read."""
MAX_RULES = 4_000
"""Rules of all ignore files of a project together, a line counting once per ``RULE_CHARACTERS``. Translating one takes
0.3 ms and asking it about a name 0.3 us: 40,000 took 13 s before the first name."""
RULE_CHARACTERS = 256

# Left out unless an ignore file takes them back (`!.venv/`) or `include` names them: what tools download, build or
# cache, what editors leave behind, and what usually holds secrets.
DEFAULTS = (
    *("node_modules/", "bower_components/", "site-packages/", ".venv/", "venv/", "virtualenv/", ".tox/", ".nox/"),
    *("__pycache__/", "*.py[cod]", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".hypothesis/", ".eggs/"),
    *(".cache/", ".gradle/", ".terraform/", ".next/", ".nuxt/", ".turbo/", ".parcel-cache/", ".svelte-kit/"),
    *(".direnv/", ".pixi/", ".ipynb_checkpoints/", ".idea/", ".vs/", ".yarn/cache/", ".bundle/", ".obsidian/cache"),
    *(".DS_Store", "Thumbs.db", "desktop.ini", "*.swp", "*.swo", "*~", ".#*", ".satchel-tmp-*"),
    *(".env", ".env.*", "!.env.example", "!.env.sample", "!.env.template", "*.pem", "*.key", "*.p12", "*.pfx"),
    *("id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".npmrc", ".pypirc", ".htpasswd", "*.kdbx"),
)
VERSION = b"1"
"""Changes whenever equal rules would decide otherwise, so that remembered decisions are made anew."""


class Rules(NamedTuple):
    """What a project's ``config.toml`` says about membership."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_file_bytes: int = 8 * 1024 * 1024


class _Rule(NamedTuple):
    regex: re.Pattern[str]
    of_name: bool
    """Matched against the last part of the path alone, which is what a pattern without a slash in it means."""
    matched: bool
    """What a match says: False for a pattern after ``!``."""


class Patterns:
    """The lines of one ignore file. ``verdict`` looks at the entry itself, not at the folders above it."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Blank lines, comments and what git would not understand are dropped."""
        self._rules = [rule for line in lines if (rule := _translate(line)) is not None]
        # Two expressions to say "none of them", in a fraction of the time of asking each.
        self._any_name = _any_of(rule for rule in self._rules if rule.of_name)
        self._any_path = _any_of(rule for rule in self._rules if not rule.of_name)

    def verdict(self, path: str) -> bool | None:
        """True: matched; False: taken back by ``!``; None: no pattern matches.

        ``path`` is relative to the ignore file; a folder's ends with ``/``.
        """
        name = path[path.rfind("/", 0, -1) + 1 :]
        by_name = self._any_name is not None and self._any_name(name) is not None
        if not by_name and (self._any_path is None or self._any_path(path) is None):
            return None
        for rule in reversed(self._rules):
            subject = name if rule.of_name else path
            match = rule.regex.match(subject)
            # `a/foo` also matches `a/foo/bar`, up to the slash; here only what reaches the end counts.
            if match and (match.end() == len(subject) or rule.regex.pattern == "."):
                return rule.matched
        return None


class Level:
    """The rules in force in a folder: those of its ignore files, then those of the levels around it."""

    def __init__(self, above: Level | Root, folder: str, satchelignore: bytes, gitignore: bytes) -> None:
        self._above = above
        self._prefix = len(folder) + 1 if folder else 0
        self._texts = (satchelignore, gitignore)
        parts = (above.chain, folder.encode("utf-8", "surrogateescape"), satchelignore, gitignore)
        self.chain: bytes = _fingerprint(parts)

    def leaves_out(self, path: str) -> bool:
        """Whether that entry (a folder ends with ``/``) does not belong."""
        return self._above.root.excludes(path) or self._ignores(path)

    @property
    def root(self) -> Root:
        return self._above.root

    def _ignores(self, path: str) -> bool:
        relative = path[self._prefix :]
        for patterns in self._patterns:
            verdict = patterns.verdict(relative)
            if verdict is not None:
                # An `include` list still decides about a file that was taken back.
                return verdict or not self.root.includes(path)
        return self._above._ignores(path)

    @cached_property
    def _patterns(self) -> Sequence[Patterns]:
        return [Patterns(lines_of(text)) for text in self._texts if text]


class Root:
    """The rules around all folders: the project's lists, git's private excludes, the defaults."""

    def __init__(self, rules: Rules, info_exclude: bytes) -> None:
        self._rules = rules
        self._info_exclude = info_exclude
        self._room = MAX_RULES - rules_in(info_exclude)
        lists = (repr(rules.include), repr(rules.exclude), repr(DEFAULTS))
        self.chain: bytes = _fingerprint(
            (VERSION, info_exclude, *(text.encode("utf-8", "surrogatepass") for text in lists))
        )

    @property
    def root(self) -> Root:
        return self

    def has_room(self, *texts: bytes) -> bool:
        """Count the rules of a folder's ignore files; False where they would be over ``MAX_RULES`` with all so far."""
        needed = sum(map(rules_in, texts))
        if needed > self._room:
            return False
        self._room -= needed
        return True

    def leaves_out(self, path: str) -> bool:
        return self.excludes(path) or self._ignores(path)

    def excludes(self, path: str) -> bool:
        return bool(self._rules.exclude) and self._exclude.verdict(path) is True

    def includes(self, path: str) -> bool:
        """Whether ``include`` admits a file, by itself or by a folder around it. Folders are always looked into."""
        if not self._rules.include or path.endswith("/"):
            return True
        while path:
            verdict = self._include.verdict(path)
            if verdict is not None:
                return verdict
            above = path.rstrip("/").rpartition("/")[0]
            path = above + "/" if above else ""
        return False

    def _ignores(self, path: str) -> bool:
        verdict = self._info.verdict(path) if self._info_exclude else None
        if verdict is None:
            verdict = self._defaults.verdict(path) is True and not self._named_by_include(path)
        return verdict or not self.includes(path)

    def _named_by_include(self, path: str) -> bool:
        plain = path.rstrip("/")
        return any((item.lstrip("/") + "/").startswith(plain + "/") for item in self._rules.include)

    @cached_property
    def _exclude(self) -> Patterns:
        return Patterns(self._rules.exclude)

    @cached_property
    def _include(self) -> Patterns:
        return Patterns(self._rules.include)

    @cached_property
    def _info(self) -> Patterns:
        return Patterns(lines_of(self._info_exclude))

    @cached_property
    def _defaults(self) -> Patterns:
        return Patterns(DEFAULTS)


def lines_of(text: bytes) -> list[str]:
    """The lines of an ignore file as git reads them: any bytes, no byte order mark, LF or CRLF."""
    decoded = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in decoded.split("\n")]


def rules_in(text: bytes) -> int:
    """What the lines of an ignore file count against ``MAX_RULES``."""
    lines = (line for line in text.split(b"\n") if line.strip() and not line.startswith(b"#"))
    return sum(1 + len(line) // RULE_CHARACTERS for line in lines)


def _translate(line: str) -> _Rule | None:
    from pathspec.patterns.gitignore import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    pattern = _about_itself(line)
    body = pattern.removeprefix("!")
    of_name = "/" not in body[:-1] and body[:1] not in ("", "#", "/")
    if of_name:
        pattern = ("!" if pattern.startswith("!") else "") + "/" + body
    try:
        source, matched = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    except (GitIgnorePatternError, ValueError):
        return None
    if source is None or matched is None:
        return None
    try:
        return _Rule(re.compile(_settled(_PIECE.sub(_without_return, source))), of_name, matched)
    except re.error:
        return None


# What a translation has for a part of a path: characters, escapes, classes and stars, between slashes and groups.
_STAR = "[^/]*"
_PIECE = re.compile(r"(?:\[\^/\]\*|\\.|\[\^?\]?(?:\\.|[^\]\\])*\](?!\*)|[^][()/\\*+?|^$.{}])+")


def _without_return(piece: re.Match[str]) -> str:
    """The same piece, with every star but the last settled at the first place where what follows it fits.

    Trying the others can never help, and a name of 250 letters has billions of them for ``*a*a*a*a*a*b``.
    """
    first, *between = piece[0].split(_STAR)
    if len(between) < 2:
        return piece[0]
    *middle, last = between
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + _STAR + last


# What a translation has for `**/` at the beginning and for `/**` between parts; a slash is nowhere inside a class.
_GAP = re.compile(r"(\(\?:\.\+/\)\?|\(\?:/\.\+\)\?)")


def _settled(source: str) -> str:
    """The same translation, with every ``**`` but the last settled at the first place where what follows it fits.

    What follows is a fixed number of whole parts, so that a later place can never help; trying them all took hours for
    ``**/a/**/a/...`` and a deep path.
    """
    first, *rest = _GAP.split(source)
    gaps, fixed = rest[::2], rest[1::2]
    if len(gaps) < 2:
        return source
    lazy = [gap.replace(".+", ".+?") + "?" for gap in gaps[:-1]]
    settled = "".join(f"(?>{gap}{part}(?=/))" for gap, part in zip(lazy, fixed, strict=False))
    return first + settled + gaps[-1] + fixed[-1]


def _any_of(rules: Iterable[_Rule]) -> Callable[[str], re.Match[str] | None] | None:
    # The translations name a group, and a name may stand only once in an expression.
    joined = "|".join(f"(?:{rule.regex.pattern.replace('(?P<ps_d>', '(?:')})" for rule in rules)
    return re.compile(joined).match if joined else None


def _about_itself(line: str) -> str:
    """The pattern rewritten where its translation would match an entry because of a folder above it."""
    pattern = line.rstrip() if not line.rstrip().endswith("\\") else line
    sign = "!" if pattern.startswith("!") else ""
    parts = pattern.removeprefix("!").split("/")
    body = "/".join(part for at, part in enumerate(parts) if part != "**" or at == 0 or parts[at - 1] != "**")
    if body.lstrip("/") in ("**/", "**/*/") or body == "*/":
        return sign + "?*/"  # every folder
    if body == "/*/":
        return sign + "/?*/"
    if body.endswith("/**/"):
        return sign + body + "*/"  # every folder inside, not the folder itself
    if body.endswith("/**"):
        return sign + body + "/*"
    return sign + body


def _fingerprint(parts: Iterable[bytes]) -> bytes:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()[:16]
