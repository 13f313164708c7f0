from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.cli.agents import AGENTS, ENTRY, Agent, edited
from satchel.errors import ConfigInvalid

JSON_AGENTS = [agent for agent in AGENTS.values() if agent.file.endswith(".json")]
CODEX = AGENTS["codex"]


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_an_entry_in_a_new_file_and_out_again_leaves_no_file(agent: object) -> None:
    text = edited(agent, None, "satchel")  # type: ignore[arg-type]
    assert text is not None
    assert edited(agent, text, None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("agent", JSON_AGENTS, ids=lambda agent: agent.name)
def test_the_entry_starts_satchel_over_stdio(agent: object) -> None:
    text = edited(agent, None, "satchel")  # type: ignore[arg-type]
    entry = json.loads(text or "")[agent.section][ENTRY]  # type: ignore[attr-defined]
    assert entry["command"] == "satchel"
    assert entry["args"][0] == "mcp"


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_the_entry_lets_the_agent_write_only_where_that_was_said(agent: Agent) -> None:
    assert "--write" not in (edited(agent, None, "satchel") or "")
    wide = edited(agent, None, "satchel", write=True)
    assert "--write" in (wide or "")
    assert edited(agent, wide, "satchel") == edited(agent, None, "satchel")
    assert edited(agent, wide, None) is None


def test_other_entries_unknown_fields_order_and_indentation_stay() -> None:
    before = (
        '{\n\t"zeta": 1,\n\t"mcpServers": {\n\t\t"other": {\n\t\t\t"command": "x"\n\t\t}\n\t},\n\t"alpha": "ü"\n}\n'
    )
    after = edited(AGENTS["claude-code"], before, "satchel")
    assert after is not None
    assert list(json.loads(after)) == ["zeta", "mcpServers", "alpha"]
    assert "\n\t\t\t" in after
    assert "ü" in after
    assert edited(AGENTS["claude-code"], after, None) == before


def test_connecting_twice_changes_nothing_and_keeps_what_a_person_added_to_the_entry() -> None:
    before = json.dumps({"mcpServers": {"satchel": {"command": "old", "env": {"A": "1"}}}}, indent=2) + "\n"
    once = edited(AGENTS["cursor"], before, "satchel")
    assert edited(AGENTS["cursor"], once, "satchel") == once
    assert json.loads(once or "")["mcpServers"]["satchel"]["env"] == {"A": "1"}


NOT_KEPT = ['{"a": 1, "a": 2}', '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000]


@pytest.mark.parametrize(
    "text", ["{", "// comment\n{}", "[]", '{"mcpServers": []}', '{"mcpServers": {},}', *NOT_KEPT], ids=range(10)
)
def test_a_file_that_is_not_what_it_should_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        edited(AGENTS["claude-code"], text, "satchel")


def test_a_toml_file_keeps_every_byte_outside_of_our_table() -> None:
    before = '# my settings\nmodel = "x"\n\n[mcp_servers.other]\ncommand = "y" # why\n'
    after = edited(CODEX, before, "satchel")
    assert after is not None
    assert after.startswith(before)
    assert tomllib.loads(after)["mcp_servers"]["satchel"] == {"command": "satchel", "args": ["mcp"]}
    assert (edited(CODEX, after, None) or "").rstrip() == before.rstrip()


@pytest.mark.parametrize(
    ("agent", "before"),
    [(CODEX, 'model = "x"\r\n[tui]\r\na = 1\r\n'), (AGENTS["cursor"], '{\r\n  "a": 1,\r\n  "mcpServers": {}\r\n}\r\n')],
)
def test_line_ends_stay_as_they_are(agent: Agent, before: str) -> None:
    after = edited(agent, before, "satchel") or ""
    assert after.count("\n") == after.count("\r\n") > before.count("\n")
    assert (edited(agent, after, None) or "").rstrip() == before.rstrip()


def test_our_toml_table_is_replaced_wherever_it_stands() -> None:
    before = '[mcp_servers.satchel]\ncommand = "old"\n[mcp_servers.satchel.env]\nA = "1"\n[tui]\ntheme = "dark"\n'
    after = tomllib.loads(edited(CODEX, before, "satchel") or "")
    assert after == {"tui": {"theme": "dark"}, "mcp_servers": {"satchel": {"command": "satchel", "args": ["mcp"]}}}


@pytest.mark.parametrize(
    "text",
    [
        "model = ",
        "a = " + "[" * 100_000,
        "a = " + "1" * 5_000,
        'mcp_servers = { satchel = { command = "x" } }\n',
        'mcp_servers.satchel.command = "x"\n',
    ],
)
def test_toml_this_command_cannot_edit_safely_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="nothing was written"):
        edited(CODEX, text, "satchel")


@settings(max_examples=50)
@given(st.dictionaries(st.text(min_size=1), st.text()), st.dictionaries(st.text(min_size=1), st.text()))
def test_in_and_out_again_gives_back_any_json_document(outer: dict[str, str], inner: dict[str, str]) -> None:
    inner.pop(ENTRY, None)
    document: dict[str, object] = {**outer, "mcpServers": {"kept": {}, **inner}}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert edited(AGENTS["cursor"], edited(AGENTS["cursor"], text, "satchel"), None) == text
