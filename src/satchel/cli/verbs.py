"""The table of verbs: what ``satchel --help`` shows without loading any of them."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    name: str
    summary: str

    @property
    def module(self) -> str:
        """The module holding the verb as ``command``. Named as text: a verb is imported only when it runs."""
        return f"satchel.cli.{self.name}_cmd"


SECTIONS: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    (
        "On your disk, without network or account",
        (
            Verb("init", "make this folder a project"),
            Verb("search", "find the sections that answer a question"),
            Verb("get", "print an artifact, or some lines of it"),
            Verb("outline", "print the headings of an artifact"),
            Verb("tasks", "list open tasks"),
            Verb("context", "describe the project: manifest, inventory, relations"),
            Verb("review", "say that you have looked at files, or list what is reviewed"),
            Verb("projects", "list the projects of this machine"),
            Verb("use", "choose the project that commands mean elsewhere"),
            Verb("link", "relate one project to another"),
            Verb("doctor", "say what belongs, what is left out and why, and what is broken"),
            Verb("verify", "read every byte again, and say what is damaged"),
            Verb("bench", "measure looking, indexing and searching your own files"),
        ),
    ),
    (
        "For agents",
        (
            Verb("connect", "write an agent's MCP entry, or take it back"),
            Verb("mcp", "answer an agent over stdio"),
        ),
    ),
    (
        "With a server",
        (
            Verb("login", "sign in to a server"),
            Verb("whoami", "say who you are to the server"),
            Verb("logout", "forget the credential"),
            Verb("join", "join by an invitation, and fetch the project"),
            Verb("share", "invite people to this project by a link"),
            Verb("remote", "choose the hosted twin of this project"),
            Verb("sync", "send and fetch what changed"),
            Verb("push", "send what you changed, and fetch nothing"),
            Verb("pull", "fetch what others changed, and send nothing"),
            Verb("status", "say what differs and what waits for you"),
            Verb("conflicts", "list what both sides changed"),
            Verb("resolve", "settle a conflict"),
            Verb("undo", "bring back what the last sync overwrote here"),
            Verb("log", "say who changed what, version by version"),
            Verb("diff", "show what differs from a version"),
            Verb("restore", "put an old version of a file back"),
            Verb("purge", "remove content for good, from every version"),
            Verb("export", "write the history as a git repository"),
            Verb("leave", "go back to local-only; nothing is lost"),
            Verb("key", "create, list and revoke API keys"),
            Verb("tenant", "the tenant, its people and usage; running tenants"),
        ),
    ),
    (
        "Running a server, and this tool",
        (
            Verb("serve", "start the cloud service"),
            Verb("admin", "look after an installation on its machine"),
            Verb("completion", "print a completion script for your shell"),
        ),
    ),
)

VERBS: dict[str, Verb] = {verb.name: verb for _, verbs in SECTIONS for verb in verbs}
