"""What belongs to a folder and what does not, in the words of ``init`` and ``doctor``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from satchel.cli.face import plural
from satchel.worktree.walk import LeftOut

_MANY = {
    "spec": "specs", "plan": "plans", "decision": "decisions", "perspective": "perspectives", "journal": "journals",
    "handoff": "handoffs", "digest": "digests", "prompt": "prompts", "note": "notes", "instructions": "agent files",
    "tasks": "task lists", "context": "manifests", "operations": "operations documents",
    "architecture": "architecture documents", "other": "other files",
}  # fmt: skip
_ONE = {
    "instructions": "agent file", "tasks": "task list", "context": "manifest", "operations": "operations document",
    "architecture": "architecture document", "other": "other file",
}  # fmt: skip
_REASONS = {
    "too-large": "over the size limit",
    "bad-name": "with names not every system can keep",
    "symlink": "symbolic links",
    "special": "special files",
    "unreadable": "unreadable",
    "vanished": "vanished",
    "unsettled": "changing",
    "too-many-files": "beyond the limit of files",
    "too-many-rules": "with too many ignore rules",
    "binary": "binaries",
    "not-utf8": "not UTF-8",
    "data-too-large": "large data files",
    "format": "of another format",
}
_ONE_REASON = {
    "bad-name": "with a name not every system can keep",
    "symlink": "symbolic link",
    "special": "special file",
    "binary": "binary",
    "data-too-large": "large data file",
}


def counted_kinds(kinds: Mapping[str, int]) -> str:
    """``61 specs, 12 decisions, 2 agent files``, the most frequent first."""
    ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(plural(count, _ONE.get(kind, kind), _MANY.get(kind, kind)) for kind, count in ranked if count)


def reasons(items: Sequence[LeftOut]) -> list[str]:
    """``3 binaries``, ``1 over the size limit``."""
    counted = Counter(item.reason for item in items)
    return [
        f"{count:,} {(_ONE_REASON.get(reason) if count == 1 else None) or _REASONS.get(reason, reason)}"
        for reason, count in sorted(counted.items())
    ]
