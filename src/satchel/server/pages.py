"""The few pages for people: the API on one page, and one page an error code. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from satchel.errors import SatchelError, all_leaves
from satchel.server.problems import meaning_of, page_of, status_of
from satchel.server.web.layout import document, policy


def page(title: str, body: str) -> Response:
    """A page for everybody, whose ``body`` is HTML already; it has no form."""
    headers = {"content-security-policy": policy("'none'"), "cache-control": "public, max-age=300"}
    text = document(title, Markup(body))  # noqa: S704 (made below, where all text is escaped)
    return Response(text, headers=headers, media_type="text/html; charset=utf-8")


def api_page(document: Mapping[str, Any]) -> Response:
    """The whole API from its OpenAPI document."""
    parts = [
        f"<h1>Satchel {escape(document['info']['version'])}: the HTTP API</h1>",
        f"<p>{_prose(document['info']['description'])}</p>",
        '<pre><code>curl -H "authorization: Bearer $KEY" "$URL/api/v1/projects/acme/search?q=rollback"</code></pre>',
        (
            '<p>For programs: <a href="/openapi.json">openapi.json</a>. For agents: the same questions are tools at '
            '<code>/mcp</code>. Every <a href="/docs/errors">error code</a> has a page.</p>'
        ),
    ]
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(path, method.upper(), operation))
    for tag, rows in groups.items():
        parts.append(f"<h2>{escape(tag.capitalize())}</h2>{''.join(rows)}")
    parts.append("<h2>Shapes</h2>")
    parts.extend(_shape(name, schema) for name, schema in document["components"]["schemas"].items())
    return page("Satchel: the HTTP API", "".join(parts))


def error_index() -> Response:
    rows = "".join(
        f'<tr><td><a href="{page_of(kind.code)}">{escape(kind.code)}</a></td><td>{status_of(kind)}</td>'
        f"<td>{escape(meaning_of(kind.code).title)}</td></tr>"
        for kind in _by_code().values()
    )
    head = "<tr><th scope=col>Code</th><th scope=col>HTTP</th><th scope=col>Meaning</th></tr>"
    return page("Satchel: errors", f"<h1>Errors</h1><table>{head}{rows}</table>")


def error_page(code: str) -> Response | None:
    """The page of an error code, or ``None`` when there is no such code."""
    kind = _by_code().get(code)
    if kind is None:
        return None
    meaning = meaning_of(code)
    body = (
        f"<h1>{escape(meaning.title)}</h1><p><code>{escape(code)}</code></p><p>{escape(meaning.text)}</p>"
        f"<h2>What to do</h2><p>{_prose(kind.default_hint)}</p>"
        f'<p class="soft">HTTP status {status_of(kind)}; exit status of a command: {kind.exit_status}. '
        '<a href="/docs/errors">All codes</a></p>'
    )
    return page(f"Satchel: {meaning.title}", body)


def error_markdown(kind: type[SatchelError]) -> str:
    """The page of a code in ``docs/errors/``."""
    meaning = meaning_of(kind.code)
    return (
        f"# {meaning.title}\n\n`{kind.code}` · HTTP status {status_of(kind)} · exit status {kind.exit_status}\n\n"
        f"{meaning.text}\n\n## What to do\n\n{kind.default_hint}\n"
    )


def error_index_markdown() -> str:
    """The index page of ``docs/errors/``."""
    rows = [
        f"| [`{kind.code}`]({kind.code}.md) | {status_of(kind)} | {kind.exit_status} | {meaning_of(kind.code).title} |"
        for kind in _by_code().values()
    ]
    head = ["# Errors", "", "Every code, generated from the error tree; a test keeps the pages equal to it.", ""]
    return "\n".join([*head, "| code | HTTP | exit | meaning |", "|---|---|---|---|", *rows, ""])


def _by_code() -> dict[str, type[SatchelError]]:
    return {kind.code: kind for kind in sorted(all_leaves(), key=lambda kind: kind.code)}


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = []
    for parameter in operation.get("parameters", ()):
        schema = parameter.get("schema", {})
        note = "" if parameter.get("required") else " (optional)"
        kind = schema.get("type") or " or ".join(str(s.get("type")) for s in schema.get("anyOf", ()))
        rows.append(
            f"<li><code>{escape(parameter['name'])}</code> in {escape(parameter['in'])}, {escape(kind)}{note}"
            f"{': ' + _prose(parameter['description']) if parameter.get('description') else ''}</li>"
        )
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(f"<li>body: <code>{escape(media)}</code> {_named(content.get('schema', {}))}</li>")
    answers = []
    for status, response in operation["responses"].items():
        shapes = " ".join(
            f"<code>{escape(media)}</code> {_named(content.get('schema', {}))}"
            for media, content in response.get("content", {}).items()
        )
        answers.append(f"<tr><td>{status}</td><td>{_prose(response.get('description', ''))}</td><td>{shapes}</td></tr>")
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> "
        f'<span class="soft">{escape(operation.get("summary", ""))}</span></summary>'
        f"<p>{_prose(operation.get('description', ''))}</p><ul>{''.join(rows)}</ul>"
        f"<table>{''.join(answers)}</table></details>"
    )


def _named(schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#shape-{escape(name)}">{escape(name)}</a>' if name else ""


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    rows = []
    for field, of in schema.get("properties", {}).items():
        kind = _named(of) or escape(_kind(of))
        note = "" if field in schema.get("required", ()) else " (optional)"
        rows.append(f"<tr><td><code>{escape(field)}</code></td><td>{kind}{note}</td></tr>")
    return (
        f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{_prose(schema.get('description', '').split(chr(10))[0])}</p><table>{''.join(rows)}</table></details>"
    )


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _prose(text: str) -> str:
    """Escaped text in which `backquoted` words are code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
