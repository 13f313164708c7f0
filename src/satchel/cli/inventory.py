"""What belongs to a folder and what does not, in the words of ``init`` and ``doctor``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from satchel.cli.face import plural
from satchel.worktree.walk import Scan

_MANY = {
    "spec": "specs", "plan": "plans", "decision": "decisions", "perspective": "perspectives", "journal": "journals",
    "handoff": "handoffs", "digest": "digests", "prompt": "prompts", "note": "notes", "instructions": "agent files",
    "tasks": "task lists", "context": "manifests", "operations": "operations documents",
    "architecture": "architecture documents", "other": "others",
}  # fmt: skip
_ONE = {
    "instructions": "agent file", "tasks": "task list", "context": "manifest", "operations": "operations document",
    "architecture": "architecture document", "other": "other",
}  # fmt: skip
_REASONS = {
    "too-large": "over the size limit",
    "bad-name": "with names not every system can keep",
    "symlink": "symbolic link",
    "special": "special file",
    "unreadable": "unreadable",
    "vanished": "vanished",
    "unsettled": "changing",
    "too-many-files": "beyond the limit of files",
    "binary": "binary",
    "not-utf8": "not UTF-8",
    "data-too-large": "large data file",
    "format": "of another format",
}


def counted_kinds(kinds: Mapping[str, int]) -> str:
    """``61 specs, 12 decisions, 2 agent files``, the most frequent first."""
    ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(plural(count, _ONE.get(kind, kind), _MANY.get(kind, kind)) for kind, count in ranked if count)


def left_out_reasons(scan: Scan) -> list[str]:
    """``3 binary (kept, not searchable)``, ``1 over the size limit``."""
    out = Counter(item.reason for item in scan.left_out)
    unindexed = Counter(item.reason for item in scan.not_indexed)
    said = [f"{count:,} {_REASONS.get(reason, reason)}" for reason, count in sorted(out.items())]
    return said + [
        f"{count:,} {_REASONS.get(reason, reason)} (kept, not searched)" for reason, count in sorted(unindexed.items())
    ]
