"""Front matter comes from whoever can push: none of it may end the process, exhaust it or hold it up."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from satchel.documents.front_matter import MAX_KEY_DOTS, load_toml, read

DEEP = "title: kept\nx: " + "[" * 60_000
MERGES = "title: kept\na0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)
ALIASES = "title: kept\na0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
TAGS = "%TAG ! tag:" + "x" * 30_000 + "\n--- {a: [" + "!a b," * 5_000 + "],\ntitle: kept\n}"


def yaml(block: str) -> dict[str, object]:
    return dict(read(f"---\n{block}\n---\n# text\n").values)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("block", [DEEP, MERGES, ALIASES, TAGS], ids=["deep", "merges", "aliases", "tags"])
def test_yaml_that_grows_when_it_is_loaded_is_not_and_gives_its_plain_lines(block: str) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    try:
        assert yaml(block)["title"] == "kept"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("value", ["!!bool x", "!!int ''", "1" + ":1" * 300 + ".5", "2026-02-30"])
def test_a_scalar_that_cannot_be_converted_leaves_the_plain_lines(value: str) -> None:
    assert yaml(f"title: kept\nother: {value}")["title"] == "kept"


@pytest.mark.parametrize("number", ["0x" + "f" * 20_000, "1" + ":1" * 5_000])
def test_a_number_too_long_to_be_written_out_is_left_out(number: str) -> None:
    assert yaml(f"title: {number}\nowner: sam") == {"owner": "sam"}


@pytest.mark.promise("P8")
def test_a_toml_key_of_thousands_of_parts_is_not_parsed() -> None:
    began = time.perf_counter()
    assert read("+++\n" + ".".join(["a"] * 20_000) + " = 1\n+++\n").values == {}
    assert time.perf_counter() - began < 2


def test_nested_values_and_lists_of_usual_depth_are_read() -> None:
    assert yaml("title: Plan\ntags: [a, b]\nmeta: {a: {b: [c]}}") == {"title": "Plan", "tags": ["a", "b"]}


def test_a_toml_number_of_thousands_of_digits_is_not_parsed() -> None:
    text = f"+++\ntitle = {'1' * 5_000}\n+++\n"
    assert read(f"{text}# text\n") == ({}, len(text))


@pytest.mark.promise("P8")
@pytest.mark.parametrize("fence", ["---", "+++"])
def test_a_line_of_blanks_that_might_be_a_key_takes_no_time_squared(fence: str) -> None:
    began = time.process_time()
    assert read(f"{fence}\na{' ' * 60_000}\n{fence}\n# text\n").end == 0
    assert time.process_time() - began < 2


_PARTS = ".b" * 400
_TABLES = "".join(f"a.k{n}{_PARTS} = 1\n" for n in range(MAX_KEY_DOTS // 400))


@pytest.mark.parametrize(
    "text",
    [
        _TABLES,
        "x = {" + ",".join(f'"\\""{_PARTS}.k{n}."" = """\n"""' for n in range(MAX_KEY_DOTS // 400)) + "}",
        '# """\n' + _TABLES + '# """',
        'x = """a""""\n' + _TABLES.replace("1\n", '"\\""\n'),
        "x = '''a''''\n" + _TABLES.replace("1\n", "'\\'\n"),
    ],
    ids=["plain", "between strings", "between comments", "after four quotes", "after four apostrophes"],
)
def test_toml_whose_keys_make_tables_by_the_ten_thousand_is_not_parsed(text: str) -> None:
    with pytest.raises(ValueError, match="too many parts"):
        load_toml(text)


def test_dots_in_strings_and_comments_of_toml_are_no_parts_of_keys() -> None:
    url = "a.b.c/" * 20
    lines = [f'u{n} = "{url}" # {url}\nv{n} = \'{url}\'\nw{n} = """{url}""""\n' for n in range(400)]
    assert load_toml("".join(lines))["w399"] == url + '"'
