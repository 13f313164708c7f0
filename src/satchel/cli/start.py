"""The console script: Ctrl-C ends a command without a traceback from its first moment, also while modules load.

So it loads nothing itself: ``signal`` and ``typing`` take milliseconds.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` gives names to
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Nothing was begun yet. An exception might end in a callback of the import system, which prints it and goes on.
    os._exit(INTERRUPTED)


def main() -> NoReturn:
    """Load the command line and run it. Never returns."""
    plain = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler  # what a shell has ignored stays so
    if plain:
        _signal.signal(_signal.SIGINT, _end)
    from satchel.cli.main import main as run

    try:
        if plain:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # before or after whoever tells of it
        os._exit(INTERRUPTED)
