from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.context.answers import MAX_ARTIFACT_BUDGET
from satchel.context.local import LocalProject, LocalReader
from satchel.errors import InvalidInput, NoSuchArtifact, NoSuchProject, NotAFolder, TooLarge
from satchel.mcp import resources
from satchel.mcp.resources import Place, list_page, place_of, read, uri_of
from satchel.worktree.ignore import Rules


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_every_path_has_an_address_that_leads_back(path: str) -> None:
    uri = uri_of("acme", path)
    assert uri.isascii()
    assert place_of(uri) == Place("acme", path)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "acme/a.md",
        "file:///a",
        "satchel://",
        "satchel://acme",
        "satchel://acme/",
        "satchel:///a",
        "satchel://a/%ff",
        "satchel://a\ud800/b",
        "satchel://a/b\ud800",
    ],
)
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput):
        place_of(uri)


def test_all_artifacts_are_listed_page_by_page(reader: LocalReader, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list_page(reader, None)
    assert "nextCursor" not in whole
    assert [one["name"] for one in whole["resources"]] == [
        item["path"] for item in reader.artifacts("lighthouse")["items"]
    ]
    monkeypatch.setattr(resources, "PAGE", 4)
    found, cursor = [], None
    while True:
        page = list_page(reader, cursor)
        found += page["resources"]
        cursor = page.get("nextCursor")
        if cursor is None:
            break
    assert found == whole["resources"]


def test_a_folder_that_is_gone_leaves_the_lists_of_the_others(sample_project: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    projects = [
        LocalProject(slug, f"prj_{slug[0]}" + "0" * 25, root, Rules(), tmp_path / f"{slug}.state", tmp_path / slug)
        for slug, root in (("also", tmp_path / "gone"), ("lighthouse", sample_project))
    ]
    with closing(LocalReader(projects)) as reader:
        before = list_page(reader, None)
        (tmp_path / "gone").rmdir()
        assert list_page(reader, None) == before
        with closing(LocalReader(projects[:1])) as alone, pytest.raises(NotAFolder):
            list_page(alone, None)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_go_on_where_they_ended_whatever_project_that_was_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    projects = []
    for slug, count in (("one", 3), ("three", 0), ("two", 2)):
        root = tmp_path / slug
        root.mkdir()
        for number in range(count):
            (root / f"{number}.md").write_text(f"{number}\n")
        paths = tmp_path / f"{slug}.state", tmp_path / f"{slug}.index"
        projects.append(LocalProject(slug, f"prj_{slug[0]}" + "0" * 25, root, Rules(), *paths))
    monkeypatch.setattr(resources, "PAGE", size)
    found: list[str] = []
    with closing(LocalReader(projects)) as reader:
        cursor = None
        while True:
            page = list_page(reader, cursor)
            found += [one["uri"].removeprefix("satchel://") for one in page["resources"]]
            if (cursor := page.get("nextCursor")) is None:
                break
    assert found == ["one/0.md", "one/1.md", "one/2.md", "two/0.md", "two/1.md"]


@pytest.mark.parametrize("cursor", ["", "nonsense", "/a.md", "lighthouse/\ud800", "lighthouse/README.md"])
def test_what_is_no_cursor_of_the_list_is_refused(reader: LocalReader, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        list_page(reader, cursor)
    assert "cursor" in refused.value.message


def test_a_resource_is_the_text_of_its_artifact(reader: LocalReader, sample_project: Path) -> None:
    (sample_project / "a b+ü.md").write_text("# Hello\n")
    uri = uri_of("lighthouse", "a b+ü.md")
    assert read(reader, uri) == {"contents": [{"uri": uri, "mimeType": "text/markdown", "text": "# Hello\n"}]}


def test_a_type_is_told_where_the_name_tells_it(reader: LocalReader, sample_project: Path) -> None:
    for name in ("a.html", "b.png", "c.py", "d.toml", "e"):
        (sample_project / name).write_text("x\n")
    found = {one["name"]: one.get("mimeType") for one in list_page(reader, None)["resources"]}
    assert [found[name] for name in ("a.html", "b.png", "c.py", "d.toml", "e")] == [
        "text/html", None, None, "text/plain", None,
    ]  # fmt: skip
    assert read(reader, "satchel://lighthouse/c.py")["contents"][0]["mimeType"] == "text/plain"


def test_what_cannot_be_read_as_text_says_why(reader: LocalReader, sample_project: Path) -> None:
    (sample_project / "data.txt").write_bytes(b"\0")
    (sample_project / "long.txt").write_text("x\n" * MAX_ARTIFACT_BUDGET)
    for uri, error in (
        ("satchel://lighthouse/data.txt", InvalidInput),
        ("satchel://lighthouse/long.txt", TooLarge),
        ("satchel://lighthouse/nope.md", NoSuchArtifact),
        ("satchel://other/nope.md", NoSuchProject),
    ):
        with pytest.raises(error):
            read(reader, uri)
