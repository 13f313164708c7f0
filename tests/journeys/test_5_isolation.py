"""Journey 5: multi-tenant isolation, as two customers of one server see it."""

from __future__ import annotations

import pytest

from tests.journeys.conftest import Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(5), pytest.mark.promise("P5")]


@pytest.fixture
def rival(server: Server, kim: Person) -> Person:
    """Kim runs another tenant of the same server, with a project of the same name."""
    named = {"slug": f"{server.slug}-rival", "name": "Rival"}
    made = server.http("POST", "/admin/tenants", server.operator, named, {"idempotency-key": named["slug"]})
    assert made.status == 201
    (kim.folder / "secret.md").write_text("# Secret\n\nThe password of the moon is zanzibarium, a warning.\n")
    kim.joins(server, made.body["adminKey"])
    kim.run("sync", "--to-cloud")
    return kim


def test_each_tenant_sees_its_own_alone(server: Server, sam: Person, rival: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    for person, words in ((sam, {"lighthouse"}), (rival, {"zanzibarium"})):
        listed = person.json("projects", "--remote")["items"]
        assert [row["project"] for row in listed] == ["demo"]
        found = {
            word for word in ("lighthouse", "zanzibarium") if person.json("search", "--remote", "--all", word)["hits"]
        }
        assert found == words
    assert sam.json("remote", "show")["project"] != rival.json("remote", "show")["project"]


def test_what_belongs_to_another_tenant_looks_as_if_it_never_existed(
    server: Server, sam: Person, rival: Person
) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    theirs, never = rival.json("remote", "show")["project"], "prj_0123456789abcdefghjkmnpqrs"
    for words in (["search", "x"], ["get", "secret.md"], ["tasks"], ["context"]):
        answers = [sam.json(*words, "--remote", "--project", name, status=1)["error"] for name in (theirs, never)]
        seen = [{**answer, "requestId": "", "message": answer["message"].replace(name, "*")}
                for answer, name in zip(answers, (theirs, never), strict=True)]  # fmt: skip
        assert seen[0] == seen[1]
    for name in (theirs, never):
        sam.run("remote", "remove")
        assert (
            sam.json("remote", "add", server.url, "--project", name, status=1)["error"]["code"] == "project.not_found"
        )


def test_an_admin_of_a_tenant_is_nobody_to_the_operator_s_pages(server: Server, rival: Person) -> None:
    assert rival.json("tenant", "list", status=1)["error"]["code"] in ("resource.not_found", "auth.insufficient_scope")


def test_a_suspended_tenant_gets_nothing_and_the_other_notices_nothing(
    server: Server, sam: Person, rival: Person
) -> None:
    sam.joins(server)
    operator = {"SATCHEL_KEY": server.operator, "SATCHEL_URL": server.url}
    sam.run("tenant", "suspend", f"{server.slug}-rival", "--yes", env=operator)
    assert rival.json("search", "--remote", "moon", status=5)["error"]["code"] == "tenant.suspended"
    sam.run("sync")
    sam.run("tenant", "resume", f"{server.slug}-rival", env=operator)
    assert rival.json("search", "--remote", "moon")["hits"]


def test_the_bytes_at_rest_show_no_content_and_the_log_none_either(own_server: Server, kim: Person) -> None:
    (kim.folder / "secret.md").write_text("# Secret\n\nThe password of the moon is zanzibarium.\n")
    kim.joins(own_server)
    kim.run("sync", "--to-cloud")
    assert kim.json("search", "--remote", "moon")["hits"]
    own_server.stop()
    stored = b"".join(path.read_bytes() for path in (own_server.data / "store").rglob("*") if path.is_file())
    cached = b"".join(path.read_bytes() for path in (own_server.data / "cache").rglob("*") if path.is_file())
    assert stored
    assert cached
    for word in (b"zanzibarium", b"secret.md"):
        assert word not in stored + cached
    assert "zanzibarium" not in own_server.log.read_text()
