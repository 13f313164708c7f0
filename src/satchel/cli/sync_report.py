"""How a sync's report looks, for ``sync``, ``status`` and ``conflicts``, and its one JSON shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from satchel.cli.face import Face, one_line, pasted, plural, size
from satchel.remote import Traffic
from satchel.sync.report import NO_PERSON, UNREAD, ChangedPath, ConflictPath, SyncReport

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
        "merged": report.merged,
        "conflicts": [conflict._asdict() for conflict in report.conflicts],
        "untrusted": report.untrusted,
        "unsettled": report.unsettled,
        "secrets": [found._asdict() for found in report.secrets],
        "secretsAllowed": report.secrets_allowed,
        "withheld": report.withheld,
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


def traffic_data(traffic: Traffic) -> dict[str, int]:
    """What all requests of a command had on the wire, as JSON."""
    return {"requests": traffic.requests, "wireSentBytes": traffic.sent, "wireReceivedBytes": traffic.received}


def print_changes(face: Face, report: SyncReport, *, paths: bool = True) -> None:
    """One line of totals, then the paths where they are wanted."""
    parts = []
    if report.pushed:
        parts.append(f"↑ {len(report.pushed):,} changed")
    if report.pulled:
        parts.append(f"↓ {len(report.pulled):,} changed")
    if report.merged:
        parts.append(f"⇄ {len(report.merged):,} merged")
    if report.conflicts:
        parts.append(f"! {plural(len(report.conflicts), 'conflict')}")
    if parts:
        face.line("  ".join(parts))
    if paths:
        _paths(face, "↑", report.pushed)
        _paths(face, "↓", report.pulled)
        _paths(face, "⇄", [ChangedPath(path, "changed") for path in report.merged])


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
    """``412 KB raw, 31 KB sent``, with what was fetched; empty where no content travelled. A dry run tells in how many
    requests it would be."""
    parts = []
    if report.requests:
        would = f" in {plural(report.requests, 'request')}" if report.dry_run else ""
        parts += [f"{size(report.raw_bytes)} raw", f"{size(report.sent_bytes)} sent{would}"]
    if report.pulled_bytes:
        parts.append(f"{size(report.pulled_bytes)} fetched")
    return ", ".join(parts)


def on_the_wire(traffic: Traffic) -> str:
    """What all requests of a command took: ``32 KB up and 1 KB down in 2 requests``; empty where there was none."""
    asked = plural(traffic.requests, "request")
    return f"{size(traffic.sent)} up and {size(traffic.received)} down in {asked}" if traffic.requests else ""


def conflict_line(face: Face, conflict: ConflictPath) -> str:
    """``! plans/q3.md:14-19  both sides changed the same lines (the cloud: release-bot, version 86)``."""
    first = conflict.lines[0] if conflict.lines else None
    where = f":{first[0]}-{first[1]}" if first else ""
    more = f" and {plural(len(conflict.lines) - 1, 'more place')}" if len(conflict.lines) > 1 else ""
    who = f" (the cloud: {one_line(conflict.author)}, version {conflict.version})" if conflict.author else ""
    return f"{face.style('!', fg='red')} {face.fit(conflict.path)}{where}{more}  {conflict.reason}{who}"


def next_steps(face: Face, conflicts: Sequence[ConflictPath]) -> None:
    """What to do about conflicts: the two most likely commands, for the first of them."""
    shown = next((one for one in conflicts if one.lines), None)
    beside = next((one for one in conflicts if one.beside), None)
    one = shown or beside or next((one for one in conflicts if one.settle == "resolve"), None)
    named = next((one for one in conflicts if one.settle == "rename"), None)
    if shown is not None:
        face.note("Both versions are in the file, between markers. Edit it, then:")
        face.note(f"  satchel resolve {pasted(shown.path)} --take merged      or in your editor:  --edit")
    if beside is not None:
        face.note(f"The cloud's file is beside yours: {face.fit(beside.beside or '')}")
    if one is not None:
        take = "Or take" if shown is not None else "Take"
        face.note(f"{take} one side whole:  satchel resolve {pasted(one.path)} --take local|cloud|both")
    if named is not None:
        face.note(
            f"No folder can hold both. Give {face.fit(named.path)} or the other another name, then:  satchel sync"
        )
    elif one is None:
        face.note("Look at it, then:  satchel sync")


def show_held_back(face: Face, report: SyncReport, *, named: bool = True) -> None:
    """What needs trust, what cannot be read, what does not travel by the project's own rules (``named``, or only how
    much), and what looks like a credential: where, never what."""
    for path in report.untrusted:
        face.note(f"Not fetched, since tools execute it on their own: {path} (satchel sync --trust)")
    sign, unread = face.style("!", fg="red"), report.unread
    for left in unread[:SHOWN_CHANGES]:
        face.line(f"{sign} {face.fit(left.path)}  cannot be read ({left.detail})")
    if len(unread) > SHOWN_CHANGES:
        face.line(f"{sign} … and {len(unread) - SHOWN_CHANGES:,} more")
    if unread:
        face.note("It stays as it is on both sides until it can be read, or is left out with .satchelignore.")
    for found in report.secrets:
        face.line(f"{sign} {face.fit(f'{found.path}:{found.line}')}  looks like a credential ({found.kind})")
    if report.secrets:
        path = report.secrets[0].path
        face.note("Not sent. Take it out of the file, or leave the file out with .satchelignore. If it is none:")
        face.note(f"  satchel sync --allow-secret {pasted(path)}")
    for path in report.secrets_allowed:
        face.note(f"Allowed, though it looks as if it held a credential: {path} (the audit names it)")
    ruled = [path for path, why in report.withheld.items() if why not in (NO_PERSON, UNREAD)]  # told otherwise
    if ruled and not named:
        face.note(f"Not in step, by your own rules: {plural(len(ruled), 'file')} (satchel status)")
    for reason in sorted({*report.withheld.values()} - {UNREAD}) if named else ():
        paths = [path for path, why in report.withheld.items() if why == reason]
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        face.note(f"Stays as it is on both sides ({reason}): {face.fit(paths[0])}{more}")
    if others := len(report.left_out) - len(unread):
        face.note(f"Left out: {plural(others, 'file')}; why, says  satchel doctor")
