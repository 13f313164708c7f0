"""How many files this process may open at once."""

from __future__ import annotations

import resource

_MOST = 65_536
_LEAST_OF_MACOS = 10_240
"""Its OPEN_MAX, which a limit that is said to be endless does not exceed on some of its versions."""


def open_files() -> int:
    """How many files this process may open, once the limit is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    highest = _MOST if hard == resource.RLIM_INFINITY else hard
    for wanted in (highest, _LEAST_OF_MACOS):
        if soft < wanted <= highest:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):  # a system with a lower bound of its own
                continue
            return wanted
    return soft
