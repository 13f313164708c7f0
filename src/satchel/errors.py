"""Every way Satchel can refuse or fail, as one tree.

    SatchelError
    ├── UsageError            2   the request itself is malformed
    ├── NotFound              1   absent, or not yours to see: never told apart
    ├── Conflict              3   somebody else changed it first
    ├── SignInNeeded          4   no credential, or one that no longer counts
    ├── Refused               5   understood, and not allowed
    │   └── LimitReached      5   a stated limit or quota
    ├── Unavailable           6   away or overloaded: the same call may succeed later
    └── Damaged               1   bytes that are not what was written

Each error has a stable dotted ``code`` (documented in ``docs/errors/``), the exit status of a command that ends
with it, a message saying what happened and a ``hint`` saying what to do next. HTTP statuses live in
``satchel.server.problems``; nothing here knows about HTTP.

A leaf is declared with its code and default hint, so that the codes can be listed (``all_codes``) and each be
held to have a page and a status.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class SatchelError(Exception):
    """Base of all errors a person or program is meant to see.

    ``facts`` are small, safe values (numbers, names the caller sent) that faces may show; never content or secrets.
    """

    code: str = ""  # a leaf's own; of an instance only where a server said one that is not known here
    exit_status: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.facts = facts


class UsageError(SatchelError):
    exit_status = 2


class NotFound(SatchelError):
    exit_status = 1


class Conflict(SatchelError):
    exit_status = 3


class SignInNeeded(SatchelError):
    exit_status = 4


class Refused(SatchelError):
    exit_status = 5


class LimitReached(Refused):
    pass


class Unavailable(SatchelError):
    exit_status = 6


class Damaged(SatchelError):
    exit_status = 1


# What was asked --------------------------------------------------------------------------------------------------


class InvalidInput(UsageError):
    code = "request.invalid"
    default_hint = "Check the value named in the message."


class PathRefused(UsageError):
    code = "path.refused"
    default_hint = "Rename the file: paths are relative, NFC, at most 1,024 bytes, without reserved names."


class SecretRefused(Refused):
    """Facts ``path`` and ``findings``: line and kind of each, never what stands there."""

    code = "secret.refused"
    default_hint = (
        "Take it out, and keep it where secrets are kept. If it is none, a person may allow the path: "
        "Satchel-Secrets-Allowed over REST, allowSecret of the tool; the audit keeps that."
    )


class NotAFolder(UsageError):
    code = "folder.not_a_folder"
    default_hint = "Name a folder that exists and that you may read."


class NotAProject(UsageError):
    code = "folder.not_a_project"
    default_hint = "Run `satchel init` in the folder first."


class NoSuchProject(NotFound):
    code = "project.not_found"
    default_hint = (
        "List those there are: GET /api/v1/projects, projects_list, or `satchel projects` (--remote: of the server)."
    )


class NoSuchArtifact(NotFound):
    code = "artifact.not_found"
    default_hint = "List the artifacts of the project, or search for it."


class NoSuchSection(NotFound):
    code = "artifact.section_not_found"
    default_hint = "Ask for the outline of the artifact."


class NoSuchVersion(NotFound):
    code = "version.not_found"
    default_hint = "List the versions of the project; retention may have removed an old one."


class VersionExpired(NoSuchVersion):
    """Fact ``oldest``: the oldest version that can be read."""

    code = "version.expired"
    default_hint = "Ask for a newer version; the tenant's retention says how long versions are kept."


class ArtifactPurged(NoSuchArtifact):
    code = "artifact.purged"
    default_hint = "It was purged on purpose and cannot be brought back; other versions may hold other content."


class NoSuchThing(NotFound):
    code = "resource.not_found"
    default_hint = "Check the address; see /docs for every path."


# Who is asking ---------------------------------------------------------------------------------------------------


class CredentialMissing(SignInNeeded):
    code = "auth.missing"
    default_hint = "Send `Authorization: Bearer <key or token>`, or run `satchel login URL`."


class CredentialInvalid(SignInNeeded):
    code = "auth.invalid"
    default_hint = "Check the key or token, or sign in again with `satchel login URL`."


class CredentialExpired(SignInNeeded):
    code = "auth.expired"
    default_hint = "Ask for a new token (POST /api/v1/auth/token or /auth/refresh), or sign in again."


class InsufficientScope(Refused):
    code = "auth.insufficient_scope"
    default_hint = "Ask somebody who may give it for the role named in the message."


class ReviewByPerson(Refused):
    code = "review.person_required"
    default_hint = "A person changes the list, in a folder: `satchel review`; it syncs under a login (`satchel login`)."


class TenantSuspended(Refused):
    code = "tenant.suspended"
    default_hint = "Ask the operator of this server."


class StorageNotAllowed(Refused):
    code = "tenant.storage_not_allowed"
    default_hint = "Ask the operator: the tenant's setting allowedStorage has to name the storage of this server."


# What is in the way ----------------------------------------------------------------------------------------------


class HeadMoved(Conflict):
    code = "sync.head_moved"
    default_hint = "Fetch the changes since your base and send the write again."


class PreconditionFailed(Conflict):
    code = "artifact.changed"
    default_hint = "Read the artifact again and send its ETag in If-Match."


class SettingsChanged(PreconditionFailed):
    """Fact ``revision``: the one that counts."""

    code = "tenant.settings_changed"
    default_hint = "Read the settings again and send their revision in If-Match."


class PreconditionMissing(UsageError):
    code = "artifact.precondition_required"
    default_hint = "Send If-Match with the artifact's ETag, or If-None-Match: * to create it."


class AlreadyExists(Conflict):
    code = "resource.exists"
    default_hint = "Choose another name."


class IdempotencyReused(UsageError):
    code = "request.idempotency_reused"
    default_hint = "Use a new Idempotency-Key for a different request."


class UnresolvedConflicts(Conflict):
    code = "sync.conflicts"
    default_hint = "See them with `satchel conflicts`, then `satchel resolve PATH --take local|cloud|both|merged`."


class ObjectsMissing(Conflict):
    code = "sync.objects_missing"
    default_hint = "Send the objects named in the answer and commit again."


class Busy(Unavailable):
    code = "folder.busy"
    default_hint = "Another satchel command is at work in this folder: try again when it has ended."


# Limits ----------------------------------------------------------------------------------------------------------


class TooLarge(LimitReached):
    code = "request.too_large"
    default_hint = "Send less at once; the limit is in the message."


class LengthRequired(UsageError):
    code = "sync.declaration_required"
    default_hint = "Declare the most bytes the request will send before sending them."


class QuotaReached(LimitReached):
    code = "quota.reached"
    default_hint = (
        "Free some (storage: `satchel tenant retention`, `satchel purge`), or ask the operator of the server for a "
        "higher quota."
    )


class TooManyRequests(LimitReached):
    code = "rate.limited"
    default_hint = "Wait for the time in Retry-After."


class SyncTooSoon(TooManyRequests):
    code = "sync.too_soon"
    default_hint = "Wait for the time in Retry-After; an admin of the tenant sets the interval (syncIntervalSeconds)."


# Away or broken --------------------------------------------------------------------------------------------------


class RemoteNotAccepted(Refused):
    code = "remote.not_accepted"
    default_hint = "Choose the remote here first:  satchel remote add URL"


class ServerAway(Unavailable):
    code = "remote.away"
    default_hint = "Nothing was lost: local changes wait here. Try again when the server is reachable."


class ServerFailed(Unavailable):
    code = "remote.failed"
    default_hint = "Nothing was lost. Give the request id to whoever runs the server."


class ServerLied(Damaged):
    code = "remote.untrustworthy"
    default_hint = "Nothing was written. Check that the address is right, then tell whoever runs the server."


class ProtocolUnknown(Refused):
    code = "protocol.unknown"
    default_hint = "Upgrade whichever of client and server is older."


class StoreUnavailable(Unavailable):
    code = "store.unavailable"
    default_hint = "Storage does not answer: the same request may succeed later."


class DiskFull(Unavailable):
    code = "disk.full"
    default_hint = "Free some space and run the command again: nothing was lost."


class MemoryFull(Unavailable):
    code = "memory.full"
    default_hint = "Nothing was changed: the same request may succeed later. The operator gives the server more memory."


class BodyTimeout(Unavailable):
    code = "request.timeout"
    default_hint = "Send the whole body within the stated deadline."


class InternalError(Damaged):
    code = "internal.error"
    default_hint = "This is a defect: report it with the request id."


class FrameRefused(Damaged):
    code = "frame.refused"
    default_hint = "The bytes are not a strict frame: send them again from the original files."


class SealBroken(Damaged):
    code = "seal.broken"
    default_hint = "The stored bytes were altered or belong elsewhere: restore them from a copy."


class WrongKey(Damaged):
    code = "seal.wrong_key"
    default_hint = "Use the root key this data was written with."


class StoreMissing(Damaged):
    code = "store.missing"
    default_hint = "An object of the store is gone: restore it from a copy."


class IndexCorrupt(Damaged):
    code = "index.corrupt"
    default_hint = "Indexes are derived: it is rebuilt by the next command."


class ConfigInvalid(UsageError):
    code = "config.invalid"
    default_hint = "Mend or remove the setting named in the message."


class StartRefused(Refused):
    code = "serve.refused"
    default_hint = "Mend what the message names and start again."


def all_leaves(root: type[SatchelError] = SatchelError) -> Iterator[type[SatchelError]]:
    """Yield every error class that has a code, depth first."""
    for child in root.__subclasses__():
        if child.code:
            yield child
        yield from all_leaves(child)
