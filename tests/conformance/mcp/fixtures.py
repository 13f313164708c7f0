"""The test build of the server that the conformance suite asks for: ours, with the suite's own tools, resources and
prompts beside those of Satchel, and with sessions and streams, without which some of these could not be.

Whatever is not one of the fixtures is answered by the handler that serves everybody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError

from satchel.mcp.http import McpEndpoint
from satchel.mcp.stdio import MODERN

Context = ServerRequestContext[Any, Any]
Tool = Callable[[Context, Any], Awaitable[Any]]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
SECRET = b"of the tests alone"
TOOLS: dict[str, tuple[dict[str, Any], Tool]] = {}


def tool(name: str, **arguments: str) -> Callable[[Tool], Tool]:
    """A fixture, with the arguments it needs and what they are."""

    def added(work: Tool) -> Tool:
        properties = {key: {"type": "string", "description": about} for key, about in arguments.items()}
        schema = {"type": "object", "properties": properties, "required": list(arguments)}
        TOOLS[name] = ({"name": name, "description": "For the conformance suite.", "inputSchema": schema}, work)
        return work

    return added


def said(*content: Any, is_error: bool = False) -> types.CallToolResult:
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    return types.CallToolResult.model_validate({"content": blocks, "isError": is_error})


def resource(uri: str, mime: str, text: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}}


IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}


# What a tool returns --------------------------------------------------------------------------------


@tool("test_simple_text")
async def simple(ctx: Context, params: Any) -> Any:
    return said("This is a simple text response for testing.")


@tool("test_image_content")
async def image(ctx: Context, params: Any) -> Any:
    return said(IMAGE)


@tool("test_audio_content")
async def audio(ctx: Context, params: Any) -> Any:
    return said({"type": "audio", "data": WAV, "mimeType": "audio/wav"})


@tool("test_embedded_resource")
async def embedded(ctx: Context, params: Any) -> Any:
    return said(resource("test://embedded-resource", "text/plain", "This is an embedded resource content."))


@tool("test_multiple_content_types")
async def mixed(ctx: Context, params: Any) -> Any:
    text = json.dumps({"test": "data", "value": 123})
    return said(
        "Multiple content types test:", IMAGE, resource("test://mixed-content-resource", "application/json", text)
    )


@tool("test_error_handling")
async def failing(ctx: Context, params: Any) -> Any:
    return said("This tool intentionally returns an error for testing", is_error=True)


@tool("json_schema_2020_12_tool")
async def described(ctx: Context, params: Any) -> Any:
    return said("Described.")


TOOLS["json_schema_2020_12_tool"][0]["inputSchema"] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


# What a tool says and asks while it works ----------------------------------------------------------------------


async def log(ctx: Context, text: str) -> None:
    about = types.LoggingMessageNotificationParams(level="info", data=text)
    if ctx.protocol_version < "2026-07-28":
        await ctx.session.send_notification(
            types.LoggingMessageNotification(params=about), related_request_id=ctx.request_id
        )
    else:
        await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)


@tool("test_tool_with_logging")
async def logging(ctx: Context, params: Any) -> Any:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, text)
        await anyio.sleep(0.01)
    return said("Logged.")


TOOLS["test_logging_tool"] = ({**TOOLS["test_tool_with_logging"][0], "name": "test_logging_tool"}, logging)


@tool("test_tool_with_progress")
async def progress(ctx: Context, params: Any) -> Any:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await anyio.sleep(0.01)
    return said("Done.")


@tool("test_sampling", prompt="What to say to the model.")
async def sampling(ctx: Context, params: Any) -> Any:
    message = types.SamplingMessage(
        role="user", content=types.TextContent(type="text", text=params.arguments["prompt"])
    )
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return said(f"LLM response: {getattr(answer.content, 'text', '')}")


async def elicited(ctx: Context, message: str, properties: dict[str, Any]) -> types.ElicitResult:
    schema = {"type": "object", "properties": properties, "required": []}
    return await ctx.session.elicit_form(message, schema, ctx.request_id)


@tool("test_elicitation", message="What to show to the user.")
async def elicitation(ctx: Context, params: Any) -> Any:
    wanted = {"username": "User's response", "email": "User's email address"}
    properties = {name: {"type": "string", "description": about} for name, about in wanted.items()}
    answer = await elicited(ctx, params.arguments["message"], properties)
    return said(f"User response: action={answer.action}, content={json.dumps(answer.content)}")


@tool("test_elicitation_sep1034_defaults")
async def defaults(ctx: Context, params: Any) -> Any:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    answer = await elicited(ctx, "Please check these.", properties)
    return said(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}")


@tool("test_elicitation_sep1330_enums")
async def enums(ctx: Context, params: Any) -> Any:
    three = ("First", "Second", "Third")
    plain = [f"option{number}" for number in (1, 2, 3)]

    def titled(what: str) -> list[dict[str, str]]:
        return [{"const": f"value{number}", "title": f"{name} {what}"} for number, name in enumerate(three, 1)]

    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }  # fmt: skip
    answer = await elicited(ctx, "Please choose.", properties)
    return said(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}")


# What a tool needs first (2026-07-28) --------------------------------------------------------------------------------


def asks(message: str, **properties: str) -> dict[str, Any]:
    shape = {name: {"type": kind} for name, kind in properties.items()}
    schema = {"type": "object", "properties": shape, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def samples(text: str, most: int = 100) -> dict[str, Any]:
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": most}}


ROOTS = {"method": "roots/list", "params": {}}


def needs(requests: dict[str, Any], state: str | None = None) -> types.InputRequiredResult:
    given: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
    return types.InputRequiredResult.model_validate({**given, "requestState": state} if state else given)


def sealed(text: str) -> str:
    return f"{text}.{hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest()}"


def opened(state: str | None) -> str:
    text = (state or "").rpartition(".")[0]
    if state is not None and not hmac.compare_digest(sealed(text), state):
        raise MCPError(types.INVALID_PARAMS, "the request's state was changed")
    return text


def given(params: Any, name: str) -> dict[str, Any] | None:
    """What was answered to a request, if it is an answer that can be used."""
    answer = (params.input_responses or {}).get(name)
    told = answer.model_dump(by_alias=True) if answer is not None else None
    return told if told and told.get("action", "accept") == "accept" else None


@tool("test_input_required_result_elicitation")
async def needs_a_name(ctx: Context, params: Any) -> Any:
    answer = given(params, "user_name")
    if answer is None or "name" not in (answer.get("content") or {}):
        return needs({"user_name": asks("What is your name?", name="string")})
    return said(f"Hello, {answer['content']['name']}!")


@tool("test_input_required_result_sampling")
async def needs_a_model(ctx: Context, params: Any) -> Any:
    answer = given(params, "capital_question")
    if answer is None:
        return needs({"capital_question": samples("What is the capital of France?")})
    return said(json.dumps(answer["content"]))


@tool("test_input_required_result_list_roots")
async def needs_roots(ctx: Context, params: Any) -> Any:
    answer = given(params, "client_roots")
    return needs({"client_roots": ROOTS}) if answer is None else said(json.dumps(answer["roots"], default=str))


async def needs_consent(ctx: Context, params: Any) -> Any:
    if not opened(params.request_state):
        return needs({"confirm": asks("Please confirm", ok="boolean")}, sealed("asked"))
    return said("state-ok")


for name in ("test_input_required_result_request_state", "test_input_required_result_tampered_state"):
    tool(name)(needs_consent)


@tool("test_input_required_result_multiple_inputs")
async def needs_much(ctx: Context, params: Any) -> Any:
    wanted = {
        "user_name": asks("What is your name?", name="string"),
        "greeting": samples("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    if not opened(params.request_state) or any(given(params, name) is None for name in wanted):
        return needs(wanted, sealed("asked"))
    return said("All there.")


@tool("test_input_required_result_multi_round")
async def needs_twice(ctx: Context, params: Any) -> Any:
    match opened(params.request_state):
        case "":
            return needs({"step1": asks("Step 1: What is your name?", name="string")}, sealed("one"))
        case "one":
            return needs({"step2": asks("Step 2: What is your favorite color?", color="string")}, sealed("two"))
    return said("Both answered.")


@tool("test_input_required_result_capabilities")
async def needs_what_there_is(ctx: Context, params: Any) -> Any:
    able = ctx.session.client_capabilities
    wanted = {"sampling": samples("Say something"), "elicitation": asks("What is your name?", name="string")}
    return needs({name: ask for name, ask in wanted.items() if able is not None and getattr(able, name) is not None})


@tool("test_streaming_elicitation")
async def needs_a_name_while_streaming(ctx: Context, params: Any) -> Any:
    await ctx.session.report_progress(1, 2)
    return await needs_a_name(ctx, params)


@tool("test_missing_capability")
async def needs_sampling(ctx: Context, params: Any) -> Any:
    able = ctx.session.client_capabilities
    if able is None or able.sampling is None:
        lacking: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "this needs sampling", lacking)
    return said("It can.")


# Prompts and resources --------------------------------------------------------------------------------


def prompt(name: str, *arguments: str) -> types.Prompt:
    taken = [types.PromptArgument(name=each, description="For the suite.", required=True) for each in arguments]
    return types.Prompt(name=name, description="For the conformance suite.", arguments=taken)


PROMPTS = [
    prompt("test_simple_prompt"),
    prompt("test_prompt_with_arguments", "arg1", "arg2"),
    prompt("test_prompt_with_embedded_resource", "resourceUri"),
    prompt("test_prompt_with_image"),
    prompt("test_input_required_result_prompt"),
]


def prompted(params: Any) -> Any:
    arguments = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            content: list[Any] = ["This is a simple prompt for testing."]
        case "test_prompt_with_arguments":
            content = [f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'"]
        case "test_prompt_with_embedded_resource":
            inside = resource(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
            content = [inside, "Please process the embedded resource above."]
        case "test_prompt_with_image":
            content = [IMAGE, "Please analyze the image above."]
        case _:
            answer = given(params, "user_context")
            if answer is None:
                return needs({"user_context": asks("What context should the prompt use?", context="string")})
            content = [json.dumps(answer["content"])]
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    return types.GetPromptResult.model_validate({"messages": [{"role": "user", "content": one} for one in blocks]})


RESOURCES = [
    types.Resource(uri="test://static-text", name="static-text", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", mime_type="image/png"),
    types.Resource(uri="test://watched-resource", name="watched-resource", mime_type="text/plain"),
]
TEMPLATE = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template")


def contents(uri: str) -> types.ReadResourceResult | None:
    about: dict[str, Any] = {"uri": uri, "mimeType": "text/plain"}
    if uri in ("test://static-text", "test://watched-resource"):
        about["text"] = "This is the content of the static text resource."
    elif uri == "test://static-binary":
        about |= {"mimeType": "image/png", "blob": PNG}
    elif uri.startswith("test://template/"):
        number = uri.split("/")[3]
        text = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        about |= {"mimeType": "application/json", "text": text}
    else:
        return None
    return types.ReadResourceResult.model_validate({"contents": [about]})


# The endpoint --------------------------------------------------------------------------------


class TestEndpoint(McpEndpoint):
    """Ours, and the fixtures."""

    __test__ = False
    short = frozenset(MODERN)  # of the others this build has sessions

    def __init__(self, version: str) -> None:
        super().__init__(version)
        shown = [types.Tool.model_validate(declared) for declared, _ in TOOLS.values()]
        self._add("tools/list", types.PaginatedRequestParams, lambda mine: mine.tools, shown)
        self._add("prompts/list", types.PaginatedRequestParams, lambda mine: mine.prompts, PROMPTS)
        self._add("resources/list", types.PaginatedRequestParams, lambda mine: mine.resources, RESOURCES)
        templates = [TEMPLATE]
        self._add(
            "resources/templates/list", types.PaginatedRequestParams, lambda mine: mine.resource_templates, templates
        )
        calls, prompts = self._before("tools/call"), self._before("prompts/get")
        reads = self._before("resources/read")

        async def call(ctx: Context, params: types.CallToolRequestParams) -> Any:
            found = TOOLS.get(params.name)
            return await (calls(ctx, params) if found is None else found[1](ctx, params))

        async def get(ctx: Context, params: types.GetPromptRequestParams) -> Any:
            known = any(each.name == params.name for each in PROMPTS)
            return prompted(params) if known else await prompts(ctx, params)

        async def read(ctx: Context, params: types.ReadResourceRequestParams) -> Any:
            return contents(str(params.uri)) or await reads(ctx, params)

        async def nothing(ctx: Context, params: Any) -> Any:
            return types.EmptyResult()

        async def complete(ctx: Context, params: types.CompleteRequestParams) -> Any:
            return types.CompleteResult(completion=types.Completion(values=["paris"], total=1, has_more=False))

        self._server.add_request_handler("tools/call", types.CallToolRequestParams, call)
        self._server.add_request_handler("prompts/get", types.GetPromptRequestParams, get)
        self._server.add_request_handler("resources/read", types.ReadResourceRequestParams, read)
        self._server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, nothing)
        self._server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, nothing)
        self._server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, nothing)
        self._server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._manager = StreamableHTTPSessionManager(self._server)
        async with self._manager.run():
            yield
        self._manager = None

    def _before(self, method: str) -> Tool:
        found = self._server.get_request_handler(method)
        assert found is not None
        return found.handler

    def _add(self, method: str, kind: Any, listed: Callable[[Any], list[Any]], more: list[Any]) -> None:
        before = self._before(method)

        async def handler(ctx: Context, params: Any) -> Any:
            mine = (await before(ctx, params)).model_copy(deep=True)
            listed(mine).extend(more)
            return mine

        self._server.add_request_handler(method, kind, handler)
