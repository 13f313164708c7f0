"""``satchel tenant audit``: who did what in the tenant, on the terminal or as a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from satchel.cli.face import Face, plural
from satchel.cli.hosted import open_remote
from satchel.cli.tenant_export import whole_file
from satchel.cli.verb import verb
from satchel.errors import InvalidInput, ServerLied
from satchel.remote import Remote

MOST = 1_000
"""Rows shown without --export."""
_AGO = re.compile(r"(\d{1,6})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@verb(
    "audit",
    examples=[
        ("satchel tenant audit --since 7d", "Who did what in the last seven days, newest first."),
        ("satchel tenant audit --action access.denied", "What was refused, and to whom."),
        ("satchel tenant audit --export audit.ndjson", "All of it, with its seals, into a file."),
    ],
    gives="`items`, rows as REST gives them; with --export `file`, `rows`, `last`, `sha256`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--since", metavar="TIME", help="From then on: 30m, 12h, 7d, a date, or a time with its zone.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--action", metavar="TEXT", help="Actions that begin so, such as key. or access.denied.")
@click.option("--principal", metavar="ID", help="What this member or key did.")
@click.option("--result", metavar="CODE", help="`done`, or the code of a refusal.")
@click.option("--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="Rows shown.")
@click.option("--export", "file", metavar="FILE", help="Write the whole audit there, oldest first.")
@click.option("--after", type=click.IntRange(0), default=0, help="With --export: only rows after this number.")
@click.option("--url", help="The server.")
def audit(
    face: Face,
    since: str | None,
    until: str | None,
    action: str | None,
    principal: str | None,
    result: str | None,
    limit: int,
    file: str | None,
    after: int,
    url: str | None,
) -> None:
    """Show who did what in the tenant (admin).

    Every write, sign-in, refusal, change of keys, members, grants and settings, and every export is in it, with who did
    it, from which address, and the request's id. Nobody can change or remove a row; `satchel admin verify` on the
    server finds out whether somebody did.

    --export writes all rows as JSON lines with the seals they are under, and names the number of the last one: with
    --after that number the next export goes on from there.
    """
    filters = {"since": _time(since), "until": _time(until), "action": action, "principal": principal, "result": result}
    asked = {name: value for name, value in filters.items() if value is not None}
    if file is not None and asked:
        raise click.UsageError("--export writes all rows: leave the filters out")
    if after and file is None:
        raise click.UsageError("--after goes with --export")
    with closing(open_remote(face, url)) as remote:
        if file is not None:
            _export(face, remote, file, after)
            return
        page = remote.call("GET", "/tenant/audit", query={**asked, "limit": limit})
    rows: list[dict[str, Any]] = page["items"]

    def print_rows() -> None:
        for row in rows:
            who = row["name"] or "(nobody)"
            where = f" from {row['address']}" if row["address"] else ""
            face.line(face.fit(f"{row['time']}  {who}{where}  {row['action']}  {row['target']}  {row['result']}"))
        if page["next"] is not None:
            face.note(f"There are more: --limit up to {MOST}, --until {rows[-1]['time']}, or --export FILE for all.")

    face.answer({"items": rows}, print_rows)


def _export(face: Face, remote: Remote, file: str, after: int) -> None:
    with whole_file(face.cwd / file) as part:
        hashed = hashlib.sha256()
        end: dict[str, Any] | None = None
        for line in _lines(remote.audit_export(after)):
            if end is not None:
                raise ServerLied("the audit goes on after its end")
            if line.startswith(b'{"end":'):
                end = json.loads(line)["end"]
            else:
                hashed.update(line)
            part.write(line)
        if end is None or end["sha256"] != hashed.hexdigest():
            raise ServerLied("the audit was cut off on the way", hint="Run the command again.")
    told = {"file": file, "rows": end["rows"], "last": end["last"], "sha256": end["sha256"]}
    face.answer(told, lambda: face.note(f"{file}: {plural(end['rows'], 'row')}; go on with --after {end['last']}."))


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if held:
        yield held


def _time(text: str | None) -> str | None:
    """The time as the server takes it."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{text} is no time", hint="Say 30m, 12h, 7d, 2027-01-31 or 2027-01-31T12:00:00Z."
        ) from error
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
