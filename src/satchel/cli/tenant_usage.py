"""``satchel tenant usage`` and ``satchel tenant quota``: what a tenant uses, and what it may use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.hosted import open_remote, tenant_id
from satchel.cli.verb import verb
from satchel.errors import InvalidInput
from satchel.remote import part

_STATUSES = (0, 1, 2, 4, 5, 6)
_QUOTAS = (
    "storageBytes", "projects", "members", "keys", "artifacts", "fileBytes", "requestsPerMinute", "syncBytesPerDay"
)  # fmt: skip
_AMOUNT = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))?\s*([KMGT]?B?)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 10**9, "T": 10**12}


@verb(
    "usage",
    examples=[
        ("satchel tenant usage", "What is used of each quota."),
        ("satchel tenant usage --projects", "Also what each project uses, the largest first."),
        ("satchel tenant usage --json", "In bytes, for a program."),
    ],
    gives=(
        "`quotas`, each with `name`, `used`, `reserved`, `limit`, `near`; `artifacts`, `artifactBytes`; with "
        "--projects `projects`, each with `id`, `slug`, `archived`, `storedBytes`, `artifacts`, `artifactBytes` and "
        "`versions`."
    ),
    statuses=_STATUSES,
)
@click.option("--projects", is_flag=True, help="Show each project too.")
@click.option("--url", help="The server.")
def usage(face: Face, projects: bool, url: str | None) -> None:
    """Show what the tenant uses of its quotas.

    Stored bytes are sealed bytes at rest, old versions included; they fall when bytes are deleted. A full quota refuses
    writes and nothing else: what is stored can always be read.
    """
    remote = open_remote(face, url)
    answer = remote.call("GET", "/tenant/usage")
    if projects:
        answer["projects"] = remote.rows("/tenant/usage/projects", limit=1_000)

    def print_rows() -> None:
        for row in answer["quotas"]:
            face.line(f"{row['name']:<18} {_said(row)}")
        for row in sorted(answer.get("projects", ()), key=lambda row: -row["storedBytes"]):
            counts = f"{plural(row['artifacts'], 'artifact')}, {plural(row['versions'], 'version')}"
            face.line(f"{row['slug']:<30} {size(row['storedBytes'])} stored, {counts}")

    face.answer(answer, print_rows)


@verb(
    "quota",
    examples=[
        ("satchel tenant quota acme storageBytes=100GB projects=50", "Other limits; the rest stay as they are."),
        ("satchel tenant quota acme artifacts=none", "Take a limit away."),
    ],
    gives="The tenant as REST gives it; `quota` holds the limits.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.argument("limits", metavar="QUOTA=LIMIT...", nargs=-1, required=True)
@click.option("--url", help="The server.")
def quota(face: Face, tenant: str, limits: tuple[str, ...], url: str | None) -> None:
    """Say what a tenant may use (operator).

    The quotas are storageBytes, projects, members, keys, artifacts, fileBytes, requestsPerMinute and syncBytesPerDay. A
    limit is a number, with KB, MB, GB or TB for bytes (powers of 1,000), or `none`. What is over a lowered limit stays;
    nothing more is taken.
    """
    wanted = _limits(limits)
    remote = open_remote(face, url)
    answer = remote.call("PATCH", f"/admin/tenants/{part(tenant_id(remote, tenant))}", json={"quota": wanted})

    def print_rows() -> None:
        for name, limit in answer["quota"].items():
            face.line(f"{name:<18} {_amount(name, limit)}")

    face.answer(answer, print_rows)


def _said(row: Mapping[str, Any]) -> str:
    limit = _amount(row["name"], row["limit"])
    if row["used"] is None:
        return limit
    if row["limit"] is None:
        return f"{_amount(row['name'], row['used'])} ({limit})"
    held = f", {_amount(row['name'], row['reserved'])} held for uploads under way" if row["reserved"] else ""
    near = f"  ({row['used'] * 100 // row['limit']} %)" if row["near"] and row["limit"] else ""
    return f"{_amount(row['name'], row['used'])} of {limit}{held}{near}"


def _amount(name: str, value: int | None) -> str:
    if value is None:
        return "no limit"
    return size(value) if "Bytes" in name else f"{value:,}"


def _limits(pairs: Iterable[str]) -> dict[str, int | None]:
    """The limits that were named. Raises ``InvalidInput``."""
    found: dict[str, int | None] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if name not in _QUOTAS or not sign:
            raise InvalidInput(f"{pair!r} names no quota", hint=f"Write QUOTA=LIMIT, of {', '.join(_QUOTAS)}.")
        found[name] = None if text == "none" else _number(pair, text, in_bytes="Bytes" in name)
    return found


def _number(pair: str, text: str, *, in_bytes: bool) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None or (not in_bytes and (match[2] or match[3])):
        raise InvalidInput(f"{pair!r} has no limit", hint="A limit is a number such as 50, for bytes 100GB, or none.")
    whole, part, unit = match[1], match[2] or "", match[3].upper().removesuffix("B")
    return int(whole + part.ljust(3, "0")) * _UNITS[unit] // 1_000
