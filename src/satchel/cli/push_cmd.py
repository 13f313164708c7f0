"""``satchel push``: one direction of ``satchel sync``, by the name that people type."""

from __future__ import annotations

from typing import Any

from satchel.cli.face import Face
from satchel.cli.sync_cmd import (
    GIVES,
    STATUSES,
    deletions_option,
    dry_run_option,
    prune_option,
    secret_option,
    strategy_option,
    sync,
    verbose_option,
)
from satchel.cli.verb import verb
from satchel.cli.waiting import wait_option
from satchel.sync.choices import Direction


@verb(
    "push",
    examples=[
        ("satchel push", "Send what you changed; what others changed waits on the server."),
        ("satchel push --dry-run", "What would be sent; nothing is."),
    ],
    gives=GIVES,
    statuses=STATUSES,
)
@strategy_option
@dry_run_option
@verbose_option
@secret_option
@deletions_option
@prune_option
@wait_option
def command(face: Face, **options: Any) -> int:
    """Send what you changed, and fetch nothing.

    The same as `satchel sync --to-cloud`. A file that somebody else changed too is a conflict, and waits; nothing of
    theirs is overwritten.
    """
    return sync(face, Direction.TO_CLOUD, **options)
