"""``satchel admin``: what an operator does to an installation, on its machine, beside the running server."""

from __future__ import annotations

from satchel.cli.verb import VerbGroup

_SUMMARY = "Look after an installation on its machine: keys, verify, collect, backup, restore."
command = VerbGroup("admin", help=_SUMMARY, short_help=_SUMMARY)
