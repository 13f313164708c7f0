"""What a tool is: its declaration, its arguments, and what a call comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, cast

from satchel.context.answers import ContextReader
from satchel.context.writing import Change, Written
from satchel.errors import InvalidInput, NoSuchProject, SatchelError
from satchel.mcp.schemas import Schema, schema_of

Arguments = dict[str, Any]
Answer = Mapping[str, Any]
Handler = Callable[[ContextReader, Arguments], Answer]
Asker = Callable[[ContextReader, Arguments], Change]
Writer = Callable[[Change], Written]
"""Carries out a change, as whoever asks; raises ``SatchelError``."""


class ToolResult(NamedTuple):
    """What a call came to."""

    content: dict[str, Any]
    """The answer, as in ``context.answers``; for an error its ``code``, ``message`` and ``hint``."""
    is_error: bool
    note: str = ""
    """What to try next where the answer is empty."""

    def texts(self) -> list[str]:
        """The result for a model to read: the JSON, and the note if there is one."""
        said = json.dumps(self.content, ensure_ascii=False, separators=(",", ":"))
        return [said, self.note] if self.note else [said]


class Tool:
    """One tool: one that reads has a handler that answers, one that writes makes a change of what it is asked."""

    def __init__(
        self,
        name: str,
        title: str,
        description: str,
        arguments: Mapping[str, Schema],
        answer: Any,
        handler: Handler | None,
        *,
        change: Asker | None = None,
        destroys: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.handler = handler
        self.change = change
        self._arguments = arguments
        self._answer = answer
        self._destroys = destroys

    @property
    def writes(self) -> bool:
        return self.change is not None

    @cached_property
    def input_schema(self) -> Schema:
        """JSON Schema 2020-12 of the arguments; nothing else is taken."""
        properties = {name: {k: v for k, v in one.items() if k != "required"} for name, one in self._arguments.items()}
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name, one in self._arguments.items() if one.get("required")]
        return {**schema, "required": required} if required else schema

    @cached_property
    def output_schema(self) -> Schema:
        return schema_of(self._answer)

    @property
    def annotations(self) -> dict[str, bool]:
        return {
            "readOnlyHint": not self.writes,
            "destructiveHint": self._destroys,
            "idempotentHint": True,
            "openWorldHint": False,
        }

    def declaration(self) -> dict[str, Any]:
        """As ``tools/list`` gives it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": self.annotations,
        }


def failure(error: SatchelError) -> dict[str, Any]:
    """An error as tools and resources tell it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def picked(arguments: Arguments, *names: str) -> dict[str, Any]:
    """The arguments of those names that were given: the reader's defaults serve for the others."""
    return {name: arguments[name] for name in names if name in arguments}


def project_of(reader: ContextReader, arguments: Arguments) -> str:
    """The project named, or the only one there is. Raises ``InvalidInput``, ``NoSuchProject`` where there is none."""
    if "project" in arguments:
        return cast(str, arguments["project"])
    found = reader.projects()
    if not found:
        raise NoSuchProject("there is no project", hint="A person adds one, or grants access to one.")
    if len(found) != 1:
        raise InvalidInput(
            f"there are {len(found)} projects: say which one", hint="List them with projects_list and pass `project`."
        )
    return found[0]["project"]


def text(description: str, most: int = 1_024, *, required: bool = False) -> Schema:
    schema: Schema = {"type": "string", "description": description, "maxLength": most}
    return {**schema, "required": True} if required else schema


def number(description: str, least: int, most: int | None = None, default: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "description": description, "minimum": least}
    if most is not None:
        schema["maximum"] = most
    return schema if default is None else {**schema, "default": default}


PROJECT = text("Slug or id of the project. May be left out where there is only one.", 200)
PREFIX = text("Only paths that begin so, such as docs/.")
CURSOR = text("The `next` of the page before.", 2_048)
