"""The console script: Ctrl-C ends a command without a traceback from its first moment, also while modules load."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Nothing was begun yet. An exception might end in a callback of the import system, which prints it and goes on.
    os._exit(INTERRUPTED)


def main() -> NoReturn:
    """Load the command line and run it. Never returns."""
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # what a shell has ignored stays so
    if plain:
        signal.signal(signal.SIGINT, _end)
    from satchel.cli.main import main as run

    try:
        if plain:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # before or after whoever tells of it
        os._exit(INTERRUPTED)
