from __future__ import annotations

import pytest

from satchel.documents import MAX_DATA_BYTES
from satchel.documents.kinds import KINDS, format_of, indexable, kind_of_path, kind_of_value, suffix_of


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("context.json", "context"),
        ("sub/context.json", "other"),
        ("AGENTS.md", "instructions"),
        ("pkg/CLAUDE.md", "instructions"),
        (".cursor/rules/style.mdc", "instructions"),
        (".cursorrules", "instructions"),
        (".github/copilot-instructions.md", "instructions"),
        (".claude/commands/review.md", "prompt"),
        ("prompts/triage.md", "prompt"),
        ("specs/001-login/spec.md", "spec"),
        ("specs/001-login/plan.md", "plan"),
        ("specs/001-login/tasks.md", "tasks"),
        ("keps/sig-node/1287-resize/README.md", "spec"),
        ("keps/sig-node/1287-resize/kep.yaml", "spec"),
        ("specification/logs/sdk.md", "spec"),
        ("docs/adr/0007-queue.md", "decision"),
        ("docs/adr-0007-queue.md", "decision"),
        ("docs/architecture.md", "architecture"),
        ("design/storage.md", "architecture"),
        ("docs/specs/decisions/a.md", "decision"),
        ("runbooks/rollback.md", "operations"),
        ("perspectives/security.md", "perspective"),
        ("journal/2026-01-02.md", "journal"),
        ("2026-01-02-what-happened.md", "journal"),
        ("CHANGELOG.md", "journal"),
        ("handoffs/to-ops.md", "handoff"),
        ("digests/week-3.md", "digest"),
        ("TODO.md", "tasks"),
        ("docs/guide.md", "note"),
        ("README.md", "note"),
        ("data/x.yaml", "other"),
        ("specs/picture.png", "other"),
        ("src/main.py", "other"),
        ("Makefile", "other"),
    ],
)
def test_the_kind_of_a_path(path: str, kind: str) -> None:
    assert kind in KINDS
    assert kind_of_path(path) == kind


def test_a_value_names_a_kind_by_itself_or_by_an_alias() -> None:
    values = ("decision", " ADR ", "user_stories", "guide", 3, None, "hand off")
    assert [kind_of_value(value) for value in values] == ["decision", "decision", "spec", None, None, None, "handoff"]


@pytest.mark.parametrize(
    ("path", "suffix", "known"),
    [
        ("a/B.MD", ".md", "markdown"),
        ("a.tar.gz", ".gz", None),
        (".env", "", None),
        (".clinerules", "", "markdown"),
        (".clinerules/a.txt", ".txt", "text"),
        ("a.b/c", "", None),
        ("x.toml", ".toml", "toml"),
    ],
)
def test_the_format_goes_by_the_suffix(path: str, suffix: str, known: str | None) -> None:
    assert (suffix_of(path), format_of(path)) == (suffix, known)


def test_data_is_indexed_up_to_a_limit_and_prose_at_any_size() -> None:
    assert indexable("a.json", MAX_DATA_BYTES)
    assert not indexable("a.json", MAX_DATA_BYTES + 1)
    assert indexable("a.md", 100 * MAX_DATA_BYTES)
    assert not indexable("a.py", 10)
