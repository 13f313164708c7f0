from __future__ import annotations

from satchel.worktree.ignore import Root, Rules
from satchel.worktree.include import propose_include


def test_a_folder_of_documents_is_taken_whole() -> None:
    assert propose_include(["a.md", "b.md", "tools/x.py"]) is None
    assert propose_include([f"{number}.py" for number in range(5)]) is None
    assert propose_include([f"{number}.md" for number in range(30)] + [f"{number}.py" for number in range(20)]) is None


def test_of_a_folder_of_source_code_the_documents_are_proposed() -> None:
    code = [f"src/{number}.py" for number in range(40)]
    documents = [
        "README.md",
        "AGENTS.md",
        ".cursor/rules/x.mdc",
        ".cursorrules",
        "docs/a.md",
        "docs/a.png",
        "src/notes.md",
        "context.json",
    ]
    spoilt = ["specs/a.md", "specs/build.py", "requirements/base.txt"]
    patterns = propose_include([*code, *documents, *spoilt])
    assert patterns is not None
    assert "/docs/" in patterns
    assert "/specs/" not in patterns
    root = Root(Rules(include=tuple(patterns)), b"")
    kept = [path for path in [*code, *documents, *spoilt] if root.includes(path)]
    assert kept == [*documents, "specs/a.md"]
