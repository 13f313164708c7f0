"""What each error code means, in words: the text of ``docs/errors/`` and of ``/docs/errors/{code}``.

A test holds every code of the error tree to have a row here, and the pages in the repository to be equal to it.
"""

from __future__ import annotations

MEANINGS: dict[str, tuple[str, str]] = {
    "artifact.changed": (
        "The artifact has changed",
        (
            "Its content is not the one named in If-Match, or it exists although If-None-Match: * said it must not. "
            "Nothing was written."
        ),
    ),
    "artifact.not_found": (
        "No such artifact",
        "The project has no artifact at this path, at that version. Paths are exact: the hint names near ones.",
    ),
    "artifact.precondition_required": (
        "A precondition is required",
        "A write has to say which state it replaces, so that two writers never overwrite each other unseen.",
    ),
    "artifact.purged": (
        "The content was purged",
        "Somebody had this content removed for good, from every version that held it. The version is still listed.",
    ),
    "artifact.section_not_found": (
        "No such section",
        (
            "The artifact is there, but none of its headings is the one asked for. Case and blanks do not count; "
            "`Outer > Inner` names a heading under another."
        ),
    ),
    "auth.expired": (
        "The credential has expired",
        "The token or key was good once and its time is over. An access token lives ten minutes by default.",
    ),
    "auth.insufficient_scope": (
        "The credential does not allow this",
        "You may read this, and you may not do what was asked: the role or the scope of the key is too small.",
    ),
    "auth.invalid": (
        "The credential does not count",
        "It is malformed, unknown, revoked, or meant for another server. Which of these is not told apart.",
    ),
    "auth.login_impossible": (
        "Nobody can log in there",
        "An MCP server does not say who lets people in, or in a way that cannot be trusted: nothing was opened.",
    ),
    "auth.login_refused": (
        "The login came to nothing",
        "It was not allowed in the browser, or nobody did so in time. Nothing was kept.",
    ),
    "auth.missing": ("A credential is needed", "The request carried no credential."),
    "backup.damaged": ("The backup is damaged", "A part of the backup is missing, cut, altered or in another's place."),
    "backup.refused": ("The backup cannot be used here", "There is none so called, or it does not fit this store."),
    "catalog.behind": (
        "The catalog is an older one",
        "The store confirms versions that the catalog does not know, so nothing is removed by what it says.",
    ),
    "catalog.in_use": ("The catalog is in use", "A server, or another command, has the catalog open."),
    "catalog.not_empty": ("The database is not empty", "A catalog is moved or restored into an unused database only."),
    "catalog.damaged": ("The catalog is damaged", "The database of the server is not what it wrote."),
    "catalog.unavailable": ("The catalog does not answer", "The database of the server is away, locked or too busy."),
    "clock.off": (
        "The clock is wrong",
        "This machine's clock and the storage's are over an hour apart: what is deleted by its age is not deleted now.",
    ),
    "config.invalid": (
        "A setting is wrong",
        "A setting has a value it cannot have, or there is no setting of that name.",
    ),
    "conflict.still_marked": (
        "The file still has markers in it",
        "It was to be taken as it stands, and lines such as `<<<<<<< LOCAL` and `>>>>>>> CLOUD` are still in it.",
    ),
    "context.invalid": (
        "context.json is not valid",
        "It is not one JSON object, or a field of it has the wrong form. The message names the first problem.",
    ),
    "disk.full": (
        "The disk is full",
        "There was no space to write. What had been acknowledged before is still there.",
    ),
    "fetch.failed": (
        "A document cannot be fetched",
        "The address that the request names did not answer with a small JSON document. What came instead is not shown.",
    ),
    "fetch.refused": (
        "The server does not go to this address",
        (
            "A document was to be fetched from an address that is not https, not a host name, or not on the public "
            "internet. Nothing was connected to."
        ),
    ),
    "folder.busy": ("The folder is in use", "Another satchel command holds the lock of this folder."),
    "folder.changed": ("A file changed meanwhile", "A file was edited while a command was working on it."),
    "folder.not_a_folder": ("Not a folder", "The path does not exist, is not a folder, or may not be read."),
    "folder.not_a_project": ("Not a project", "The folder, and every folder above it, has no .satchel directory."),
    "folder.unreadable": (
        "The folder cannot be read",
        "A file of the folder, or of .satchel, is there and could not be read.",
    ),
    "folder.unwritable": (
        "The folder cannot be written",
        "A file of the folder, or of .satchel, could not be written.",
    ),
    "frame.refused": (
        "A frame was refused",
        "Compressed bytes were not exactly one strict frame, or their content had another hash than named.",
    ),
    "index.corrupt": ("A search index is corrupt", "The index file could not be read. Nothing is lost with it."),
    "internal.error": ("Something went wrong inside", "The server met a state it did not expect."),
    "invitation.invalid": (
        "The invitation does not count",
        (
            "It is unknown or cut, its time is over, it was revoked, or as many people joined by it as may. Which of "
            "these is told to whoever has the genuine one."
        ),
    ),
    "invitation.too_many": (
        "Too many invitations",
        "A tenant has at most 1,000 invitations at a time that still count.",
    ),
    "key.staged": (
        "A root key waits already",
        "A successor of the root key lies beside it, and it is not kept where the command was told to keep it.",
    ),
    "key.unpublished": (
        "The next signing key is too new",
        "A key signs tokens only once it was published for ten minutes: whoever keeps a copy of the keys has it then.",
    ),
    "listing.refused": ("A listing was refused", "The list of a tree's files is not in its one canonical form."),
    "member.elsewhere": (
        "The person is in another tenant too",
        "An admin sets the password of a person only where that gives no way into another tenant.",
    ),
    "member.not_a_person": (
        "This is for people",
        "The credential is an API key; only a member has a password, or leaves.",
    ),
    "oauth.client_refused": (
        "The client is not acceptable",
        "The document that describes the client is not as it has to be, or is about another client.",
    ),
    "oauth.unknown_client": (
        "No such client",
        "Nobody registered under this id, or the registration was forgotten: unused ones are after a day.",
    ),
    "oidc.account_exists": (
        "The address has an account already",
        "The identity provider names an e-mail address that somebody signs in with by password here.",
    ),
    "oidc.no_place": (
        "No access",
        "The identity provider knows the person, and the rules of this server give that person no place in a tenant.",
    ),
    "oidc.refused": (
        "The sign-in was not completed",
        "The identity provider refused it, it took over ten minutes, or the answer was not one to trust.",
    ),
    "oidc.unavailable": (
        "The identity provider does not answer",
        "It is away, or what it says of itself cannot be used. Sessions and API keys of this server go on.",
    ),
    "path.refused": (
        "The path is refused",
        "The name cannot be kept alike on every machine, or would be dangerous there.",
    ),
    "project.archived": ("The project is archived", "It can be read and not changed."),
    "project.not_found": (
        "No such project",
        "There is no such project, or the credential may not read it; which of the two is not told apart.",
    ),
    "purge.busy": (
        "The project is too busy to be purged",
        "It was changed again and again while a purge was at work. What was purged stays purged.",
    ),
    "quota.reached": (
        "The quota is reached",
        (
            "The tenant uses all it may. The answer names the quota, its use and its limit. Waiting does not help, "
            "unless the answer also says that uploads under way hold the rest (`reserved`)."
        ),
    ),
    "rate.limited": (
        "Too many requests",
        "Too many requests or sign-ins at once, or ten failed sign-ins with one address in ten minutes.",
    ),
    "record.refused": ("A commit record was refused", "A stored commit record is not in its one canonical form."),
    "remote.away": ("The server cannot be reached", "No connection, or it broke before an answer."),
    "remote.failed": ("The server failed", "The server answered that something went wrong on its side."),
    "remote.insecure": ("The connection would not be private", "http:// to another machine shows key and content."),
    "remote.not_accepted": (
        "Nobody chose this remote here",
        (
            "The folder names a server that nobody chose on this machine: its settings may have come with the folder. "
            "Files go only where their owner sent them, so nothing was sent and nothing fetched."
        ),
    ),
    "protocol.unknown": (
        "No protocol in common",
        "Client and server are of releases too far apart: no protocol is spoken by both. Nothing was read or changed.",
    ),
    "remote.untrustworthy": (
        "The server's answer cannot be right",
        "What came did not have the hash, size or history it was announced with. Nothing of it was written.",
    ),
    "request.form_refused": (
        "The form was refused",
        "It did not come from a page that this server showed this browser, or that page is too old.",
    ),
    "request.idempotency_reused": (
        "The Idempotency-Key was used for something else",
        "Within 24 hours the same key came with a different request.",
    ),
    "request.invalid": ("The request is invalid", "A value is missing, of the wrong form, out of range, or unknown."),
    "request.malformed": ("The body is malformed", "The body is not JSON, or not UTF-8."),
    "request.media_type": (
        "Wrong content type",
        "The body is of another content type than this address takes, or packed: no Content-Encoding is taken.",
    ),
    "request.method_not_allowed": ("Method not allowed", "The address exists, and does not take this method."),
    "request.origin_refused": (
        "Host or origin refused",
        "The Host or Origin header is not one this server answers to: protection against DNS rebinding.",
    ),
    "request.timeout": ("The body came too slowly", "The request's body paused or took longer than allowed."),
    "request.too_large": ("Too large", "The body, a file or a list is over the stated limit."),
    "resource.exists": ("It exists already", "Something of that name or id is already there."),
    "resource.not_found": ("Nothing at this address", "There is nothing here, or nothing you may see."),
    "restore.in_the_way": ("There is a catalog already", "A catalog is where one is to be made, or a server uses it."),
    "restore.nothing_there": ("There is nothing to rebuild from", "The store named holds no tenant."),
    "review.person_required": (
        "Only a person says what is reviewed",
        (
            "`reviewed.sha256` lists what a person has looked at. An API key, a client or agent that was let in, and "
            "any tool over MCP may read it and not change it: a text cannot call itself reviewed."
        ),
    ),
    "seal.broken": ("Stored bytes were altered", "Sealed bytes do not open: they were changed, cut or moved."),
    "seal.epoch_unknown": (
        "A key is not in the keyring",
        (
            "The data was sealed in an epoch of the tenant's key that its keyring does not have: the keyring is older "
            "than the data, or the epoch was retired while something was still sealed in it. Or the tenant has no "
            "keyring any more."
        ),
    ),
    "seal.wrong_key": ("The key is another one", "The data was sealed under another root key."),
    "serve.refused": ("The server refuses to start", "Starting as asked would not be safe; the message says why."),
    "store.exists": ("A stored object exists", "An object that is written once was there already."),
    "store.head_clash": ("Two commits claim one version", "The store confirms another record than the catalog names."),
    "store.missing": ("A stored object is gone", "The catalog names an object that the store does not have."),
    "store.unavailable": ("Storage does not answer", "The object store failed or could not be reached."),
    "sync.conflicts": ("There are conflicts to resolve", "Both sides changed the same files. Both are kept."),
    "sync.declaration_required": (
        "The size has to be declared",
        "A sync says the most bytes it will send before it sends them, so that limits are told at once.",
    ),
    "sync.head_moved": (
        "The project moved on",
        "Somebody committed a newer version than the one this write was made from. The answer names it.",
    ),
    "memory.full": (
        "The server's memory is full",
        "The request needed more memory than the server has now. It was given up; the server goes on.",
    ),
    "secret.refused": (
        "It looks like a credential",
        "What was to be written holds something in the form of a password, token or key. Nothing was written.",
    ),
    "sync.many_deletions": (
        "Most files are gone",
        (
            "More than 20 files, and more than half of those that the folder had at the last sync, are gone from it, "
            "and no other file there has their content. It may be a mistake, or a disk that is not mounted: their "
            "deletion is held back. A watch goes on by itself once they are there again."
        ),
    ),
    "sync.objects_missing": (
        "Objects are missing",
        "A commit may name only objects that this project holds. The answer lists those it does not.",
    ),
    "sync.too_soon": (
        "Too soon after the last push",
        "The tenant's admins set a least time between two pushes of one project by one principal. Nothing was sent.",
    ),
    "tenant.last_owner": (
        "The last owner",
        "A tenant always keeps at least one owner. A key that ends sooner is none.",
    ),
    "tenant.own": ("Not on your own tenant", "An operator cannot suspend or delete the tenant of its own credential."),
    "tenant.operates": (
        "The tenant runs this server",
        "Its members operate the server, and nobody could after its keys were destroyed.",
    ),
    "tenant.settings_changed": (
        "The settings have changed",
        "They are at another revision than the one named in If-Match. Nothing was changed.",
    ),
    "tenant.shredded": ("The tenant was deleted", "Its keys are destroyed, and with them everything it had stored."),
    "tenant.storage_not_allowed": (
        "The storage is not allowed",
        (
            "The operator listed where this tenant's content may rest, and this server's storage is not among it. "
            "Reads go on; nothing more is written."
        ),
    ),
    "tenant.suspended": (
        "The tenant is suspended",
        "The operator has suspended this tenant, or is deleting it: the message says which. Its data is still there.",
    ),
    "undo.full": ("The undo store is full", "What would be overwritten does not fit into the store for undo."),
    "undo.nothing": ("Nothing to undo", "No sync has overwritten or deleted anything in this folder."),
    "upkeep.busy": (
        "Other upkeep is under way",
        "Somebody is collecting, verifying, re-sealing or restoring this tenant. One such work runs at a time.",
    ),
    "version.expired": (
        "The version has expired",
        "The tenant's retention no longer keeps this version. It is still listed; the answer names the oldest kept.",
    ),
    "version.not_found": ("No such version", "The project has no version of this number."),
}
