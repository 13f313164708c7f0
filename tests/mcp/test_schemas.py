from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from satchel.context.answers import ArtifactText, Health, SearchAnswer
from satchel.errors import InvalidInput
from satchel.mcp.schemas import checked, schema_of

INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "maxLength": 5},
        "limit": {"type": "integer", "minimum": 1, "maximum": 3},
        "from": {"type": "integer", "minimum": 1},
        "done": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 2}, "maxItems": 2},
    },
    "required": ["query"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": "x"},
        {"query": "", "limit": 3, "from": 99, "done": False, "names": ["a", "b"]},
    ],
)
def test_arguments_that_fit_the_schema_pass(arguments: dict[str, Any]) -> None:
    assert checked(arguments, INPUT) == arguments
    Draft202012Validator(INPUT).validate(arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "not an object"),
        ({}, "'query' is missing"),
        ({"query": None}, "'query' is missing"),
        ({"query": 1}, "query is not text"),
        ({"query": "toolong"}, "longer than 5"),
        ({"query": "x", "limit": 0}, "from 1 to 3"),
        ({"query": "x", "limit": 4}, "from 1 to 3"),
        ({"query": "x", "limit": True}, "a whole number"),
        ({"query": "x", "limit": 1.5}, "a whole number"),
        ({"query": "x", "from": 0}, "at least 1"),
        ({"query": "x", "done": "yes"}, "true or false"),
        ({"query": "x", "names": "a"}, "a list"),
        ({"query": "x", "names": [1]}, "an item of names is not text"),
        ({"query": "x", "names": ["a", "b", "c"]}, "more than 2"),
        ({"query": "x", "other": 1}, "no argument 'other'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments: object, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        checked(arguments, INPUT)
    assert not Draft202012Validator(INPUT).is_valid(arguments)


def test_a_whole_number_is_one_however_it_is_written() -> None:
    arguments = {"query": "x", "limit": 3.0}
    Draft202012Validator(INPUT).validate(arguments)
    assert repr(checked(arguments, INPUT)["limit"]) == "3"
    for value in (4.0, 1e300, float("inf"), float("nan")):
        with pytest.raises(InvalidInput):
            checked({"query": "x", "limit": value}, INPUT)


def test_a_null_argument_counts_as_left_out() -> None:
    assert checked({"query": "x", "limit": None}, INPUT) == {"query": "x"}


@pytest.mark.parametrize("shape", [SearchAnswer, ArtifactText, Health])
def test_the_schema_of_an_answer_is_valid_and_names_every_field(shape: Any) -> None:
    schema = schema_of(shape)
    Draft202012Validator.check_schema(schema)
    assert set(schema["required"]) == set(shape.__annotations__) | set(schema["required"])


def test_a_field_that_may_be_null_says_so() -> None:
    assert schema_of(ArtifactText)["properties"]["text"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
