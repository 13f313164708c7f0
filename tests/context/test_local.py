from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from satchel.context import local
from satchel.context.local import SETTLE_TRIES, LocalReader, _Open
from satchel.context.part import Part
from satchel.errors import InvalidInput, NoSuchArtifact, NoSuchProject, NoSuchVersion, NotAFolder
from satchel.objects.ids import Digest, Lineage, ObjectId, object_id
from satchel.worktree.base import Base, CloudEntry, save_base
from satchel.worktree.walk import ChangedMeanwhile, Worktree
from tests.context.conftest import MakeReader, local_project


def test_a_hit_says_where_it_stands_and_from_which_digest(reader: LocalReader) -> None:
    answer = reader.search("retraction of a red warning")
    hit = answer["hits"][0]
    assert (hit["project"], hit["path"], hit["kind"]) == ("lighthouse", "specs/warnings.md", "spec")
    assert hit["trail"][-1] == "Retraction of a red warning"
    assert "duty officer" in hit["snippet"]
    assert hit["digest"] == answer["projects"][0]["digest"]
    assert (hit["version"], hit["author"], hit["modified"]) == (None, None, None)


def test_the_lines_of_a_hit_open_the_section(reader: LocalReader) -> None:
    hit = reader.search("retraction of a red warning")["hits"][0]
    first, last = hit["lines"]
    text = reader.artifact("lighthouse", hit["path"], first=first, last=last)["text"]
    assert text is not None
    assert text.startswith("### Retraction of a red warning\n")
    assert "duty officer" in text


def test_every_answer_is_of_the_folder_as_it_is_now(reader: LocalReader, sample_project: Path) -> None:
    before = reader.search("zeppelin")
    assert before["hits"] == []
    (sample_project / "notes").mkdir(exist_ok=True)
    (sample_project / "notes/airship.md").write_text("# Airship\n\nThe zeppelin passes at noon.\n")
    after = reader.search("zeppelin")
    assert [hit["path"] for hit in after["hits"]] == ["notes/airship.md"]
    assert after["projects"][0]["digest"] != before["projects"][0]["digest"]
    (sample_project / "notes/airship.md").unlink()
    assert reader.search("zeppelin") == before


@pytest.mark.promise("P2")
def test_another_process_over_the_same_folder_gives_the_same_answer(
    reader: LocalReader, sample_project: Path, tmp_path: Path, make_reader: MakeReader
) -> None:
    """One index was edited, the other made at once."""
    reader.search("warning")
    (sample_project / "added.md").write_text("# Added\n\nA warning about warnings.\n")
    other = make_reader(local_project(sample_project, own=tmp_path / "elsewhere"))
    for query in ("warning", "duty officer retraction", "kind:spec", "threshold -red"):
        assert reader.search(query, limit=50) == other.search(query, limit=50)
    assert reader.context("lighthouse") == other.context("lighthouse")
    assert reader.tasks("lighthouse") == other.tasks("lighthouse")
    assert reader.artifacts("lighthouse") == other.artifacts("lighthouse")


def test_the_context_tells_what_the_project_is(reader: LocalReader) -> None:
    answer = reader.context("lighthouse")
    assert answer["manifest"] is not None
    assert answer["manifest"]["name"] == "lighthouse"
    assert answer["problems"] == []
    assert sum(answer["kinds"].values()) == answer["artifacts"]
    assert answer["openTasks"] == reader.tasks("lighthouse")["total"]
    assert len(answer["recent"]) == 10
    assert answer["recent"] == sorted(answer["recent"], key=lambda item: item["path"])


def test_a_manifest_that_does_not_parse_is_a_problem_and_not_a_failure(
    reader: LocalReader, sample_project: Path
) -> None:
    (sample_project / "context.json").write_text('{"name": ')
    answer = reader.context("lighthouse")
    assert answer["manifest"] is None
    assert "not JSON" in answer["problems"][0]
    assert reader.projects()[0]["description"] == ""


def test_projects_are_listed_with_what_their_manifest_says(reader: LocalReader) -> None:
    (info,) = reader.projects()
    assert (info["project"], info["relations"]) == ("lighthouse", [{"type": "depends-on", "project": "tide-tables"}])
    assert info["digest"] == reader.search("x")["projects"][0]["digest"]


def test_artifacts_come_in_pages(reader: LocalReader) -> None:
    whole = reader.artifacts("lighthouse")
    paths: list[str] = []
    cursor = None
    while True:
        page = reader.artifacts("lighthouse", cursor=cursor, limit=3)
        paths += [item["path"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert paths == [item["path"] for item in whole["items"]] == sorted(paths)
    specs = reader.artifacts("lighthouse", kind="spec", prefix="specs/")
    assert {item["kind"] for item in specs["items"]} == {"spec"}
    assert reader.artifacts("lighthouse", kind="RFCs", prefix="specs/") == specs
    with pytest.raises(InvalidInput) as refused:
        reader.artifacts("lighthouse", kind="novel")
    assert "spec, plan" in refused.value.hint


@pytest.mark.promise("P8")
@pytest.mark.parametrize("cursor", ["", "nonsense", "docs", "12:docs/x.md", "2:0:0123456789ab", "4", "path:docs/x.md"])
def test_what_is_no_cursor_of_a_list_of_artifacts_is_refused(reader: LocalReader, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        reader.artifacts("lighthouse", prefix="specs/", cursor=cursor)
    assert "cursor" in refused.value.message
    assert "`next`" in refused.value.hint


def test_artifacts_are_listed_by_a_text_in_path_or_title_whatever_its_case(
    reader: LocalReader, sample_project: Path
) -> None:
    (sample_project / "specs" / "z.md").write_text("# Über den Hafen\n")

    def named(text: str, **how: object) -> list[str]:
        return [item["path"] for item in reader.artifacts("lighthouse", text=text, **how)["items"]]  # type: ignore[arg-type]  # as it comes

    assert named("PECS/Z") == named("u\u0308ber d") == ["specs/z.md"]
    assert named("über", prefix="docs/") == named("100%") == []
    first = reader.artifacts("lighthouse", text="s/", limit=1)
    assert named("s/", limit=1, cursor=first["next"]) == named("s/")[1:2] != []


def test_an_artifact_is_read_whole_or_by_lines(reader: LocalReader, sample_project: Path) -> None:
    whole = reader.artifact("lighthouse", "README.md")
    data = (sample_project / "README.md").read_bytes()
    assert whole["text"] == data.decode()
    assert (whole["object"], whole["size"]) == (object_id(data), len(data))
    assert reader.artifact("lighthouse", "README.md", first=1, last=1)["text"] == "# Lighthouse\n"


@pytest.mark.parametrize("path", ["nope.md", "../secret", "/etc/passwd", "", "specs", ".satchel/state.db"])
def test_what_is_not_in_the_project_is_absent(reader: LocalReader, path: str) -> None:
    with pytest.raises(NoSuchArtifact):
        reader.artifact("lighthouse", path)


def test_projects_are_named_by_slug_or_id(reader: LocalReader) -> None:
    assert reader.history("prj_l" + "0" * 25)["project"] == "lighthouse"
    for name in ("LIGHTHOUSE", "other", ""):
        with pytest.raises(NoSuchProject):
            reader.context(name)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("times", [SETTLE_TRIES - 1, SETTLE_TRIES])
def test_an_index_that_another_process_brings_on_is_asked_again_and_never_a_defect(
    reader: LocalReader, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Two agents in one folder under work: whoever looked first meets the index where the other brought it."""
    asks: list[Callable[[], object]] = [
        lambda: reader.search("warning"),
        lambda: reader.artifacts("lighthouse"),
        lambda: reader.artifact("lighthouse", "README.md"),
        lambda: reader.tasks("lighthouse"),
        lambda: reader.context("lighthouse"),
    ]
    left = 0
    real = _Open.part

    def part(self: _Open) -> Part:
        nonlocal left
        left -= 1
        made = real(self)
        return made if left < 0 else replace(made, digest=Digest("0" * 64))

    monkeypatch.setattr(_Open, "part", part)
    for ask in asks:
        left = times
        if times < SETTLE_TRIES:
            assert ask()
        else:
            with pytest.raises(ChangedMeanwhile):
                ask()


@pytest.mark.parametrize("error", [ChangedMeanwhile("x changed"), NoSuchArtifact("x cannot be read")])
def test_a_folder_that_never_rests_is_said_to_change(
    reader: LocalReader, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(Worktree, "read", read)
    with pytest.raises(ChangedMeanwhile, match="lighthouse changes faster"):
        reader.tasks("lighthouse")


def test_a_damaged_index_is_rebuilt_and_told(
    reader: LocalReader, sample_project: Path, make_reader: MakeReader
) -> None:
    before = reader.search("warning")
    reader.close()
    index = sample_project / ".satchel/index.db"
    for damage in (b"junk", index.read_bytes()[:4_096] + bytes(200_000)):
        for beside in sample_project.glob(".satchel/index.db-*"):
            beside.unlink()
        index.write_bytes(damage)
        again = make_reader(local_project(sample_project))
        assert again.search("warning") == before
        assert "an index is derived" in again.notices[0]
        again.close()


@pytest.mark.promise("P9")
def test_an_index_damaged_between_questions_is_rebuilt(reader: LocalReader, sample_project: Path) -> None:
    before = reader.search("warning")
    opened = reader._opened["lighthouse"]
    assert opened._index is not None
    opened._index._database.execute("DROP TABLE block")
    assert reader.search("warning") == before
    assert "built anew" in reader.notices[0]


def test_where_no_index_can_be_kept_it_is_made_in_memory(sample_project: Path, make_reader: MakeReader) -> None:
    blocked = sample_project / "README.md"  # a file where a folder is wanted
    project = local_project(sample_project)._replace(index_path=blocked / "index.db")
    reader = make_reader(project)
    assert reader.search("warning")["hits"]
    assert "in memory" in reader.notices[0]
    assert reader.search("warning")["hits"]


def test_one_folder_that_is_gone_does_not_silence_the_others(
    sample_project: Path, tmp_path: Path, make_reader: MakeReader
) -> None:
    second = tmp_path / "second"
    shutil.copytree(sample_project, second)
    reader = make_reader(local_project(sample_project), local_project(second, "second"))
    assert {one["project"] for one in reader.search("warning")["projects"]} == {"lighthouse", "second"}
    shutil.rmtree(second)
    answer = reader.search("warning")
    assert answer["skipped"] == [{"project": "second", "reason": NotAFolder.code}]
    assert [one["project"] for one in answer["projects"]] == ["lighthouse"]
    with pytest.raises(NotAFolder):
        reader.search("warning", projects=["second"])
    assert (reader.health()["projects"], reader.health()["status"]) == (2, "degraded")
    assert {info["project"]: info["digest"] is None for info in reader.projects()} == {
        "lighthouse": False,
        "second": True,
    }


def test_a_query_may_choose_projects(sample_project: Path, tmp_path: Path, make_reader: MakeReader) -> None:
    second = tmp_path / "second"
    shutil.copytree(sample_project, second)
    reader = make_reader(local_project(sample_project), local_project(second, "second"))
    assert [one["project"] for one in reader.search("warning project:second")["projects"]] == ["second"]
    assert [one["project"] for one in reader.search("warning -project:second")["projects"]] == ["lighthouse"]
    answer = reader.search("warning project:nowhere")
    assert (answer["projects"], answer["skipped"]) == ([], [{"project": "nowhere", "reason": NoSuchProject.code}])
    assert answer["hits"] == []


def test_many_projects_answer_alike_without_their_states_staying_open(
    sample_project: Path, tmp_path: Path, make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    shutil.copytree(sample_project, second)
    reader = make_reader(local_project(sample_project), local_project(second, "second"))
    opened: set[int] = set()
    connect = apsw.Connection

    class Watched(connect):  # type: ignore[misc, valid-type]
        def __init__(self, path: str) -> None:
            super().__init__(path)
            if path.endswith("state.db"):
                opened.add(id(self))

        def close(self, *how: bool) -> None:
            super().close(*how)
            opened.discard(id(self))

    monkeypatch.setattr(apsw, "Connection", Watched)
    few = reader.search("warning")
    assert len(opened) == 2
    monkeypatch.setattr(local, "MANY_PROJECTS", 1)
    assert [reader.search("warning") for _ in range(2)] == [few, few]
    assert opened == set()
    (second / "README.md").write_text("# Another\n\nwarning zebra\n")
    assert reader.search("zebra")["hits"][0]["project"] == "second"


def synced(root: Path, reader: LocalReader, *, version: int = 7) -> None:
    """Let the folder be in step with a version of a hosted project."""
    listed = reader.artifacts("lighthouse", limit=1_000)
    cloud = {
        item["path"]: CloudEntry(item["mode"], ObjectId(item["object"]), 3, "ana", 1_767_323_045_678)
        for item in listed["items"]
    }
    save_base(root, Base(Lineage("lin_" + "0" * 26), version, Digest(listed["digest"]), cloud, {}))


@pytest.mark.promise("P2")
def test_history_comes_from_the_last_sync_and_only_for_what_did_not_change(
    reader: LocalReader, sample_project: Path
) -> None:
    synced(sample_project, reader)
    hit = reader.search("retraction of a red warning")["hits"][0]
    assert (hit["version"], hit["author"], hit["modified"]) == (3, "ana", "2026-01-02T03:04:05.678Z")
    assert reader.search("warning")["projects"][0]["version"] == 7
    assert reader.context("lighthouse")["recent"][0]["version"] == 3
    assert reader.context("lighthouse")["lineage"] == reader.history("lighthouse")["lineage"] == "lin_" + "0" * 26

    with (sample_project / "specs/warnings.md").open("a") as spec:
        spec.write("\nAnd a word more.\n")
    changed = reader.search("retraction of a red warning")
    assert changed["hits"][0]["version"] is None
    assert changed["projects"][0]["version"] is None
    assert {hit["version"] for hit in changed["hits"] if hit["path"] != "specs/warnings.md"} <= {3}


def test_an_old_version_is_the_servers_to_give(reader: LocalReader, sample_project: Path) -> None:
    with pytest.raises(NoSuchVersion) as refused:
        reader.artifact("lighthouse", "README.md", at=1)
    assert "--remote" in refused.value.hint
    synced(sample_project, reader)
    assert reader.artifact("lighthouse", "README.md", at=7)["version"] == 3
    assert reader.artifact("lighthouse", "README.md", at=3)["version"] == 3
    for at in (2, 8):
        with pytest.raises(NoSuchVersion):
            reader.artifact("lighthouse", "README.md", at=at)


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (51, 0), (10, -1), (10, 991)])
@pytest.mark.promise("P8")
def test_limits_are_refused_by_name(reader: LocalReader, limit: int, offset: int) -> None:
    with pytest.raises(InvalidInput, match=r"limit|offset"):
        reader.search("warning", limit=limit, offset=offset)


def test_a_file_that_cannot_be_read_is_left_out_and_the_rest_answers(reader: LocalReader, sample_project: Path) -> None:
    os.symlink("/etc/passwd", sample_project / "outside.md")
    (sample_project / "half.md").write_bytes(b"\xff\xfe warning")
    answer = reader.search("warning", limit=50)
    assert answer["hits"]
    assert not {"outside.md", "half.md"} & {hit["path"] for hit in answer["hits"]}
    assert reader.artifact("lighthouse", "half.md")["text"] is None
    with pytest.raises(NoSuchArtifact):
        reader.artifact("lighthouse", "outside.md")
