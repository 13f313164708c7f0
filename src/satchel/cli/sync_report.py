"""How a sync's report looks, for ``sync``, ``status`` and ``conflicts``, and its one JSON shape."""

from __future__ import annotations

from typing import Any

from satchel.cli.face import Face, plural, size
from satchel.sync.run import ChangedPath, ConflictPath, SyncReport

SHOWN_CHANGES = 20
"""Paths named per direction on a terminal; ``--json`` names all."""
_SIGNS = {"added": "+", "changed": "~", "deleted": "-"}
_COLOURS = {"added": "green", "changed": "yellow", "deleted": "red"}


def report_data(report: SyncReport) -> dict[str, Any]:
    """The report as JSON: camelCase, sizes in bytes."""
    return {
        "direction": report.direction.value,
        "dryRun": report.dry_run,
        "inStep": report.in_step,
        "lineage": report.lineage or None,
        "version": report.version,
        "digest": report.digest or None,
        "pushed": [change._asdict() for change in report.pushed],
        "pulled": [change._asdict() for change in report.pulled],
        "conflicts": [conflict._asdict() for conflict in report.conflicts],
        "untrusted": report.untrusted,
        "unsettled": report.unsettled,
        "waitingPush": report.waiting_push,
        "waitingPull": report.waiting_pull,
        "leftOut": [item._asdict() for item in report.left_out],
        "notices": report.notices,
        "rawBytes": report.raw_bytes,
        "sentBytes": report.sent_bytes,
        "pulledBytes": report.pulled_bytes,
        "pushRequests": report.requests,
        "restored": report.restored,
    }


def print_changes(face: Face, report: SyncReport, *, paths: bool = True) -> None:
    """One line of totals, then the paths where they are wanted."""
    parts = []
    if report.pushed:
        parts.append(f"↑ {len(report.pushed):,} changed")
    if report.pulled:
        parts.append(f"↓ {len(report.pulled):,} changed")
    if report.conflicts:
        parts.append(f"! {plural(len(report.conflicts), 'conflict')}")
    if parts:
        face.line("  ".join(parts))
    if paths:
        _paths(face, "↑", report.pushed)
        _paths(face, "↓", report.pulled)


def _paths(face: Face, arrow: str, changes: list[ChangedPath]) -> None:
    if face.quiet:
        return
    shown = changes[:SHOWN_CHANGES]
    for change in shown:
        sign = face.style(_SIGNS[change.how], fg=_COLOURS[change.how])
        face.line(f"  {arrow} {sign} {face.fit(change.path, face.columns - 7)}")
    if len(changes) > len(shown):
        face.line(face.dim(f"  {arrow} … and {len(changes) - len(shown):,} more"))


def travelled(report: SyncReport) -> str:
    """``412 KB raw, 31 KB sent, 1 request``, with what was fetched; empty where nothing travelled."""
    parts = []
    if report.requests:
        parts += [
            f"{size(report.raw_bytes)} raw",
            f"{size(report.sent_bytes)} sent",
            plural(report.requests, "request"),
        ]
    if report.pulled_bytes:
        parts.append(f"{size(report.pulled_bytes)} fetched")
    return ", ".join(parts)


def conflict_line(face: Face, conflict: ConflictPath) -> str:
    """``! plans/q3.md  changed on both sides``."""
    return f"{face.style('!', fg='red')} {face.fit(conflict.path)}  {conflict.reason}"
