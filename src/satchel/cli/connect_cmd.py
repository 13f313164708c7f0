"""``satchel connect``: an agent's MCP entry, shown as a diff before it is written, and taken back by ``--undo``."""

from __future__ import annotations

import difflib
import shutil
import sys
from pathlib import Path

import click

from satchel.cli.agents import AGENTS, Agent, edited
from satchel.cli.face import Face, shown_path
from satchel.cli.verb import verb
from satchel.errors import ConfigInvalid
from satchel.worktree import durable
from satchel.worktree.find import find_root


@verb(
    "connect",
    examples=[
        ("satchel connect claude-code", "Show the change to .mcp.json and ask before writing it."),
        ("satchel connect claude-code --write", "The agent may write artifacts and notes, too."),
        ("satchel connect cursor --undo --yes", "Take the entry out of .cursor/mcp.json again, without asking."),
    ],
    gives="`agent`, `file`, `changed`, `written`, `diff`.",
)
@click.argument("agent", type=click.Choice(list(AGENTS)))
@click.option("-w", "--write", is_flag=True, help="Let the agent write artifacts and notes, too.")
@click.option("--undo", is_flag=True, help="Take the entry out again.")
@click.option("-y", "--yes", is_flag=True, help="Write without asking.")
@click.option("--dry-run", is_flag=True, help="Show the change and write nothing.")
def command(face: Face, agent: str, write: bool, undo: bool, yes: bool, dry_run: bool) -> None:
    """Write an agent's MCP entry, or take it back.

    The agent then starts `satchel mcp` by itself and can search this project; with --write it may write into it, too.
    Other entries of the file stay as they are; a file that does not parse is refused and left alone. Nothing is
    written before you have seen the change.
    """
    chosen = AGENTS[agent]
    home = Path.home() if chosen.at_home else (find_root(face.cwd) or face.cwd)
    path = home / chosen.file
    # A link is followed, and may have come with the folder: what is shown is the file that is written.
    real = path.resolve()
    shown = shown_path(path if real == home.resolve() / chosen.file else real, face.cwd)
    before = _read(path)
    after = edited(chosen, before, None if undo else _program(), write=write)
    difference = _difference(before, after, shown)
    go_on = bool(difference) and not dry_run
    for line in difference:
        face.change(line.rstrip("\r\n"))
    if go_on and face.confirm(f"Write {shown}?", yes=yes):
        _write(path, after)
    elif go_on:
        face.note("Nothing was written.")
        go_on = False
    face.answer(
        {"agent": agent, "file": str(path), "changed": bool(difference), "written": go_on, "diff": "".join(difference)},
        lambda: _tell(face, chosen, bool(difference), go_on, undo),
    )


def _tell(face: Face, agent: Agent, changed: bool, written: bool, undo: bool) -> None:
    if not changed:
        face.note(f"{agent.title} has {'no entry of ours' if undo else 'this entry already'}: nothing to do.")
    elif written:
        face.note(f"{agent.title} no longer starts Satchel." if undo else f"Done. {agent.after}")
        if not undo:
            face.note(f"Take it back:  satchel connect {agent.name} --undo")


def _program() -> str:
    """How the agent starts Satchel: by name where PATH has it, so that the file can be shared with a team."""
    if shutil.which("satchel"):
        return "satchel"
    return str(Path(sys.executable).with_name("satchel"))


def _read(path: Path) -> str | None:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ConfigInvalid(f"{path} is not a file: nothing was written")
    try:
        return path.read_bytes().decode()  # its line ends stay
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8: nothing was written") from error


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path = path.resolve()  # a dotfile that is a link stays one
    durable.replace(path, text.encode())


def _difference(before: str | None, after: str | None, name: str) -> list[str]:
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        "(no file)" if before is None else name,
        "(no file)" if after is None else name,
    )
    return [line if line.endswith("\n") else line + "\n" for line in lines]
