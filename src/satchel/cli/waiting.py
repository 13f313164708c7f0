"""``--wait``: how long a verb that needs the server waits for one that is away for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from satchel.cli.face import Face, clean

if TYPE_CHECKING:
    from satchel.sync.patience import Patience

wait_option = click.option(
    "--wait",
    type=click.IntRange(0, 86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a server that is away.",
)


def patience(face: Face, seconds: int, before: Callable[[], None] = lambda: None) -> Patience:
    """What waits, and says on stderr what it waits for; ``before`` clears a progress bar first."""
    from satchel.sync.patience import Patience  # spares what stays on this disk a few milliseconds

    def say(text: str) -> None:
        before()
        face.warn(clean(text))

    return Patience(seconds, say)
