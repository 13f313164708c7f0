"""``satchel admin``: what an operator does to an installation, on its machine, beside the running server."""

from __future__ import annotations

import importlib

import click

from satchel.cli.verb import VerbGroup

_SUMMARY = "Look after an installation on its machine: keys, verify, collect, backup, restore."

WORDS: dict[str, tuple[str, str]] = {
    "migrate": ("admin_migrate", "command"),
    "prove-isolation": ("admin_prove", "command"),
    "move-catalog": ("admin_move", "command"),
    "key": ("admin_key", "command"),
    "recover": ("admin_recover", "command"),
    "verify": ("admin_verify", "command"),
    "collect": ("admin_collect", "command"),
    "backup": ("admin_backup", "command"),
    "restore": ("admin_restore", "command"),
    "rebuild-catalog": ("admin_restore", "rebuild"),
}
"""Where each word is: a module beside this one, and what it is called there. Named as text: loaded when it runs."""


class _Admin(VerbGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WORDS:
            return None
        module, name = WORDS[cmd_name]
        command = getattr(importlib.import_module(f"satchel.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command


command = _Admin("admin", help=_SUMMARY, short_help=_SUMMARY)
