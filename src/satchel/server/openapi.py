"""The OpenAPI 3.1 document: what every operation takes, answers and refuses.

Bodies and answers are msgspec types, so that one declaration decodes, refuses and documents. ``operation`` gives a
route its part of the document; ``document`` assembles the whole, snapshotted in ``docs/reference/openapi.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response

from satchel.errors import all_leaves
from satchel.server.problems import MEDIA_TYPE, meaning_of, status_of
from satchel.server.schemas import Problem

_REF = "#/components/schemas/{name}"
_ANYONE = ("internal.error", "request.invalid", "request.timeout", "store.unavailable", "catalog.unavailable")
_SIGNED_IN = ("auth.missing", "auth.invalid", "auth.expired", "tenant.suspended", "rate.limited")
_BODY = ("request.malformed", "request.media_type", "request.too_large")
_types: dict[str, type] = {"Problem": Problem}


def operation(
    summary: str,
    *,
    answer: type | None = None,
    status: int = 200,
    body: type | None = None,
    sends: str | None = None,
    receives: str | None = None,
    errors: Sequence[str] = (),
    public: bool = False,
    headers: Mapping[str, str] | None = None,
    gives: Mapping[str, str] | None = None,
    also: Mapping[int, str] | None = None,
    example: object = None,
) -> dict[str, Any]:
    """Keyword arguments for a route.

    ``body`` and ``answer`` are JSON types; ``receives`` and ``sends`` media types of raw bodies; ``headers`` those of
    the request and ``gives`` those of the answer, each with its meaning; ``also`` further statuses without a problem.
    """
    responses: dict[int | str, dict[str, Any]] = {status: _success(answer, sends, gives)}
    for code, meaning in (also or {}).items():
        responses[code] = {"description": meaning}
    responses.update(
        _refusals((*_ANYONE, *(() if public else _SIGNED_IN), *(_BODY if body or receives else ()), *errors))
    )
    extra: dict[str, Any] = {"security": [] if public else [{"credential": []}]}
    if body is not None:
        media: dict[str, Any] = {"schema": _schema(body)}
        if example is not None:
            media["example"] = example
        extra["requestBody"] = {"required": True, "content": {"application/json": media}}
    elif receives:
        schema = {"type": "string", "format": "binary"}
        extra["requestBody"] = {"required": True, "content": {receives: {"schema": schema}}}
    if headers:
        extra["parameters"] = [
            {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        ]
    return {
        "summary": summary,
        "status_code": status,
        "response_class": Response,
        "response_model": None,
        "responses": responses,
        "openapi_extra": extra,
    }


def document(app: FastAPI, version: str) -> dict[str, Any]:
    """The whole OpenAPI document of the application's routes."""
    out = get_openapi(
        title="Satchel",
        version=version,
        summary="The context your agents carry.",
        description=(
            "Every path is served by this server alone. Authenticate with `Authorization: Bearer` and an API key or an "
            "access token. Errors are RFC 9457 problems with a stable `code`. What a credential may not read answers "
            "exactly like what does not exist. While the server's storage does not answer, reads carry "
            "`Cache-Status: satchel; hit; detail=store-down`, and writes are refused with 503 and `Retry-After`."
        ),
        routes=app.routes,
    )
    names = list(_types)
    schemas, components = msgspec.json.schema_components(
        [_types[name] for name in names], schema_hook=_anything, ref_template=_REF
    )
    for name, schema in zip(names, schemas, strict=True):
        if "$ref" not in schema:
            components.setdefault(name, schema)
    out["components"] = {
        "schemas": dict(sorted(components.items())),
        "securitySchemes": {
            "credential": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key (`stl_live_…`) or an access token from `POST /api/v1/auth/token`.",
            }
        },
    }
    for path in out["paths"].values():
        for operation_ in path.values():
            _tidy(operation_)
    return out


def _anything(kind: type) -> dict[str, Any]:
    """The schema of ``object``, which is any JSON value."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


def _tidy(operation_: dict[str, Any]) -> None:
    """Responses without a body lose the empty schema FastAPI gives them."""
    for status, response in operation_["responses"].items():
        if status in {"204", "304"}:
            response.pop("content", None)


def _success(answer: type | None, sends: str | None, gives: Mapping[str, str] | None) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done."}
    content: dict[str, Any] = {}
    if sends:
        content[sends] = {"schema": {"type": "string", "format": "binary"}}
    if answer is not None:
        response["description"] = _first_line(answer) or "Done."
        content["application/json"] = {"schema": _schema(answer)}
    if content:
        response["content"] = content
    every = {"X-Request-Id": "The id of this request, also in the log and the audit."} | dict(gives or {})
    response["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in every.items()}
    return response


def _refusals(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    by_code = {leaf.code: leaf for leaf in all_leaves()}
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(status_of(by_code[code]), []).append(code)
    return {
        status: {
            "description": " ".join(f"`{code}`: {meaning_of(code).title}." for code in sorted(by_status[status])),
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
        for status in sorted(by_status)
    }


def _schema(kind: type) -> dict[str, Any]:
    if kind is dict:
        return {"type": "object", "additionalProperties": True}
    _types[kind.__name__] = kind
    return {"$ref": _REF.format(name=kind.__name__)}


def _first_line(kind: type) -> str:
    doc = (kind.__doc__ or "").strip().split("\n")[0]
    return "" if doc.startswith("dict(") else doc
