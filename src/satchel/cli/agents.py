"""The files in which coding agents look for MCP servers, and how our one entry gets into and out of each.

Pure text in, text out. Everything else in the file stays: other entries, unknown fields, the order of keys, the
indentation (JSON) and every byte outside our table (TOML). A file that does not parse is refused, not repaired.

Formats: Claude Code reads ``.mcp.json`` of the project, Cursor ``.cursor/mcp.json`` (both under ``mcpServers``),
VS Code ``.vscode/mcp.json`` (under ``servers``), Codex ``~/.codex/config.toml`` (tables ``mcp_servers.NAME``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from satchel.documents.manifest import no_repeats
from satchel.errors import ConfigInvalid

ENTRY = "satchel"
"""The name of our entry in every agent's file."""


class Agent(NamedTuple):
    name: str
    title: str
    file: str
    """Relative to the project, or to the home folder where ``at_home``."""
    at_home: bool
    section: str
    arguments: tuple[str, ...]
    """After the command. ``${workspaceFolder}`` is the editor's own variable for the open folder."""
    after: str
    """What the person has to do next."""


_WORKSPACE = ("mcp", "-C", "${workspaceFolder}")

AGENTS: dict[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent(
            "claude-code", "Claude Code", ".mcp.json", False, "mcpServers", ("mcp",),
            "Start `claude` in this folder and approve the server once.",
        ),
        Agent(
            "cursor", "Cursor", ".cursor/mcp.json", False, "mcpServers", _WORKSPACE,
            "Cursor picks it up by itself: see Settings, MCP.",
        ),
        Agent(
            "vscode", "VS Code", ".vscode/mcp.json", False, "servers", _WORKSPACE,
            "Open .vscode/mcp.json in VS Code and press Start above the entry.",
        ),
        Agent(
            "codex", "Codex", ".codex/config.toml", True, "mcp_servers", ("mcp",),
            "Start `codex` in this folder; `/mcp` lists the server.",
        ),
    )
}  # fmt: skip


def edited(agent: Agent, text: str | None, command: str | None, *, write: bool = False) -> str | None:
    """The agent's file with our entry starting ``command``, or without it where ``command`` is ``None``.

    With ``write`` the agent may write, too.
    ``text`` is ``None`` for a file that does not exist; so is the answer where nothing is left worth keeping.
    Raises ``ConfigInvalid`` for a file that does not parse or has another shape.
    """
    if write:
        agent = agent._replace(arguments=(*agent.arguments, "--write"))
    edit = _edited_toml if agent.file.endswith(".toml") else _edited_json
    return edit(agent, text, command)


def _edited_json(agent: Agent, text: str | None, command: str | None) -> str | None:
    document = _parsed_json(agent, text)
    section = document.setdefault(agent.section, {})
    if not isinstance(section, dict):
        raise ConfigInvalid(
            f"{agent.section!r} in {agent.file} is not an object", hint="Mend it by hand, then try again."
        )
    if command is None:
        if ENTRY not in section:
            return text
        del section[ENTRY]
        if not section and list(document) == [agent.section]:
            return None
    else:
        there = section.get(ENTRY)
        entry = there if isinstance(there, dict) else {}
        section[ENTRY] = entry | {"type": "stdio", "command": command, "args": list(agent.arguments)}
    written = json.dumps(document, indent=_indent(text or ""), ensure_ascii=False) + "\n"
    return written.replace("\n", _ending(text or ""))


def _parsed_json(agent: Agent, text: str | None) -> dict[str, object]:
    if text is None or not text.strip():
        return {}
    try:
        document = json.loads(text, object_pairs_hook=no_repeats)
        # Half a surrogate pair and 1e999 are read, and could not be written again.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(
            f"{agent.file} is not valid JSON ({error}): nothing was written",
            hint="Mend it (comments and trailing commas are not JSON), then run the command again.",
        ) from error
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{agent.file} does not hold a JSON object: nothing was written")
    return document


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(text: str) -> str | int:
    found = re.search(r"\n([ \t]+)\"", text)
    return found[1] if found else 2


def _edited_toml(agent: Agent, text: str | None, command: str | None) -> str | None:
    before = _parsed_toml(agent, text or "")
    kept = _without_table(text or "", (agent.section, ENTRY))
    if command is None:
        after = kept if kept.strip() else None
    else:
        ours = [f"[{agent.section}.{ENTRY}]", f"command = {json.dumps(command)}"]
        lines = [*ours, f"args = {json.dumps(list(agent.arguments))}", ""]
        end = _ending(text or "")
        after = (f"{kept.rstrip()}{end}{end}" if kept.strip() else "") + end.join(lines)
    _check_toml(agent, before, after or "", command)
    return after


def _without_table(text: str, name: Sequence[str]) -> str:
    """``text`` without the lines of table ``name`` and of the tables below it."""
    ours = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(rf"[\"']?{re.escape(part)}[\"']?" for part in name) + r"\s*[.\]]")
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            inside = ours.match(line) is not None
        if not inside:
            kept.append(line)
    return "".join(kept)


def _parsed_toml(agent: Agent, text: str) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(
            f"{agent.file} is not valid TOML ({error}): nothing was written",
            hint="Mend it by hand, then run the command again.",
        ) from error


def _check_toml(agent: Agent, before: dict[str, object], text: str, command: str | None) -> None:
    """The edit was made on text: hold it to having changed our table alone."""
    after = _parsed_toml(agent, text)
    for document in (before, after):
        servers = document.get(agent.section)
        if isinstance(servers, dict):
            servers.pop(ENTRY, None)
            if not servers:
                del document[agent.section]
    if before != after:
        raise ConfigInvalid(
            f"the entry {ENTRY!r} in {agent.file} is written in a way this command does not edit: nothing was written",
            hint="Remove that entry by hand, then run the command again.",
        )
