"""``satchel tenant`` against a real server: what an admin of a tenant says, and what the operator says."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from satchel.remote import Remote
from tests.cli.conftest import Cli, Ran
from tests.server.running import Client, Running, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Its log would be among what the commands print.
    with serving(tmp_path_factory.mktemp("tenants") / "data") as running:
        yield running


@pytest.fixture
def slug() -> str:
    return f"harbour-{next(_numbers)}"


@pytest.fixture
def owner(server: Running, slug: str) -> Client:
    return server.tenant(slug)


As = Callable[..., Ran]


@pytest.fixture
def speak(cli: Cli, server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Client], As]:
    """The command line of somebody with a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATCHEL_URL", server.url)

    def of(who: Client) -> As:
        def call(*words: str, status: int = 0) -> Ran:
            assert who.key is not None
            monkeypatch.setenv("SATCHEL_KEY", who.key)
            return cli("tenant", *words, status=status)

        return call

    return of


@pytest.fixture
def admin(owner: Client, speak: Callable[[Client], As]) -> As:
    return speak(owner)


@pytest.fixture
def operator(server: Running, speak: Callable[[Client], As]) -> As:
    return speak(server.admin)


def test_settings_are_shown_set_listed_and_brought_back(admin: As) -> None:
    assert "sync interval    none" in admin("settings").out
    assert "sync interval    60 seconds" in admin("settings", "--sync-interval", "60").out
    assert "the states of the last 90 days" in admin("retention", "--days", "90").out
    lines = admin("settings", "--history").out.splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1", "0"]
    assert "founded" in lines[-1]
    back = admin("settings", "--revert", "0", "--json").json
    assert (back["settings"]["syncIntervalSeconds"], back["settings"]["retention"]["days"]) == (0, None)
    assert back["settingsRevision"] == 3
    assert "no revision 9" in admin("settings", "--revert", "9", status=1).err
    assert "give one of" in admin("settings", "--revert", "1", "--history", status=2).err
    assert admin("settings", "--sync-interval", "86401", status=2).out == ""


def test_settings_changed_by_somebody_else_meanwhile_are_not_reverted_over(
    admin: As, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin("settings", "--sync-interval", "60")
    call = Remote.call

    def beside(self: Remote, method: str, path: str, **how: object) -> object:
        if method == "PATCH":
            owner.send("PATCH", "/tenant", {"settings": {"syncIntervalSeconds": 5}}).ok()
        return call(self, method, path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Remote, "call", beside)
    assert "tenant.settings_changed" in admin("settings", "--revert", "0", status=3).err
    assert owner.get("/tenant").ok()["settings"]["syncIntervalSeconds"] == 5


def test_the_operator_says_where_content_may_rest(operator: As, admin: As, slug: str) -> None:
    operator("storage", slug, "s3://harbour-eu", "file:///srv")
    assert "s3://harbour-eu, file:///srv" in admin("settings").out
    assert "'ftp://x' is not a place" in operator("storage", slug, "ftp://x", status=2).err
    assert "at least one PLACE" in operator("storage", slug, status=2).err
    assert "at least one PLACE" in operator("storage", slug, "s3:", "--anywhere", status=2).err
    operator("storage", slug, "--anywhere")
    assert "anywhere" in admin("settings").out


def test_a_tenant_is_deleted_after_a_question_brought_back_and_destroyed(operator: As, admin: As, slug: str) -> None:
    assert "nobody is here to answer" in operator("delete", slug, status=2).err
    told = operator("delete", slug, "--yes").err
    assert "is destroyed at" in told
    assert f"satchel tenant restore {slug}" in told
    assert "is being deleted" in admin("show", status=5).err
    [line] = [line for line in operator("list").out.splitlines() if line.startswith(slug)]
    assert "  deleting  until 2" in line
    assert "is back" in operator("restore", slug).err
    assert slug in admin("show").out
    gone = operator("delete", slug, "--now", "--yes", "--json").json
    assert (gone["state"], gone["deleteAt"]) == ("shredded", None)
    assert "auth.invalid" in admin("show", status=4).err
    assert "no such tenant" in (told := operator("restore", slug, status=1).err)
    assert "satchel tenant list" in told


def test_a_tenant_can_be_founded_for_a_while(operator: As, slug: str) -> None:
    made = operator("create", slug, "Harbour", "--expires", "3600")
    assert made.out.startswith("stl_live_")
    assert ", until 2" in made.err
    assert operator("create", slug + "-b", "Harbour", "--json").json["tenant"]["deleteAt"] is None


def test_an_export_has_its_name_only_when_it_is_whole(admin: As, owner: Client, tmp_path: Path) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "docs/a.md", b"# A\n").ok()
    ran = admin("export", "harbour.tar")
    assert "1 file of 1 project" in ran.err
    assert (tmp_path / "harbour.tar").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "harbour.tar") as tar:
        assert tar.extractfile("projects/acme/docs/a.md").read() == b"# A\n"  # type: ignore[union-attr]
    assert "exists already" in admin("export", "harbour.tar", status=2).err
    assert "cannot be written" in admin("export", "nowhere/harbour.tar", status=2).err
    assert "no place for JSON" in admin("export", "-", "--json", status=2).json["error"]["message"]
    told = admin("export", "again.tar", "--json").json
    assert (told["files"], told["projects"], told["missing"]) == (1, 1, [])
    assert {path.name for path in tmp_path.glob("*.tar*")} == {"harbour.tar", "again.tar"}


def test_an_export_that_breaks_off_leaves_nothing(
    admin: As, owner: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Remote.export

    def cut(self: Remote) -> Iterator[bytes]:
        yield b"".join(whole(self))[:-11_000]

    monkeypatch.setattr(Remote, "export", cut)
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"word " * 4_000).ok()
    assert "not whole" in admin("export", "harbour.tar", status=1).err
    assert list(tmp_path.glob("*.tar*")) == []


def test_what_could_not_be_had_is_named_and_is_no_success(
    admin: As, owner: Client, server: Running, tmp_path: Path
) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    for name in ("a.md", "b.md"):
        owner.put("acme", name, f"# {name}\n".encode()).ok()
    tenant = owner.get("/tenant").ok()["id"]
    lost, _ = sorted(
        (server.settings.data / "store" / "tenants" / tenant).rglob("pak_*"), key=lambda path: path.stat().st_mtime_ns
    )
    lost.unlink()
    ran = admin("export", "harbour.tar", status=1)
    assert "left out: a.md of acme (store.missing)" in ran.err
    with tarfile.open(tmp_path / "harbour.tar") as tar:
        assert "projects/acme/b.md" in tar.getnames()


def test_others_than_admins_and_operators_are_told_so(
    owner: Client, server: Running, speak: Callable[[Client], As], slug: str
) -> None:
    reader = speak(server.client(owner.post("/keys", {"name": "r", "role": "read"}).ok()["key"]))
    assert "auth.insufficient_scope" in reader("export", "x.tar", status=5).err
    assert "auth.insufficient_scope" in reader("settings", "--sync-interval", "1", status=5).err
    assert "resource.not_found" in reader("delete", slug, "--yes", status=1).err


@pytest.mark.parametrize("words", [["list"], ["create", "new", "New"], ["suspend", "acme", "--yes"]])
def test_who_does_not_operate_the_server_is_told_so(admin: As, words: list[str]) -> None:
    told = admin(*words, status=1).err
    assert "does not operate the server" in told
    assert "satchel whoami" in told


def test_a_slug_that_is_none_is_refused_in_words(operator: As) -> None:
    told = operator("create", "Bad Slug", "x", status=2).err
    assert "slug: expected lowercase letters, digits and hyphens, at most 63 characters" in told
