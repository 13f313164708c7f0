"""The log: one line a request and one an event, as JSON or for a console, on stderr.

A line holds ids, names of routes, numbers and codes. Never content, query text, paths of artifacts, credentials or
the text of an exception: what a stranger could have put there is not written (promise P10). Libraries' own records
pass with their message template alone, without its arguments.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import msgspec
import structlog

from satchel.config.server import ServerSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("satchel")


def configure(settings: ServerSettings) -> None:
    """Send the log where and how the settings say. Called once, by the process that serves."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(serializer=_encoded)
    )
    factory: Any = (
        structlog.PrintLoggerFactory(sys.stderr) if console else structlog.BytesLoggerFactory(sys.stderr.buffer)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
    )
    root = logging.getLogger()
    root.handlers = [_Libraries()]
    root.setLevel(max(level, logging.WARNING))


def _encoded(event: object, **_options: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def where(error: BaseException) -> list[str]:
    """The type and the lines of code an exception passed, innermost last; never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [type(error).__name__, *(place(f.filename, f.lineno) for f in frames)]


def place(filename: str, line: int | None) -> str:
    """A line of code, named by the last three parts of its file."""
    return "/".join(filename.rsplit("/", 3)[-3:]) + f":{line}"


class _Libraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"logger": record.name, "template": str(record.msg)[:200]}
        if record.exc_info and record.exc_info[1]:
            facts["where"] = where(record.exc_info[1])
        log.log(record.levelno, "library", **facts)
