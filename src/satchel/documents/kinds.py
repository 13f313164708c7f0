"""What kind of artifact a path is, by its name alone, and which files are documents that get indexed.

The rules, in order (``docs/spec/documents.md`` lists them): a front matter ``kind`` or ``type`` that names a kind
(or a known alias of one) wins; then the file's whole name; then its folders, the innermost first; then the first or
last word of the name; then a dated name; then ``note`` for prose and ``other`` for everything else.

Loads no parser: a scan asks about each file that changed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from satchel.documents import MANIFEST_PATH, MAX_DATA_BYTES
from satchel.errors import InvalidInput

KINDS = (
    "spec",
    "plan",
    "tasks",
    "architecture",
    "decision",
    "perspective",
    "operations",
    "journal",
    "handoff",
    "digest",
    "prompt",
    "note",
    "instructions",
    "context",
    "other",
)
PROSE = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".mdc": "markdown",  # rule files of Cursor
    ".rst": "rst",
    ".adoc": "asciidoc",
    ".org": "org",
    ".txt": "text",
}
DATA = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}

_INSTRUCTION_NAMES = frozenset(
    (
        *("agents.md", "agents.override.md", "agent.md", "claude.md", "claude.local.md", "gemini.md", "codex.md"),
        *("warp.md", "crush.md", "conventions.md", "copilot-instructions.md", "skill.md"),
        *(".cursorrules", ".windsurfrules", ".clinerules", ".roorules", ".goosehints", ".rules"),
    )
)
_INSTRUCTION_FOLDERS = re.compile(
    r"(?:^|/)(?:\.cursor/rules|\.windsurf/rules|\.clinerules|\.roo/rules[^/]*|\.github/instructions|\.claude/(?:agents|rules|skills)"
    r"|\.kiro/steering|\.amazonq/rules|\.continue/rules)/",
)
_PROMPT_FOLDERS = re.compile(r"(?:^|/)(?:\.claude/commands|\.cursor/commands|\.github/prompts|\.codex/prompts)/")

# Words that name a kind: as a front matter value, as a whole file name, or as the name of a folder.
_WORDS: dict[str, str] = {
    word: kind
    for kind, words in {
        "spec": "spec specs specification specifications requirement requirements prd prds rfc rfcs proposal proposals "
        "kep keps tep teps otep oteps pep peps user-stories",
        "plan": "plan plans roadmap roadmaps milestone milestones",
        "tasks": "task tasks todo todos to-do backlog backlogs",
        "architecture": "architecture architectures arch design designs system-design c4",
        "decision": "decision decisions adr adrs decision-record decision-records",
        "perspective": "perspective perspectives viewpoint viewpoints persona personas",
        "operations": "operations operation ops runbook runbooks playbook playbooks oncall on-call "
        "postmortem postmortems incident incidents deployment troubleshooting",
        "journal": "journal journals diary devlog worklog changelog meeting meetings standup standups minutes "
        "retro retros",
        "handoff": "handoff handoffs hand-off hand-offs handover handovers",
        "digest": "digest digests summaries weekly",
        "prompt": "prompt prompts",
        "note": "note notes memory memories scratch",
        "instructions": "instruction instructions rule rules",
    }.items()
    for word in words.split()
}
_FOLDER_WORDS = {word: kind for word, kind in _WORDS.items() if word not in ("changelog", "rule", "rules", "arch")}
_VALUES = {**_WORDS, **{kind: kind for kind in KINDS}}

# `2026-01-02-title.md`, `20260102.md`: dated prose is a journal unless something more telling says otherwise.
_DATED = re.compile(r"(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])(?:\D|\Z)")
# `spec-login`, `login.spec`, `adr-0007-queue`, `handoff_to_ops`: the first or the last word of a name, singular only.
_NAME_ENDS = re.compile(r"\A([a-z]+(?:-?off)?)[-_.]|[-_.]([a-z]+)\Z")
_NAME_WORDS = frozenset(
    [
        "spec",
        "prd",
        "rfc",
        "kep",
        "plan",
        "roadmap",
        "tasks",
        "todo",
        "backlog",
        "architecture",
        "adr",
        "perspective",
        "runbook",
        "playbook",
        "postmortem",
        "journal",
        "handoff",
        "hand-off",
        "handover",
        "digest",
        "prompt",
        "notes",
        "instructions",
    ]  # a table to read
)


def suffix_of(path: str) -> str:
    """The suffix of the last part, lowercase and with its dot; empty for ``Makefile`` and ``.env``."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def is_instructions(path: str) -> bool:
    """Whether the path is where a coding agent looks for its instructions."""
    return path.rpartition("/")[2].lower() in _INSTRUCTION_NAMES or _INSTRUCTION_FOLDERS.search(path) is not None


def format_of(path: str) -> str | None:
    """``markdown rst asciidoc org text yaml toml json``, or ``None`` for what is not a document by its name."""
    suffix = suffix_of(path)
    known = PROSE.get(suffix) or DATA.get(suffix)
    if known is None and is_instructions(path) and not suffix:
        return "markdown"  # `.cursorrules` and its like have no suffix
    return known


def indexable(path: str, size: int) -> bool:
    """Whether a file of that name and size is indexed if it turns out to be text."""
    known = format_of(path)
    return known is not None and (size <= MAX_DATA_BYTES or known not in DATA.values())


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8 without NUL."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def kind_of_value(value: object) -> str | None:
    """The kind a word names (of a front matter's ``kind`` or ``type``, of a question), or ``None``."""
    if not isinstance(value, str):
        return None
    return _VALUES.get(value.strip().lower().replace("_", "-").replace(" ", "-"))


def kind_named(value: str) -> str:
    """The kind that somebody asks for. Raises ``InvalidInput`` where there is none: to find nothing would say of the
    files what is so of the word."""
    kind = kind_of_value(value)
    if kind is None:
        raise InvalidInput(f"there is no kind {value[:60]!r}", hint=f"The kinds are {', '.join(KINDS)}.")
    return kind


def kind_of_path(path: str) -> str:
    """The kind by name: one of ``KINDS``."""
    if path == MANIFEST_PATH:
        return "context"
    folder, _, name = path.rpartition("/")
    known = format_of(path)
    if known is None:
        return "other"
    if _PROMPT_FOLDERS.search(path) or name.lower().endswith(".prompt.md"):
        return "prompt"
    if is_instructions(path):
        return "instructions"
    stem = name[: name.rfind(".")].lower() if "." in name[1:] else name.lower()
    prose = known not in DATA.values()
    return (
        _WORDS.get(stem.replace("_", "-"))
        or _kind_of_folder(folder)
        or (_kind_of_name(stem) if prose else None)
        or ("journal" if prose and _DATED.match(stem) else None)
        or ("note" if prose else "other")
    )


def _kind_of_name(stem: str) -> str | None:
    for match in _NAME_ENDS.finditer(stem):
        word = match[1] or match[2]
        if word in _NAME_WORDS:
            return _WORDS[word]
    return None


@lru_cache(maxsize=4_096)
def _kind_of_folder(folder: str) -> str | None:
    for part in reversed(folder.lower().split("/")):
        kind = _FOLDER_WORDS.get(part.lstrip(".").replace("_", "-"))
        if kind:
            return kind
    return None
