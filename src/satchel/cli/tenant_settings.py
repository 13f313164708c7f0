"""``satchel tenant settings`` and ``satchel tenant retention``: how a tenant is set, and how it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from satchel.cli.face import Face, plural
from satchel.cli.hosted import open_remote
from satchel.cli.verb import verb
from satchel.errors import NoSuchThing
from satchel.remote import Remote

_STATUSES = (0, 1, 2, 3, 4, 5, 6)


@verb(
    "settings",
    examples=[
        ("satchel tenant settings", "How the tenant is set now."),
        ("satchel tenant settings --sync-interval 60", "At most one push a minute of a project by one principal."),
        ("satchel tenant settings --history", "Every state the settings were in, newest first."),
        ("satchel tenant settings --revert 3", "As they were at revision 3."),
    ],
    gives=(
        "The tenant as REST gives it, with `settings` and `settingsRevision`; with `--history` `items`, each with "
        "`revision`, `time`, `principal`, `name`, `settings`."
    ),
    statuses=_STATUSES,
)
@click.option(
    "--sync-interval",
    type=click.IntRange(0, 86_400),
    metavar="SECONDS",
    help="Least time between two pushes of a project by one principal; 0: none.",
)
@click.option("--history", is_flag=True, help="Show every state they were in.")
@click.option("--revert", type=click.IntRange(0), metavar="N", help="Bring revision N back, as a new one.")
@click.option("--url", help="The server.")
def settings(face: Face, sync_interval: int | None, history: bool, revert: int | None, url: str | None) -> None:
    """Show or change the settings of the tenant.

    Every change has a revision, and no revision is lost. Retention is set with `satchel tenant retention`. Where
    content may rest is the operator's to say, and is not changed by --revert.
    """
    if sum((sync_interval is not None, history, revert is not None)) > 1:
        raise click.UsageError("give one of --sync-interval, --history, --revert")
    remote = open_remote(face, url)
    if history:
        rows = remote.rows("/tenant/settings/history")
        face.answer({"items": rows}, lambda: _print_history(face, rows))
        return
    if revert is not None:
        tenant = _revert(remote, revert)
    elif sync_interval is not None:
        tenant = remote.call("PATCH", "/tenant", json={"settings": {"syncIntervalSeconds": sync_interval}})
    else:
        tenant = remote.call("GET", "/tenant")
    face.answer(tenant, lambda: _print(face, tenant))


@verb(
    "retention",
    examples=[
        ("satchel tenant retention", "How long versions are kept."),
        ("satchel tenant retention --days 90", "Every state of the last 90 days stays readable, and no older one."),
        ("satchel tenant retention --versions 10", "The newest ten versions of each project."),
        ("satchel tenant retention --keep-all", "Every version for ever, as at first."),
    ],
    gives="The tenant as REST gives it; `settings.retention` has `versions` and `days`, both null when all are kept.",
    statuses=_STATUSES,
)
@click.option("--keep-all", is_flag=True, help="Keep every version.")
@click.option("--versions", type=click.IntRange(1, 1_000_000), metavar="N", help="Keep the newest N of each project.")
@click.option("--days", type=click.IntRange(1, 36_500), metavar="D", help="Keep the states of the last D days.")
@click.option("--url", help="The server.")
def retention(face: Face, keep_all: bool, versions: int | None, days: int | None, url: str | None) -> None:
    """Show or set how long old versions are kept.

    The newest version is always kept whole. Older ones expire with the next collect, which the server runs once a day,
    and cannot be brought back. They stay listed in the history.
    """
    if sum((keep_all, versions is not None, days is not None)) > 1:
        raise click.UsageError("give one of --keep-all, --versions, --days")
    remote = open_remote(face, url)
    if keep_all or versions is not None or days is not None:
        tenant = remote.call("PATCH", "/tenant", json={"settings": {"retention": {"versions": versions, "days": days}}})
    else:
        tenant = remote.call("GET", "/tenant")
    face.answer(tenant, lambda: face.line(f"{tenant['slug']} keeps {_kept(tenant['settings']['retention'])}"))


def _revert(remote: Remote, number: int) -> dict[str, Any]:
    """The tenant after an older state was brought back, unless somebody changed the settings meanwhile."""
    now = remote.call("GET", "/tenant")["settingsRevision"]
    page = remote.call("GET", "/tenant/settings/history", query={"cursor": number + 1, "limit": 1})
    row = next((row for row in page["items"] if row["revision"] == number), None)
    if row is None:
        raise NoSuchThing(
            f"the settings have no revision {number}", hint="List them:  satchel tenant settings --history"
        )
    wanted = {name: value for name, value in row["settings"].items() if name != "allowedStorage"}
    return remote.call("PATCH", "/tenant", json={"settings": wanted}, headers={"If-Match": f'"{now}"'})


def _print(face: Face, tenant: Mapping[str, Any]) -> None:
    for name, value in _said(tenant["settings"]).items():
        face.line(f"{name:<16} {value}")
    face.note(f"Revision {tenant['settingsRevision']} of the settings of {tenant['slug']}.")


def _print_history(face: Face, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        said = ", ".join(f"{name}: {value}" for name, value in _said(row["settings"]).items())
        face.line(f"{row['revision']:>4}  {row['time']}  {row['name'] or 'founded'}  {said}")
    if not rows:
        face.note("The settings were never changed.")


def _said(settings: Mapping[str, Any]) -> dict[str, str]:
    interval = settings["syncIntervalSeconds"]
    return {
        "retention": _kept(settings["retention"]),
        "allowed storage": ", ".join(settings["allowedStorage"]) or "anywhere",
        "sync interval": plural(interval, "second") if interval else "none",
    }


def _kept(rule: Mapping[str, int | None]) -> str:
    if rule["versions"] is not None:
        return f"the newest {plural(rule['versions'], 'version')} of each project"
    return "every version" if rule["days"] is None else f"the states of the last {plural(rule['days'], 'day')}"
