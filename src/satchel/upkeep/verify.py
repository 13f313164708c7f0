"""Whether an installation can keep its promise: everything that was acknowledged can be read back.

Looks at the catalog (pages, references, sums of rows), at keys, at audits and their seals, at each project's line of
history and at its packs; with ``full`` it opens and hashes every stored byte. Nothing is changed and nobody is kept
from working: what looks wrong while a server works is looked at a second time, and only what is wrong then counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from satchel.catalog import inspection, packs, tenants
from satchel.catalog.projects import ProjectRow
from satchel.catalog.tenants import TenantRow
from satchel.errors import Damaged, NoSuchProject, NotFound, SatchelError, Unavailable
from satchel.objects.seal import Binding, open_sealed
from satchel.store.about import Abouts
from satchel.store.checkpoints import Found
from satchel.store.keyring import open_tombstone
from satchel.upkeep.about import every_project
from satchel.upkeep.ahead import AT_ONCE, ahead
from satchel.upkeep.audited import examine_audit
from satchel.upkeep.checkpoints import examine_checkpoints
from satchel.upkeep.contents import Advance, Contents, Opening, examine_objects, examine_packs
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.findings import Findings, Problem, Target, VerifyReport
from satchel.upkeep.history import History, examine_history
from satchel.upkeep.opened import KeyOf
from satchel.upkeep.openers import Openers
from satchel.upkeep.operated import sealer_of

_Looked = tuple[History, Contents, list[Found]]

_LED_ANYWHERE = (SatchelError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What rows that are known to be wrong may lead to."""
SEALED_KINDS = {"tables": "table", "purges": "purge"}
"""What else a project keeps under random names, and the kind it is sealed as."""


async def verify(
    estate: Estate,
    *,
    full: bool = False,
    tenant: str | None = None,
    project: str | None = None,
    drill: bool = False,
    progress: Progress = silent,
) -> VerifyReport:
    """Look at everything, or at one tenant or one of its projects (slugs or ids).

    With ``drill`` the catalog is one that was restored beside a running server, whose audit has gone on since.
    ``progress`` counts stored bytes. Raises ``NoSuchThing``, ``NoSuchProject``, and ``StoreUnavailable`` when the store
    does not answer; damage is in the report.
    """
    report = VerifyReport(full)
    failed: Exception | None = None
    checking = asyncio.create_task(estate.catalog.problems())
    try:
        try:
            await _everything(estate, report, _Bytes(progress), drill, tenant, project)
        except _LED_ANYWHERE as error:
            failed = error
        report.problems[:0] = [Problem("catalog", "catalog", line) for line in await checking]
    finally:
        checking.cancel()
    if failed is not None:
        # Of a sound catalog it would be a defect.
        if not report.problems or isinstance(failed, Unavailable):
            raise failed
        why = failed.message if isinstance(failed, SatchelError) else "its rows cannot be followed"
        report.problems.append(Problem("catalog", "catalog", f"{why}; what comes after was not looked at"))
    return report


async def _everything(
    estate: Estate, report: VerifyReport, stored: _Bytes, drill: bool, tenant: str | None, project: str | None
) -> None:
    rows = [await estate.tenant(tenant)] if tenant is not None else await estate.tenants()
    await stored.count(estate, rows)
    async with _openers(report.full, stored.total) as openers:

        async def look(row: TenantRow) -> tuple[VerifyReport, Exception | None]:
            """What was found of a tenant, and what kept it from being all of it."""
            found = VerifyReport(report.full)
            try:
                await _Run(estate, found, stored.advance, drill, openers).tenant(row, project)
            except _LED_ANYWHERE as error:
                return found, error
            return found, None

        # One after the other where packs are opened: that is work, and each holds some.
        async for _, (found, failed) in ahead(rows, look, 1 if report.full else AT_ONCE):
            report.add(found)
            if failed is not None:
                raise failed
    if tenant is None:
        await _Run(estate, report, stored.advance, drill, None).tombstones()


@asynccontextmanager
async def _openers(full: bool, stored: int) -> AsyncIterator[Openers | None]:
    """Within, packs are opened where that was asked for."""
    if not full:
        yield None
        return
    async with Openers(stored) as openers:
        yield openers


class _Bytes:
    """How many bytes there are to look at, and were."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done, self.total = progress, 0, 0

    async def count(self, estate: Estate, rows: list[TenantRow]) -> None:
        async def stored(row: TenantRow) -> int:
            async with estate.catalog.read(row.id) as s:
                return await inspection.stored_bytes(s)

        async for _, found in ahead(rows, stored, AT_ONCE):
            self.total += found

    def advance(self, stored: int) -> None:
        self._done = min(self._done + stored, self.total)
        self._progress(self._done, self.total)


class _Run:
    """One look at a tenant."""

    def __init__(
        self, estate: Estate, report: VerifyReport, advance: Advance, drill: bool, openers: Openers | None
    ) -> None:
        self.estate, self.report, self.advance, self._drill = estate, report, advance, drill
        self._openers = openers

    async def tenant(self, row: TenantRow, only: str | None) -> None:
        self.report.tenants += 1
        estate = self.estate
        if only is None:
            await self._audit(row)
        try:
            await estate.keyring.key_of(row.id, anew=True)
        except Damaged as error:
            why = f"{error.message}; its projects cannot be opened"
            self.report.problems.append(Problem("keyring", f"tenants/{row.id}/keys", why, row.slug, tenant_id=row.id))
            return
        except NotFound:
            if (await self.estate.tenant(row.id)).state != tenants.SHREDDED:  # else since the list was made
                self.report.notes.append(
                    f"{row.slug}: its keys were destroyed and its rows are still there: whoever did it was stopped, or "
                    f"is at it. To finish: satchel admin key shred {row.slug}"
                )
            return
        await self._about(row, None)
        async for project in every_project(estate.catalog, row.id):
            if only in (None, project.id, project.slug):
                await self.project(row, project)
                only = only if only is None else ""
        if only:
            raise NoSuchProject(f"the tenant {row.slug} has no project {only}")
        await self._usage(row)

    async def _usage(self, row: TenantRow) -> None:
        """What a tenant is said to use is what its packs take; that they rest in the store is looked at one by one."""
        async with self.estate.catalog.read(row.id) as s:
            said, found = await inspection.counted_bytes(s)
        if said != found:
            why = f"{said:,} bytes are counted as stored, and its packs take {found:,}"
            self.report.problems.append(Problem("usage", f"tenants/{row.id}", why, row.slug, tenant_id=row.id))

    async def _audit(self, row: TenantRow) -> None:
        found = await examine_audit(await sealer_of(self.estate), row.id, end=not self._drill)
        if found.problems and (await self.estate.tenant(row.id)).state == tenants.SHREDDED:
            return  # meanwhile
        report = self.report
        report.audit_rows += found.rows
        report.more_problems += found.more
        report.notes += [f"{row.slug}: {note}" for note in found.notes]
        report.problems += [Problem("audit", name, why, row.slug, tenant_id=row.id) for name, why in found.problems]

    async def tombstones(self) -> None:
        """Shredded tenants stay shredded: each has a tombstone that opens."""
        installation = await self.estate.keyring.installation()
        for row in await self.estate.tenants(shredded=True):
            name = f"tenants/{row.id}/shredded"
            try:
                open_tombstone(installation, row.id, await self.estate.store.get(name))
            except Damaged as error:
                self.report.problems.append(Problem("tombstone", name, error.message, row.slug, tenant_id=row.id))

    async def project(self, owner: TenantRow, row: ProjectRow) -> None:
        self.report.projects += 1
        target = await self._target(owner, row)
        findings = Findings()
        await self._about(owner, row)
        history, contents, cut_off = await self._look(target, findings, None)
        if findings.problems:
            again = Findings(notes=findings.notes)
            await self._look(await self._target(owner, row), again, await self._doubted(target, findings))
            seen = {(problem.kind, problem.name) for problem in findings.problems}
            again.problems = [problem for problem in again.problems if (problem.kind, problem.name) in seen]
            findings = again
        report = self.report
        report.versions += history.versions
        report.packs += contents.packs
        report.stored_bytes += contents.stored_bytes
        report.objects += contents.objects
        report.bytes += contents.bytes
        await self._orphans(target, history, contents)
        report.orphans += sum(len(found.names) for found in cut_off)
        report.orphan_bytes += sum(found.size for found in cut_off)
        report.notes += [f"{owner.slug}/{row.slug}: {note}" for note in dict.fromkeys(findings.notes)]
        report.more_problems += findings.more
        for problem in findings.problems:
            report.problems.append(await self._placed(owner, row, problem))

    async def _doubted(self, target: Target, findings: Findings) -> set[str]:
        """The packs to be looked at again: those found wrong, and those that hold an object found wrong."""
        objects = [name for problem in findings.problems if problem.kind == "object" for name in problem.objects]
        async with self.estate.catalog.read(target.tenant) as s:
            holding = {row.pack for row in await packs.places(s, target.project, objects)}
        return holding | {problem.name.rpartition("/")[2] for problem in findings.problems if problem.kind == "pack"}

    async def _target(self, owner: TenantRow, row: ProjectRow) -> Target:
        async with self.estate.catalog.read(owner.id) as s:
            return Target(owner.id, row.id, await inspection.floor(s, row.id))

    async def _look(self, target: Target, findings: Findings, only: set[str] | None) -> _Looked:
        estate = self.estate
        # Anew: an epoch may have begun since the first look.
        key_of = await estate.keyring.key_of(target.tenant, anew=True)
        packs = examine_packs(
            estate,
            target,
            findings,
            opening=None if self._openers is None else Opening(self._openers, key_of),
            only=only,
            advance=self.advance if only is None else lambda _bytes: None,
        )
        try:
            async with asyncio.TaskGroup() as group:  # the database, one core and the other all have something to do
                contents = group.create_task(packs)
                history = group.create_task(examine_history(estate, target, findings))
                for folder, kind in SEALED_KINDS.items():
                    group.create_task(self._sealed(target, findings, key_of, folder, kind))
                group.create_task(examine_objects(estate, target, findings))
                cut_off = group.create_task(examine_checkpoints(estate, target, findings, full=self.report.full))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return history.result(), contents.result(), cut_off.result()

    async def _sealed(self, target: Target, findings: Findings, key_of: KeyOf, folder: str, kind: str) -> None:
        """Open everything of one kind that rests under a random name."""
        async for stored in self.estate.vault.names(target.tenant, target.project, folder):
            path = f"tenants/{target.tenant}/projects/{target.project}/{folder}/{stored.name}"
            try:
                data = await self.estate.store.get(path)
                open_sealed(key_of, Binding(target.tenant, target.project, kind), stored.name, data)
            except Damaged as error:
                findings.add(kind, path, error.message)

    async def _about(self, owner: TenantRow, row: ProjectRow | None) -> None:
        estate = self.estate
        abouts = Abouts(estate.store, estate.keyring, random=estate.random)
        try:
            await (abouts.tenant(owner.id) if row is None else abouts.project(owner.id, row.id))
        except (Damaged, ValueError) as error:
            name = f"tenants/{owner.id}" + ("" if row is None else f"/projects/{row.id}") + "/about"
            why = error.message if isinstance(error, SatchelError) else "it cannot be read"
            self.report.problems.append(
                Problem("about", name, why, owner.slug, "" if row is None else row.slug, tenant_id=owner.id)
            )

    async def _orphans(self, target: Target, history: History, contents: Contents) -> None:
        """Count what nothing names. It may be about to be named: never a problem."""
        for folder, named in (("packs", contents.named), ("records", history.records), ("heads", history.heads)):
            async for stored in self.estate.vault.names(target.tenant, target.project, folder):
                if stored.name not in named:
                    self.report.orphans += 1
                    self.report.orphan_bytes += stored.size

    async def _placed(self, owner: TenantRow, row: ProjectRow, problem: Problem) -> Problem:
        """The problem with the paths and versions it affects."""
        async with self.estate.catalog.read(owner.id) as s:
            places, count = await inspection.holders(s, row.id, problem.objects) if problem.objects else ([], 0)
        return replace(
            problem,
            tenant=owner.slug,
            project=row.slug,
            places=tuple(places),
            affected=count,
            tenant_id=owner.id,
            project_id=row.id,
        )
