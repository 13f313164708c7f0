"""``satchel pull``: one direction of ``satchel sync``, by the name that people type."""

from __future__ import annotations

from typing import Any

import click

from satchel.cli.face import Face
from satchel.cli.sync_cmd import (
    GIVES,
    STATUSES,
    dry_run_option,
    strategy_option,
    sync,
    trust_option,
    verbose_option,
)
from satchel.cli.verb import verb
from satchel.cli.waiting import wait_option
from satchel.sync.choices import Direction


@verb(
    "pull",
    examples=[
        ("satchel pull", "Fetch what others changed; your own changes wait here."),
        ("satchel pull --dry-run", "What would be fetched; nothing is."),
    ],
    gives=GIVES,
    statuses=STATUSES,
)
@strategy_option
@dry_run_option
@verbose_option
@trust_option
@click.option("--deleted", is_flag=True, help="Also bring back what was deleted here since the last sync.")
@wait_option
def command(face: Face, **options: Any) -> int:
    """Fetch what others changed, and send nothing.

    The same as `satchel sync --from-cloud`. What it overwrites here can be brought back with `satchel undo`; a file
    that you changed too is merged, or waits as a conflict.
    """
    return sync(face, Direction.FROM_CLOUD, **options)
