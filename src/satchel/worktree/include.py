"""What to take of a folder that is mainly source code: its documents, and the files that instruct agents.

The list goes into ``config.toml`` as ``include``, where a person reads, widens or empties it.
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.documents import MANIFEST_PATH
from satchel.documents.kinds import DATA, format_of, is_instructions, kind_of_path, suffix_of
from satchel.objects.reviews import REVIEWED_PATH

LEAST_SOURCE_FILES = 10
"""A folder with fewer files of code takes everything."""

_SOURCE = frozenset(
    (
        *(".py", ".pyi", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".vue", ".svelte", ".go", ".rs", ".java", ".kt"),
        *(".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cs", ".fs", ".swift", ".m", ".mm", ".scala", ".clj", ".ex"),
        *(".exs", ".erl", ".hs", ".ml", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".dart", ".zig", ".nim", ".sh"),
        *(".bash", ".ps1", ".sql", ".css", ".scss", ".less", ".proto", ".tf", ".sol", ".asm", ".s", ".v", ".vhd"),
        *(".groovy", ".gradle", ".cmake", ".bzl", ".f90", ".pas", ".d", ".el", ".lisp", ".vim"),
    )
)
_PROSE = ("*.md", "*.markdown", "*.mdx", "*.rst", "*.adoc", "*.org")
_AGENTS = (
    *(".cursorrules", ".windsurfrules", ".clinerules", ".goosehints", ".cursor/rules/", ".windsurf/rules/"),
    *(".github/instructions/", ".github/prompts/", ".kiro/steering/"),
)
_DOCUMENT_FOLDERS = frozenset(("doc", "docs", "documentation", "wiki", "notes", "handbook"))


def propose_include(paths: Iterable[str]) -> list[str] | None:
    """An ``include`` list for a folder holding those files, or ``None`` where everything may be taken.

    Mainly source code: at least ``LEAST_SOURCE_FILES`` files of code, and more of them than documents.
    """
    paths = list(paths)
    source = sum(suffix_of(path) in _SOURCE for path in paths)
    prose = sum(_is_document(path) for path in paths)
    if source < LEAST_SOURCE_FILES or source <= prose:
        return None
    return [*_PROSE, f"/{MANIFEST_PATH}", f"/{REVIEWED_PATH}", *_AGENTS, *_folders(paths)]


def _is_document(path: str) -> bool:
    return is_instructions(path) or format_of(path) not in (None, *DATA.values())


def _folders(paths: list[str]) -> list[str]:
    """Folders near the top that hold documents and no code: taken whole, pictures and data included."""
    taken: set[str] = set()
    spoilt: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        for depth in (1, 2):
            folder = "/".join(parts[:depth])
            if len(parts) < depth or not _holds_documents(folder):
                continue
            if suffix_of(path) in _SOURCE:
                spoilt.add(folder)
            elif f"*{suffix_of(path)}" in _PROSE:
                taken.add(folder)
    chosen = sorted(taken - spoilt)
    return [f"/{folder}/" for folder in chosen if folder.rpartition("/")[0] not in chosen]


def _holds_documents(folder: str) -> bool:
    name = folder.rpartition("/")[2].lower()
    return name in _DOCUMENT_FOLDERS or kind_of_path(f"{folder}/x.md") not in (
        "note",
        "other",
        "instructions",
        "prompt",
    )
