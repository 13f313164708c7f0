"""Another Satchel over HTTP: what ``sync`` talks to and a reader of hosted projects."""

from __future__ import annotations

from satchel.remote.client import Remote, part
from satchel.remote.connection import FixedToken, InsecureRemote, TokenSource, Traffic, checked_url, problem_error

__all__ = ["FixedToken", "InsecureRemote", "Remote", "TokenSource", "Traffic", "checked_url", "part", "problem_error"]
