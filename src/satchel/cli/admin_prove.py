"""``satchel admin prove-isolation``: show on a live installation that no tenant reaches another."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from satchel.cli.estate import server_part, settings_for
from satchel.cli.face import Face, plural
from satchel.cli.hosted import credentials
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.errors import ConfigInvalid, CredentialMissing, SatchelError
from satchel.remote import checked_url
from satchel.remote.raw import RawServer

RATE = 50.0
"""Requests in a second, unless told otherwise: what one busy person's agents ask."""
SEQUENCES = 25
SHOWN_FAILURES = 20
"""Failed cells named on a terminal for each check; ``--json`` names all."""


@verb(
    "prove-isolation",
    examples=[
        (
            "satchel admin prove-isolation https://context.example.org --key-file operator.key",
            "Ask everything of a live server; status 1 if anything is not as it has to be.",
        ),
        (
            "satchel admin prove-isolation http://127.0.0.1:8470 --key-file - --json < operator.key > report.json",
            "A report to keep.",
        ),
    ],
    gives=(
        "`holds`, `url`, `time`, `version`, `installation`, `seed`, `requests`, `seconds`, `checks` (each with `name`, "
        "`of`, `count`, `failed`, `seconds`, `notes`), `notInspected`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("url")
@click.option("--key-file", metavar="FILE", help="File holding an operator's key; - is stdin. Else SATCHEL_KEY.")
@click.option(
    "--rate", type=click.FloatRange(1, 10_000), default=RATE, show_default=True, help="Most requests in a second."
)
@click.option(
    "--sequences", type=click.IntRange(0, 100_000), default=SEQUENCES, show_default=True, help="Random sequences."
)
@click.option("--quick", is_flag=True, help="Ask each cell in one way, and wait for no key to expire.")
@click.option("--only", metavar="TEXT", default="", help="Only operations with this in their name, such as /keys.")
@click.option("--seed", type=click.IntRange(0), help="That of another report, to repeat its sequences.")
@click.option("--insecure", is_flag=True, help="Accept http:// to another machine: the credential goes in clear.")
def command(
    face: Face,
    url: str,
    key_file: str | None,
    rate: float,
    sequences: int,
    quick: bool,
    only: str,
    seed: int | None,
    insecure: bool,
) -> int:
    """Show on a live installation that no tenant reaches another.

    Founds tenants of its own, fills them, and asks every operation of REST and MCP with every kind of credential for
    what is its own, another project's, another tenant's and absent. Each answer has to be the one that is owed, and
    what may not be read has to answer exactly as what never was. It tries to be taken for another tenant, and does at
    random what two tenants do at once, looking for anything of one in an answer to the other.

    Where SATCHEL_DATABASE_URL is set, the database is asked for its roles and its row-level security too.

    Touches no other tenant. Its own are deleted at the end, and by the server four hours later if it dies. The report
    says what could not be inspected.
    """
    address = checked_url(url, insecure=insecure)
    key = _key(face, address, key_file)
    parts = {name: server_part(f"satchel.server.isolation.{name}") for name in ("asking", "folders", "proof", "world")}
    proof = parts["proof"]
    report = proof.Report(address, proof.now(), seed=secrets.randbelow(1 << 32) if seed is None else seed)
    progress = Progress(face)
    with (
        closing(progress),
        closing(RawServer(address, insecure=insecure)) as server,
        closing(parts["folders"].Folders(address, insecure=insecure)) as folders,
    ):
        asking = parts["asking"].Asking(server, rate=rate)
        word = parts["world"].random_words(os.urandom)
        proof.Proof(asking, key, word, report, progress=progress).run(
            sequences=sequences, quick=quick, only=only, folders=folders
        )
        _ask_database(proof, report)
    face.answer(proof.told(report), lambda: _show(face, report))
    return 0 if report.holds else 1


def _key(face: Face, address: str, key_file: str | None) -> str:
    if key_file is not None:
        try:
            return (sys.stdin.read() if key_file == "-" else Path(key_file).read_text(encoding="utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"the key file {key_file} cannot be read: {error}") from error
    stored = credentials(face).get(address)
    key = face.machine.key or (stored.key if stored else None)
    if not key:
        raise CredentialMissing(
            "this needs an operator's API key", hint="Name a file that holds it with --key-file, or set SATCHEL_KEY."
        )
    return key


def _ask_database(proof: Any, report: Any) -> None:
    """What the database says of its walls, where its address is set here."""
    settings = settings_for(None)
    if not settings.database_url:
        unseen = "The database's roles and row-level security: SATCHEL_DATABASE_URL is not set here."
        report.not_inspected = (unseen, *report.not_inspected)
        return
    catalog = server_part("satchel.catalog.scope").Catalog
    facts = asyncio.run(catalog.wall_facts(settings.database_url))
    if not facts:
        said = "One wall: on SQLite the catalog's scope alone keeps tenants apart."
        report.checks.append(proof.Check("the database's own walls", "facts", 0, [], 0.0, (said,)))
        return
    failed = [f"{fact.what}: not so ({fact.found})" for fact in facts if not fact.holds]
    notes = tuple(f"{fact.what} ({fact.found})" for fact in facts if fact.holds)
    report.checks.append(proof.Check("the database's own walls", "facts", len(facts), failed, 0.0, notes))
    try:
        report.installation = asyncio.run(_installation(catalog, settings.database_url)) or ""
    except SatchelError:
        pass  # it does not serve as it is; the facts above say why


async def _installation(catalog: Any, url: str) -> str | None:
    found = server_part("satchel.catalog.installation")
    opened = await catalog.open(url)
    try:
        async with opened.directory() as d:
            name: str | None = await found.find(d)
            return name
    finally:
        await opened.close()


def _show(face: Face, report: Any) -> None:
    face.line(f"Isolation of tenants at {report.url}")
    face.line(f"{report.time}  version {report.version}  seed {report.seed}")
    if report.installation:
        face.line(f"installation {report.installation}")
    for check in report.checks:
        verdict = plural(len(check.failed), "failure") if check.failed else "ok"
        face.line(f"{check.name}: {check.count:,} {check.of}, {verdict}, {check.seconds:.1f} s")
        for note in check.notes:
            face.line(f"    {note}")
        for failed in check.failed[:SHOWN_FAILURES]:
            face.line(f"  {face.style('!', fg='red')} {failed}")
        if len(check.failed) > SHOWN_FAILURES:
            face.line(f"  … and {len(check.failed) - SHOWN_FAILURES:,} more (--json names them)")
    face.line("Not inspected:")
    for what in report.not_inspected:
        face.line(f"    {what}")
    verdict = "Every check holds" if report.holds else "NOT isolated"
    face.line(f"{verdict}: {report.requests:,} requests, {report.seconds:.0f} s")
