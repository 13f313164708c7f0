"""Journey 3: sync local context to the cloud, and back, and both ways."""

from __future__ import annotations

import shutil

import pytest

from tests.journeys.conftest import KILLED, Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(3)]
# Every point is walked in tests/faults, in one process; here the ones that differ most, by real processes.
CLIENT_POINTS = ("push.before_send", "push.before_base")
PULL_POINTS = ("pull.after_path", "pull.before_base")
MERGE_POINTS = ("merge.after_record", "merge.after_write", "push.before_send")
SERVER_POINTS = ("receive.after_packs", "receive.after_commit")


def both(server: Server, sam: Person, kim: Person) -> None:
    """Sam's folder is in the cloud and Kim's folder is a copy of it."""
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    kim.login(server)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", server.url, "--project", "demo")
    kim.run("sync", "--from-cloud")


def test_a_second_folder_has_the_same_bytes_and_the_same_digest(server: Server, sam: Person, kim: Person) -> None:
    both(server, sam, kim)
    assert kim.digest() == sam.digest()
    for path, data in kim.files().items():
        assert sam.files()[path] == data
    assert kim.json("remote", "show")["version"] == 1


def test_push_and_pull_are_its_two_directions(server: Server, sam: Person, kim: Person) -> None:
    both(server, sam, kim)
    (sam.folder / "from-sam.md").write_text("# Sam\n")
    (kim.folder / "from-kim.md").write_text("# Kim\n")
    sent = sam.json("push")
    assert ([change["path"] for change in sent["pushed"]], sent["direction"]) == (["from-sam.md"], "to-cloud")
    fetched = kim.json("pull")
    assert ([change["path"] for change in fetched["pulled"]], fetched["waitingPush"]) == (["from-sam.md"], 1)
    assert "from-kim.md" not in sam.files()
    kim.run("push")
    sam.run("pull")
    assert sam.digest() == kim.digest()
    assert kim.json("verify")["clean"]


def test_most_files_gone_are_asked_about_and_come_back_or_go_as_one_says(server: Server, sam: Person) -> None:
    sam.joins(server)
    for number in range(60):
        (sam.folder / f"notes/{number}.md").write_text(f"# Note {number}\n")
    sam.run("sync")
    before = sam.files()
    shutil.rmtree(sam.folder / "notes")
    refused = sam.json("sync", status=5)["error"]
    assert refused["code"] == "sync.many_deletions"
    assert refused["deleted"] >= 60
    assert sam.json("status")["notices"]
    sam.run("pull", "--deleted")
    assert sam.files() == before
    shutil.rmtree(sam.folder / "notes")
    assert len(sam.json("push", "--allow-deletions")["pushed"]) == refused["deleted"]


def test_only_what_changed_travels_and_nothing_when_nothing_did(server: Server, sam: Person) -> None:
    sam.joins(server)
    first = sam.json("sync", "--to-cloud")
    assert first["version"] == 1
    nothing = sam.json("sync")
    assert (nothing["version"], nothing["pushed"], nothing["rawBytes"]) == (1, [], 0)
    (sam.folder / "notes/new.md").write_text("# New\n\nOne small file.\n")
    edit = sam.json("sync")
    assert [change["path"] for change in edit["pushed"]] == ["notes/new.md"]
    assert edit["rawBytes"] < 100


def test_a_dry_run_changes_nothing_on_either_side(server: Server, sam: Person) -> None:
    sam.joins(server)
    before = sam.files()
    plan = sam.json("sync", "--dry-run")
    assert plan["pushed"]
    assert sam.files() == before
    assert server.http("GET", "/projects/demo", server.admin).body["version"] == 0


def test_edits_and_deletions_go_both_ways(server: Server, sam: Person, kim: Person) -> None:
    both(server, sam, kim)
    (sam.folder / "tasks.md").unlink()
    (kim.folder / "AGENTS.md").write_text("# Rules\n\nNew rules.\n")
    sam.run("sync")
    kim.run("sync")
    sam.run("sync")
    assert sam.digest() == kim.digest()
    assert not (kim.folder / "tasks.md").exists()
    assert (sam.folder / "AGENTS.md").read_text() == "# Rules\n\nNew rules.\n"
    kim.run("undo")
    assert (kim.folder / "tasks.md").exists()


@pytest.mark.promise("P3")
def test_a_file_changed_on_both_sides_waits_and_neither_version_is_lost(
    server: Server, sam: Person, kim: Person
) -> None:
    both(server, sam, kim)
    (sam.folder / "README.md").write_text("of sam\n")
    (kim.folder / "README.md").write_text("of kim\n")
    (kim.folder / "notes/kim.md").write_text("from kim\n")
    sam.run("sync")
    report = kim.json("sync", status=3)
    marked = "<<<<<<< LOCAL\nof kim\n=======\nof sam\n>>>>>>> CLOUD\n"
    assert [(item["path"], item["lines"]) for item in report["conflicts"]] == [("README.md", [[1, 5]])]
    assert (kim.folder / "README.md").read_text() == marked
    assert kim.run("get", "--remote", "README.md").stdout == "of sam\n"
    assert [change["path"] for change in report["pushed"]] == ["notes/kim.md"]
    assert kim.json("status", status=3)["conflicts"] == kim.json("conflicts", status=3)["items"] == report["conflicts"]
    assert "[conflict.still_marked]" in kim.run("resolve", "README.md", "--take", "merged", status=2).stderr
    kim.run("resolve", "README.md", "--take", "cloud")
    kim.run("sync")
    assert (kim.folder / "README.md").read_text() == "of sam\n"
    kim.run("undo")
    assert (kim.folder / "README.md").read_text() == "of kim\n"
    kim.run("resolve", "--all", "--take", "local")
    kim.run("sync")
    sam.run("sync")
    assert (sam.folder / "README.md").read_text() == "of kim\n"
    assert sam.digest() == kim.digest()


@pytest.mark.promise("P3")
def test_renames_that_hang_together_wait_together_and_go_with_one_decision(
    server: Server, sam: Person, kim: Person
) -> None:
    first, second = (sam.files()[path] for path in ("README.md", "AGENTS.md"))
    both(server, sam, kim)
    (sam.folder / "START.md").write_text("of sam\n")
    sam.run("sync")
    (kim.folder / "README.md").rename(kim.folder / "START.md")  # which sam has made meanwhile
    (kim.folder / "AGENTS.md").rename(kim.folder / "README.md")
    report = kim.json("sync", status=3)
    assert [(one["path"], one["settle"]) for one in report["conflicts"]] == [
        ("START.md", "resolve"),
        ("README.md", "sync"),
    ]
    assert report["pushed"] == []
    assert kim.json("status", status=3)["conflicts"] == kim.json("conflicts", status=3)["items"] == report["conflicts"]
    shown = kim.run("conflicts", status=3).stdout
    assert "until it is decided the cloud keeps README.md" in shown
    assert "README.md  waits for START.md, to which the cloud's file of this name was renamed here" in shown
    assert "waits for START.md" in kim.run("resolve", "README.md", "--take", "local", status=2).stderr
    agent = {path: kim.run("get", "--remote", path).stdout.encode() for path in ("README.md", "AGENTS.md")}
    assert agent == {"README.md": first, "AGENTS.md": second}
    kim.run("resolve", "--all", "--take", "both")
    assert kim.json("sync")["inStep"]
    sam.run("sync")
    assert sam.digest() == kim.digest()
    assert (sam.files()["START.md"], sam.files()["README.md"]) == (first, second)
    assert sam.files()["START.cloud.md"] == b"of sam\n"
    assert "AGENTS.md" not in sam.files()


@pytest.mark.promise("P3")
@pytest.mark.journey(4)
def test_people_and_an_agent_edit_the_same_files_and_neither_is_lost(server: Server, sam: Person, kim: Person) -> None:
    plan = "# Plan\n\nWe ship in May.\n\nBudget: 10\n\nRisks: none\n"
    (sam.folder / "plan.md").write_text(plan)
    (sam.folder / "old.md").write_text("A page that will be renamed.\n" * 3)
    both(server, sam, kim)
    agent = sam.json("key", "create", "release-bot", "--project", "demo:write")["key"]

    def put(path: str, text: str) -> None:
        address = f"/projects/demo/artifacts/{path}"
        seen = server.http("GET", address, agent, headers={"accept": "application/json"})
        sent = {"if-match": f'"{seen.body["object"]}"', "content-type": "text/markdown"}
        assert server.http("PUT", address, agent, text.encode(), sent).status == 200

    # The agent changes the bottom, a person the top, another renames.
    put("plan.md", plan.replace("none", "rain"))
    put("old.md", "A page that will be renamed.\n" * 3 + "Edited by the agent.\n")
    (sam.folder / "plan.md").write_text(plan.replace("May", "June"))
    (sam.folder / "old.md").rename(sam.folder / "new.md")
    report = sam.json("sync")
    assert (report["merged"], report["conflicts"], report["inStep"]) == (["new.md", "plan.md"], [], True)
    merged = plan.replace("May", "June").replace("none", "rain")
    assert (sam.folder / "plan.md").read_text() == merged
    assert (sam.folder / "new.md").read_text().endswith("Edited by the agent.\n")
    # Both change one line: the agent was first, and the person is asked.
    kim.run("sync")
    put("plan.md", merged.replace("June", "July"))
    (kim.folder / "plan.md").write_text(merged.replace("June", "August").replace("10", "20"))
    (conflict,) = kim.json("sync", status=3)["conflicts"]
    assert (conflict["path"], conflict["lines"], conflict["author"]) == ("plan.md", [[3, 7]], "release-bot")
    shown = kim.run("conflicts", status=3)
    assert "plan.md:3-7  both sides changed the same lines (the cloud: release-bot, version" in shown.stdout
    tool = 'grep -q July "$REMOTE" && grep -q August "$LOCAL" && grep -q June "$BASE" && cat "$LOCAL" > "$MERGED"'
    kim.env["SATCHEL_MERGETOOL"] = tool
    assert kim.json("resolve", "plan.md", "--edit")["settled"] == ["plan.md"]
    kim.run("sync")
    sam.run("sync")
    assert sam.digest() == kim.digest()
    assert (sam.folder / "plan.md").read_text() == merged.replace("June", "August").replace("10", "20")
    # Everybody's edits are versions, by name, and any of them comes back.
    rows = kim.json("log", "plan.md")["items"]
    assert [(row["author"], row["authorKind"]) for row in rows].count(("release-bot", "key")) == 2
    assert "release-bot (key)" in kim.run("log", "plan.md").stdout
    july = next(row["version"] for row in rows if row["author"] == "release-bot")
    assert "-We ship in July." in kim.run("diff", "plan.md", "--at", str(july)).stdout
    kim.run("restore", "plan.md", "--at", str(july))
    assert "We ship in July." in (kim.folder / "plan.md").read_text()
    assert [item["path"] for item in kim.json("diff")["items"]] == ["plan.md"]
    assert kim.json("diff", ".")["items"] == kim.json("diff")["items"]
    assert "[artifact.not_found]" in kim.run("diff", str(july), status=1).stderr
    kim.run("undo")
    assert kim.json("status")["inStep"]
    assert kim.json("diff", "--at", "2999-01-01")["items"] == []
    assert "[version.not_found]" in kim.run("restore", "plan.md", "--at", "2000-01-01T12:00", status=1).stderr
    assert kim.run("log", "nope.md", status=1).stderr.startswith("satchel: there is no artifact 'nope.md'")
    (kim.folder / "fresh.md").write_text("not sent yet\n")
    assert kim.json("log", "fresh.md")["items"] == []
    (kim.folder / "fresh.md").unlink()
    assert len(kim.json("log", ".")["items"]) == len(kim.json("log")["items"])
    gone = kim.json("log", "old.md")["items"]
    assert [(row["added"], row["changed"], row["deleted"]) for row in gone] == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert "Bring one back" not in kim.run("log", "old.md", "-n", "1").stderr  # that version has none
    assert f"restore old.md --at {gone[1]['version']}" in kim.run("log", "old.md", "-n", "2").stderr
    kim.run("restore", "old.md", "--at", str(gone[1]["version"]))
    assert (kim.folder / "old.md").read_text().endswith("Edited by the agent.\n")


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_client_killed_while_it_sends_finishes_the_next_time(server: Server, sam: Person, point: str) -> None:
    sam.joins(server)
    before = sam.files()
    assert sam.run("sync", "--to-cloud", status=None, die_at=point).returncode == KILLED
    assert sam.files() == before
    report = sam.json("sync")
    assert report["inStep"]
    assert report["version"] == 1
    assert server.http("GET", "/projects/demo", server.admin).body["digest"] == sam.digest()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", PULL_POINTS)
def test_a_client_killed_while_it_fetches_finishes_the_next_time(
    server: Server, sam: Person, kim: Person, point: str
) -> None:
    both(server, sam, kim)
    for number in range(5):
        (sam.folder / f"notes/more-{number}.md").write_text(f"# More {number}\n")
    (sam.folder / "tasks.md").unlink()
    sam.run("sync")
    assert kim.run("sync", status=None, die_at=point).returncode == KILLED
    report = kim.json("sync")
    assert report["inStep"]
    assert report["conflicts"] == []
    assert kim.digest() == sam.digest()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", MERGE_POINTS)
def test_a_client_killed_while_it_merges_finishes_the_next_time(
    server: Server, sam: Person, kim: Person, point: str
) -> None:
    lines = [f"line {number}\n" for number in range(9)]
    for name in ("merged.md", "clash.md"):
        (sam.folder / name).write_text("".join(lines))
    both(server, sam, kim)
    for person, line in ((sam, 0), (kim, 8)):
        (person.folder / "merged.md").write_text("".join(lines).replace(lines[line], "changed\n"))
        (person.folder / "clash.md").write_text("".join(lines).replace(lines[4], f"of {line}\n"))
    sam.run("sync")
    assert kim.run("sync", status=None, die_at=point).returncode == KILLED
    report = kim.json("sync", status=3)
    assert [(item["path"], item["lines"]) for item in report["conflicts"]] == [("clash.md", [[5, 9]])]
    merged = (kim.folder / "merged.md").read_text()
    assert merged == "changed\n" + "".join(lines[1:8]) + "changed\n"
    sam.run("sync")
    assert (sam.folder / "merged.md").read_text() == merged
    kim.run("resolve", "clash.md", "--take", "local")
    kim.run("sync")
    sam.run("sync")
    assert sam.digest() == kim.digest()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", SERVER_POINTS)
def test_a_server_killed_while_it_receives_has_all_or_nothing_and_goes_on(
    new_server: Server, sam: Person, kim: Person, point: str
) -> None:
    new_server.start()
    sam.joins(new_server)
    new_server.stop()
    new_server.start(die_at=point)
    _moved(sam, new_server)
    assert sam.run("sync", "--to-cloud", "--wait", "0", status=6).stderr.count("[remote.away]") == 1
    assert new_server.wait_for_death() == KILLED
    new_server.start()
    _moved(sam, new_server)
    version = new_server.http("GET", "/projects/demo", new_server.admin).body["version"]
    assert version in (0, 1)
    report = sam.json("sync")
    assert report["inStep"]
    assert (report["version"], report["digest"]) == (1, sam.digest())
    kim.login(new_server)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", new_server.url, "--project", "demo")
    kim.run("sync", "--from-cloud")
    assert kim.digest() == sam.digest()


def _moved(person: Person, server: Server) -> None:
    """The server came back on another port: the person's settings follow it."""
    config = person.folder / ".satchel/config.toml"
    text = config.read_text()
    old = text.split('url = "')[1].split('"')[0]
    config.write_text(text.replace(old, server.url))
    person.login(server)
    person.run("remote", "add", server.url)


@pytest.mark.promise("P10")
def test_files_do_not_go_to_a_server_that_only_the_folder_names(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync")
    received = sam.folder.with_name("received")
    shutil.copytree(sam.folder, received)
    (received / "notes/own.md").write_text("# Mine\n\nNot for the others.\n")
    for words in (("sync",), ("status", "--remote"), ("search", "--remote", "warning")):
        refused = sam.run(*words, "-C", str(received), status=5)
        assert "[remote.not_accepted]" in refused.stderr
        assert f"satchel remote add {server.url} --project" in refused.stderr
    assert server.http("GET", "/projects/demo", server.admin).body["version"] == 1
    sam.run("remote", "add", server.url, "-C", str(received))
    assert sam.json("sync", "-C", str(received))["version"] == 2


def test_a_folder_that_was_moved_keeps_its_remote(server: Server, sam: Person) -> None:
    sam.joins(server)
    moved = sam.folder.rename(sam.folder.with_name("elsewhere"))
    sam.folder = moved
    assert sam.json("sync")["version"] == 1


@pytest.mark.promise("P11")
def test_leaving_forgets_the_cloud_and_loses_nothing(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    before, answer = sam.files(), sam.json("search", "warning")["hits"]
    sam.run("leave", "--yes")
    assert sam.files() == before
    assert sam.json("remote", "show")["url"] is None
    after = sam.json("search", "warning")["hits"]
    history = {"version": None, "author": None, "authorKind": None, "modified": None}
    assert after == [{**hit, **history} for hit in answer]
    assert "local-only" in sam.run("status").stdout


def test_files_that_tools_execute_arrive_only_with_trust(server: Server, sam: Person, kim: Person) -> None:
    sam.run("connect", "claude-code", "--yes")
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    kim.login(server)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", server.url, "--project", "demo")
    report = kim.json("sync")
    assert report["untrusted"] == [".mcp.json"]
    assert not (kim.folder / ".mcp.json").exists()
    assert kim.json("diff")["items"] == kim.json("diff", "--at", "1")["items"] == []  # it is no deletion of Kim's
    (kim.folder / ".satchelignore").write_text("plan.md\n")
    linked = next(kim.folder / path for path in kim.files() if path.endswith(".md") and path != "plan.md")
    linked.unlink()
    linked.symlink_to("plan.md")  # left out, not deleted
    assert [item["path"] for item in kim.json("diff")["items"]] == [".satchelignore"]
    kim.run("sync", "--trust")
    assert (kim.folder / ".mcp.json").read_bytes() == (sam.folder / ".mcp.json").read_bytes()


def test_a_read_key_fetches_and_may_not_send(server: Server, sam: Person, kim: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    key = sam.json("key", "create", "kim", "--project", "demo:read")["key"]
    kim.login(server, key)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", server.url, "--project", "demo")
    kim.run("sync")
    (kim.folder / "notes/kim.md").write_text("mine\n")
    error = kim.json("sync", status=5)["error"]
    assert error["code"] == "auth.insufficient_scope"
    assert (kim.folder / "notes/kim.md").read_text() == "mine\n"
    assert server.http("GET", "/projects/demo", server.admin).body["version"] == 1
