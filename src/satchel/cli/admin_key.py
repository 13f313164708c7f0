"""``satchel admin key``: change the root key, a tenant's key or the key that signs tokens; destroy a tenant's keys."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.admin_backup import moment
from satchel.cli.estate import data_option, note_operator, server_part, settings_for, with_estate
from satchel.cli.face import Face, plural, size
from satchel.cli.progress import Progress
from satchel.cli.verb import VerbGroup, verb

if TYPE_CHECKING:
    from satchel.upkeep.estate import Estate
    from satchel.upkeep.keys import RootReport, ShredReport
    from satchel.upkeep.reseal import ResealReport
    from satchel.upkeep.signing import SigningReport

_SUMMARY = "Change the root key, a tenant's key or the signing key, or destroy a tenant's keys."
command = VerbGroup("key", help=_SUMMARY, short_help=_SUMMARY)
_STATUSES = (0, 1, 2, 5, 6)
PACE_FROM = 100
"""Fewer keyrings tell nothing about the time that many take."""


@verb(
    "rotate-root",
    examples=[
        ("satchel admin key rotate-root", "A new root key, beside the running server."),
        ("satchel admin key rotate-root --stage", "With several nodes: make the new file, to be copied to each first."),
        ("satchel admin key rotate-root --kms aws-kms:alias/satchel", "Let AWS KMS wrap the root key from now on."),
    ],
    gives=(
        "`old`, `new` (ids of the keys), `kept`, `oldFile`, `staged`, `keyrings`, `unreadable` (tenants), `seconds`."
    ),
    statuses=_STATUSES,
)
@click.option("--stage", is_flag=True, help="Only make the new key file, to be copied to every node first.")
@click.option("--kms", metavar="SERVICE:KEY", help="Wrap the new key by a key service: aws-kms: and the key's ARN.")
@data_option
def rotate_root(face: Face, stage: bool, kms: str | None, data: str | None) -> int:
    """Let another root key wrap everything.

    Wraps the installation's secret and every tenant's keyring anew; content and API keys are not touched. The server
    goes on meanwhile. Stopped at any point, the same command goes on.

    Where several nodes serve: run it with --stage, copy root.key.next beside root.key on every node, run it again
    without, and then rename root.key.next to root.key on the other nodes.

    The old key stays beside the new one, named by its id. Backups made before need it, with the keys in them; destroy
    it when the last of those has expired.
    """
    keys, places = server_part("satchel.upkeep.keys"), server_part("satchel.store.kms")
    place = None if kms is None else places.kms_place(kms)
    with closing(Progress(face)) as bar:

        async def work(estate: Estate) -> RootReport:
            report: RootReport = await keys.rotate_root(
                estate, kms=place, stage=stage, progress=lambda done, total: bar("keyrings", done, total)
            )
            await note_operator(estate, "key.stage_root" if stage else "key.rotate_root", report.new)
            return report

        report = with_estate(settings_for(data), work)
    face.answer(_root(report), lambda: _show_root(face, report))
    if report.unreadable:
        face.warn(f"{plural(len(report.unreadable), 'keyring')} did not open, and were left: satchel admin verify")
    return 1 if report.unreadable else 0


@verb(
    "rotate-tenant",
    examples=[
        ("satchel admin key rotate-tenant acme", "New content of acme is sealed with a new key."),
        ("satchel admin key rotate-tenant acme --full", "Seal everything anew, and retire the old key when it can be."),
    ],
    gives=(
        "`epoch`, `packs`, `objects`, `bytes`, `waiting`, `unnamed`, `damaged` (names), `retired`, `old` (epochs), "
        "`retireFrom`, `seconds`."
    ),
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("--full", is_flag=True, help="Also seal anew what there is, and retire old keys that nothing needs.")
@data_option
def rotate_tenant(face: Face, tenant: str, full: bool, data: str | None) -> int:
    """Begin a new key for a tenant.

    What is written from now on is sealed with it, by a running server within ten minutes. What was sealed before keeps
    its key and stays readable.

    With --full everything is sealed anew, beside the running server, going on with a key that was begun and not
    finished. Packs that were replaced stay for the backup window, in the old key and counted as used; when collect has
    deleted them, run this again: then nothing needs the old key, and it is destroyed.
    """
    reseal = server_part("satchel.upkeep.reseal")
    began = time.monotonic()
    with closing(Progress(face)) as bar:

        def advance(done: int, total: int) -> None:
            bar("seal anew", done // 1_000_000, total // 1_000_000, done)

        async def work(estate: Estate) -> ResealReport:
            await server_part("satchel.upkeep.clock").check_clock(estate.clock, estate.store, estate.random)
            row = await estate.tenant(tenant)
            report: ResealReport = await reseal.rotate_tenant(estate, row.id, full=full, progress=advance)
            await note_operator(
                estate, "key.rotate_tenant", f"{row.id} epoch {report.epoch}{' in full' if full else ''}"
            )
            return report

        report = with_estate(settings_for(data), work)
    seconds = time.monotonic() - began
    face.answer(_resealed(report, seconds), lambda: _show_resealed(face, tenant, report, full=full))
    return 1 if report.damaged else 0


@verb(
    "rotate-signing",
    examples=[
        ("satchel admin key rotate-signing", "The next key signs access tokens from now on."),
        ("satchel admin key rotate-signing --drop-old", "A key may have leaked: no token of before counts any more."),
    ],
    gives="`old`, `new`, `waiting` (names of keys), `dropped`.",
    statuses=_STATUSES,
)
@click.option("--drop-old", is_flag=True, help="Refuse every token signed before, and trust no key there was.")
@data_option
def rotate_signing(face: Face, drop_old: bool, data: str | None) -> None:
    """Let the next key sign access tokens.

    The next key has been published since it was made; another is published now. The old key goes on verifying what it
    signed until that has expired. Every node knows within a second, and nobody has to sign in again. A server does this
    by itself every SATCHEL_SIGNING_KEY_DAYS.

    With --drop-old both keys are made anew, and tokens signed before are refused at once: commands and agents renew
    theirs with their refresh token or key. Resource servers that keep a copy of the published keys refuse the new
    tokens until they look again.
    """
    signing = server_part("satchel.upkeep.signing")

    async def work(estate: Estate) -> SigningReport:
        own = await estate.keyring.installation()
        keys = signing.SigningKeys(estate.catalog, own, clock=estate.clock, random=estate.random)
        report: SigningReport = await keys.rotate(drop_old=drop_old)
        await note_operator(estate, "key.drop_signing" if drop_old else "key.rotate_signing", report.new)
        return report

    report = with_estate(settings_for(data), work)
    told = {"old": report.old, "new": report.new, "waiting": report.waiting, "dropped": report.dropped}

    def show() -> None:
        face.line(f"{report.new} signs access tokens from now on, instead of {report.old}.")
        face.line(f"{report.waiting} is published and takes the next turn.")
        if drop_old:
            face.line("No token signed before counts any more.")

    face.answer(told, show)


@verb(
    "shred",
    examples=[
        ("satchel admin key shred acme", "Asks, then makes everything of acme unreadable for ever."),
        ("satchel admin key shred acme --yes", "The same without being asked."),
    ],
    gives="`tenant`, `slug`, `shredded`, `backupsLooked`, `keysExpire`.",
    statuses=_STATUSES,
)
@click.argument("tenant")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@data_option
def shred(face: Face, tenant: str, yes: bool, data: str | None) -> int:
    """Destroy the keys of a tenant, and its rows.

    From then on nothing of the tenant can be read with bucket, database and root key together. A tombstone stays: a
    keyring that is put back is not used, and a restore obeys it. Backups made before hold the keys until they expire;
    the answer says when the last of them does.

    A running server forgets keys it has open within ten minutes; stop it where that is too long.
    """
    if not face.confirm(f"Make everything of {tenant} unreadable for ever?", yes=yes):
        face.note("Nothing was changed.")
        return 0
    keys, settings = server_part("satchel.upkeep.keys"), settings_for(data)
    backups = keys.backups_at(settings.backup_url)

    async def work(estate: Estate) -> ShredReport:
        row = await estate.tenant(tenant)
        made: ShredReport = await keys.shred(estate, row.id, backups=backups, cache=settings.data / "cache")
        return made

    report = with_estate(settings, work)
    face.answer(_shredded(report), lambda: _show_shredded(face, report))
    return 0


def _root(report: RootReport) -> dict[str, Any]:
    return {
        "old": report.old,
        "new": report.new,
        "kept": report.new_kept,
        "oldFile": None if report.old_file is None else str(report.old_file),
        "staged": str(report.next_file) if report.old_file is None else None,
        "keyrings": report.rewrapped,
        "unreadable": list(report.unreadable),
        "seconds": round(report.seconds, 3),
    }


def _show_root(face: Face, report: RootReport) -> None:
    if report.old_file is None:
        face.line(f"The new root key {report.new} lies in {report.next_file}, {report.new_kept}.")
        face.line("Copy it beside root.key on every node (mode 0600), then run: satchel admin key rotate-root")
        return
    pace = f", {report.seconds / report.rewrapped * 1_000:.1f} s for 1,000" if report.rewrapped >= PACE_FROM else ""
    face.line(f"The root key is {report.new} now, {report.new_kept}; it was {report.old}.")
    face.line(f"Wrapped {plural(report.rewrapped, 'keyring')} anew in {report.seconds:.1f} s{pace}.")
    face.line(f"Back the new key file up. The old key lies in {report.old_file}: backups made before need it with")
    face.line("the keys in them. Destroy it when the last of those has expired: satchel admin backup list")


def _resealed(report: ResealReport, seconds: float) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "packs": report.packs,
        "objects": report.objects,
        "bytes": report.bytes,
        "waiting": report.waiting,
        "unnamed": report.unnamed,
        "damaged": list(report.damaged),
        "retired": list(report.retired),
        "old": list(report.old),
        "retireFrom": None if report.retire_from is None else moment(report.retire_from),
        "seconds": round(seconds, 3),
    }


def _show_resealed(face: Face, tenant: str, report: ResealReport, *, full: bool) -> None:
    if not full:
        face.line(f"New content of {tenant} is sealed in epoch {report.epoch} from now on, by a running server within")
        face.line(f"ten minutes. To seal the rest anew: satchel admin key rotate-tenant {tenant} --full")
        return
    if report.packs or report.objects:
        done = f"{plural(report.packs, 'pack')} and {plural(report.objects, 'other object')}"
        face.line(f"Sealed {done} anew in epoch {report.epoch} ({size(report.bytes)}).")
    else:
        face.line(f"Everything that is used is sealed in epoch {report.epoch} already.")
    if report.retired:
        face.line(f"Destroyed the keys of {_epochs(report.retired)}: nothing was sealed with them any more.")
    for name in report.damaged:
        face.warn(f"{name} does not open: satchel admin verify --full")
    if not report.old:
        return
    old = _epochs(report.old)
    if report.waiting:
        what = plural(report.waiting, "pack")
        face.line(f"The keys of {old} stay for {what}, kept for the backup window or being uploaded.")
    if report.unnamed:
        face.line(f"The keys of {old} stay for {plural(report.unnamed, 'object')} that nothing names.")
    if report.waiting or report.unnamed:
        face.line("When `satchel admin collect` has deleted those, run this again.")
    if report.retire_from is not None:
        face.line(f"The keys of {old} can be destroyed from {moment(report.retire_from)} on: run this again then.")


def _epochs(numbers: tuple[int, ...]) -> str:
    return f"epoch{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _shredded(report: ShredReport) -> dict[str, Any]:
    return {
        "tenant": report.tenant,
        "slug": report.slug,
        "shredded": True,
        "backupsLooked": report.backups_looked,
        "keysExpire": None if report.keys_expire is None else moment(report.keys_expire),
    }


def _show_shredded(face: Face, report: ShredReport) -> None:
    face.line(f"The keys of {report.slug} ({report.tenant}) are destroyed: nothing of it can be read again.")
    if not report.backups_looked:
        face.line("No store of backups was looked into (SATCHEL_BACKUP_URL): keys in backups live until those expire.")
    elif report.keys_expire is None:
        face.line("No backup holds its keys.")
    else:
        face.line(f"Backups hold its keys until {moment(report.keys_expire)}; the next `satchel admin backup` after")
        face.line("that deletes them. From then on nobody can read it.")


for word in (rotate_root, rotate_tenant, rotate_signing, shred):
    command.add_command(word)
