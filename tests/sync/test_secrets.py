"""Credentials are made up here as the tests run: none is in the repository, not even an invented one."""

from __future__ import annotations

import codecs
import random
import re
import string
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from satchel.errors import InvalidInput
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry
from satchel.sync import holdback, outlook, reading
from satchel.sync.choices import Strategy
from satchel.sync.outlook import status
from satchel.sync.push import read_object
from satchel.sync.run import run
from satchel.sync.secrets import _PLACEHOLDER, MARK, MAX_FINDINGS, Finding, find_secrets, may_hold_secrets, new_secrets
from satchel.worktree.find import local_dir
from satchel.worktree.policy import Governing, Policies
from satchel.worktree.state import forget
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud, held, put
from tests.sync.conftest import Desk

SOURCE = random.Random(7)
ALNUM, HEX, UPPER = string.ascii_letters + string.digits, "0123456789abcdef", "ABCDEFGHKMNPQRSTVWXYZ234567"


def some(count: int, letters: str = ALNUM) -> str:
    """Random letters and digits, some of either, that do not happen to spell a placeholder: one in hundreds did, and
    was rightly passed over."""
    while True:
        made = "".join(SOURCE.choice(letters) for _ in range(count))
        mixed = letters is not ALNUM or not (made.isalpha() or made.isdigit())
        if mixed and not re.search(_PLACEHOLDER, made.encode()):
            return made


def pem(kind: str = "RSA ") -> str:
    body = "\n".join(some(64) for _ in range(4))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----\n"


REAL: dict[str, Callable[[], str]] = {
    "AWS access key": lambda: f"AKIA{some(16, UPPER)}",
    "GitHub token": lambda: f"ghp_{some(36)}",
    "GitHub token (fine-grained)": lambda: f"github_pat_{some(22)}_{some(59)}",
    "GitLab token": lambda: f"glpat-{some(20)}",
    "Slack token": lambda: f"xoxb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}",
    "Slack webhook": lambda: f"https://hooks.slack.com/services/T{some(9, UPPER)}/B{some(9, UPPER)}/{some(24)}",
    "Discord webhook": lambda: f"https://discord.com/api/webhooks/{some(18, string.digits)}/{some(68)}",
    "Telegram bot token": lambda: f"{some(9, '123456789')}:AA{some(33)}",
    "Stripe key": lambda: f"sk_live_{some(24)}",
    "OpenAI key": lambda: f"sk-proj-{some(64)}",
    "Anthropic key": lambda: f"sk-ant-api03-{some(93)}",
    "OpenRouter key": lambda: f"sk-or-v1-{some(64, HEX)}",
    "Google API key": lambda: f"AIza{some(35)}",
    "Google client secret": lambda: f"GOCSPX-{some(28)}",
    "Hugging Face token": lambda: f"hf_{some(34, string.ascii_letters)}",
    "npm token": lambda: f"npm_{some(36)}",
    "PyPI token": lambda: f"pypi-AgEIcHlwaS5vcmc{some(80)}",
    "RubyGems key": lambda: f"rubygems_{some(48, HEX)}",
    "Docker token": lambda: f"dckr_pat_{some(27)}",
    "SendGrid key": lambda: f"SG.{some(22)}.{some(43)}",
    "Twilio key": lambda: f"SK{some(32, HEX)}",
    "DigitalOcean token": lambda: f"dop_v1_{some(64, HEX)}",
    "Shopify token": lambda: f"shpat_{some(32, HEX)}",
    "Linear key": lambda: f"lin_api_{some(40)}",
    "Databricks token": lambda: f"dapi{some(32, HEX)}",
    "Vault token": lambda: f"hvs.{some(95)}",
    "Terraform token": lambda: f"{some(14)}.atlasv1.{some(67)}",
    "Grafana token": lambda: f"glsa_{some(32)}_{some(8, HEX)}",
    "Tailscale key": lambda: f"tskey-auth-{some(12)}-{some(32)}",
    "Azure storage key": lambda: f"AccountName=x;AccountKey={some(86)}==;EndpointSuffix=core",
    "JSON Web Token": lambda: f"eyJ{some(30)}.eyJ{some(60)}.{some(43)}",
    "Satchel key": lambda: f"stl_live_{some(60, string.ascii_lowercase + string.digits)}",
    "private key": pem,
    "private key (escaped)": lambda: '{"private_key": "' + pem("").replace("\n", "\\n") + '"}',
    "password in an address": lambda: f"postgres://app:{some(14)}@db.internal.acme.io:5432/app",
    "assigned secret": lambda: f'client_secret = "{some(40)}"',
    "assigned secret (yaml)": lambda: f"  apiKey: {some(32)}",
    "assigned secret (env)": lambda: f"export SERVICE_TOKEN={some(43)}",
    "assigned secret (hex)": lambda: f"secret_token: '{some(64, HEX)}'",
}
HARMLESS = [
    "password: <your password here, at least 20 characters>",
    'api_key = os.environ["SERVICE_API_KEY_FOR_PRODUCTION"]',
    "token: ${GITHUB_TOKEN_OF_THE_PIPELINE_1}",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-ant-...",
    "postgres://user:password@localhost:5432/db and https://user:secret@example.com/",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ",
    "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 61ba740fd1e2c3b4a59687f0e1d2c3b4a5968778",
    "https://github.com/acme/enhancements/tree/master/keps/sig-storage/1790-recover-resize-failure-2026",
    "secretKeyRef: production/database-credentials-v2-2026-09",
    "tokenReview: authentication.k8s.io/v1beta1/TokenReviewStatus",
    "The secret is kept in PersistentVolumeClaimRetentionPolicy1Controller.",
    "objects: 9f3c21ab",
]


@pytest.mark.parametrize("kind", REAL)
def test_a_credential_is_found_with_its_line_and_its_kind(kind: str) -> None:
    text = f"# Notes\n\nSome words before it.\n{REAL[kind]()}\nand after.\n"
    found = find_secrets(text.encode())
    assert [finding.line for finding in found] == [4]
    assert found[0].kind == kind.partition(" (")[0]


@pytest.mark.parametrize("kind", REAL)
def test_it_is_found_whatever_stands_beside_it(kind: str) -> None:
    for around in ("{}", "({})", "words\n{}", "{}\n@ and AA"):
        found = find_secrets(around.format(REAL[kind]()).encode())
        assert {finding.kind for finding in found} == {kind.partition(" (")[0]}


@pytest.mark.parametrize(
    "before", ["token=", "token:", 'token: "', "token = '", "token := `", "token\t=>\t", '"token":"']
)
def test_a_value_is_found_however_it_is_assigned(before: str) -> None:
    assert find_secrets(f"{before}{some(40)}1aB".encode()) == [Finding(1, "assigned secret")]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_document_about_credentials_is_no_credential(text: str) -> None:
    assert find_secrets(text.encode()) == []


def test_a_marked_line_is_not_looked_at_and_the_next_one_is() -> None:
    marked = f"{REAL['npm token']()}  <!-- {MARK.decode()} -->\n{REAL['npm token']()}\n"
    assert find_secrets(marked.encode()) == [Finding(2, "npm token")]


def test_findings_are_bounded_and_bytes_that_are_no_text_are_looked_at() -> None:
    many = "\n".join(REAL["GitHub token"]() for _ in range(100))
    assert len(find_secrets(many.encode())) == MAX_FINDINGS
    assert find_secrets(b"\0\xff" + REAL["npm token"]().encode() + b"\0") == [Finding(1, "npm token")]
    assert find_secrets(b"") == []


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_a_text_in_utf_16_is_looked_at_as_any_other(mark: bytes) -> None:
    coding = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    lines = ["\u0a05 notes", REAL["GitHub token"](), "after", REAL["npm token"]()]
    before, after = (mark + "\r\n".join(part).encode(coding) for part in (lines[:2], lines))
    assert find_secrets(after) == [Finding(2, "GitHub token"), Finding(4, "npm token")]
    assert new_secrets(after, before) == [Finding(4, "npm token")]
    assert may_hold_secrets([b"nothing", after])
    assert find_secrets(mark + "no token at all".encode(coding) + b"\xd8") == []


@pytest.mark.parametrize("letter", ["a", "A", "-", "=", "eyJ", "://", "sk_live_", "password=", "-----BEGIN "])
def test_no_text_takes_long(letter: str) -> None:
    find_secrets(letter.encode() * 300_000)  # the time limit of tests is the bound: it takes a fraction of a second


@pytest.mark.promise("P8")
def test_secrets_behind_millions_of_lines_are_told_from_those_before_at_once() -> None:
    data = b"\n" * 4_000_000 + b"\n".join(f"{number} ghp_{some(36)}".encode() for number in range(MAX_FINDINGS))
    began = time.process_time()
    assert new_secrets(data, data) == []
    assert time.process_time() - began < 1  # 0.1 s; 2 s where all lines were parted for each finding


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", [b"PuTTY-User-Key-File-1: x\n", b"X-A: -----BEGIN PRIVATE KEY-----\n"])
def test_names_of_a_format_without_its_body_do_not_take_long(name: bytes) -> None:
    began = time.process_time()
    assert find_secrets(b"a" * 40 + b"\n" + name * 30_000) == []
    assert time.process_time() - began < 2


class Looked(bytes):
    """Bytes that count how often somebody searches them from the beginning."""

    looks = 0

    def count(self, *where: Any) -> int:
        self.looks += 1
        return super().count(*where)


def test_a_file_that_is_one_line_is_looked_through_once_for_all_that_stands_in_it() -> None:
    data = Looked(" ".join([REAL["AWS access key"]()] * 1_000).encode())
    assert find_secrets(data) == [Finding(1, "AWS access key")]
    assert data.looks == 1


@pytest.mark.parametrize("between", [b"\n", b"\\n", b"Proc-Type: x\n"])
def test_the_head_of_a_key_without_its_body_takes_no_memory(between: bytes) -> None:
    text = b"a" * 40 + b"\n-----BEGIN PRIVATE KEY-----" + between * 100_000
    tracemalloc.start()
    find_secrets(text)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * len(text)  # it once was 40 to 120 bytes for each of its bytes


def test_a_file_that_looks_so_is_held_back_and_the_rest_goes(ann: Desk, bob: Desk) -> None:
    secret = REAL["GitHub token"]()
    put(ann.root, {"a.md": "A\n", "notes/key.md": f"one\n{secret}\n"})
    planned = ann.sync(dry_run=True)
    report = ann.sync()
    assert planned.secrets == report.secrets == [holdback.SecretFound("notes/key.md", 2, "GitHub token")]
    assert [change.path for change in report.pushed] == ["a.md"]
    assert not report.in_step
    bob.sync()
    assert held(bob.root) == {"a.md": "A\n"}
    assert secret not in (ann.root / ".satchel/secrets.json").read_text()


def test_the_status_says_what_a_sync_would_hold_back(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, {"a.md": "A\n"})
    ann.sync()
    put(ann.root, {"b.md": "B\n", "key.md": f"{REAL['GitHub token']()}\n", "allowed.md": f"{REAL['GitHub token']()}\n"})
    governing = Governing(allowed=("allowed.md",))
    told = status(ann.worktree, governing)
    assert [change.path for change in told.pushed] == ["allowed.md", "b.md"]
    assert ([found.path for found in told.secrets], told.secrets_allowed) == (["key.md"], ["allowed.md"])
    assert (told.secrets, told.pushed) == ((asked := ann.sync(dry_run=True, governing=governing)).secrets, asked.pushed)
    assert status(ann.worktree, look=False).secrets == []
    monkeypatch.setattr(outlook, "MAX_LOOKED_BYTES", 10)
    told = status(ann.worktree)
    assert (told.secrets, len(told.pushed)) == ([], 3)
    assert "--dry-run" in told.notices[0]


def test_a_file_that_waits_is_not_read_again_and_nothing_is_looked_at_where_nothing_is_sent(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"a.md": "A\n", "key.md": REAL["npm token"]()})
    ann.sync()

    def never(*_: object) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(holdback, "read_object", never)
    assert [found.path for found in ann.sync().secrets] == ["key.md"]
    (ann.root / "key.md").unlink()
    assert ann.sync().secrets == []


def test_what_the_scan_read_is_not_read_again_to_be_looked_at(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("it was read")

    many = {f"{number}.md": f"{number}\n" * 3_000 for number in range(20)}
    put(ann.root, {**many, "key.md": REAL["npm token"](), "same.md": REAL["npm token"]()})
    with monkeypatch.context() as patch:
        patch.setattr(holdback, "read_object", never)
        report = ann.sync()
    assert [found.path for found in report.secrets] == ["key.md", "same.md"]
    assert len(report.pushed) == len(many)


def test_what_the_cloud_had_is_not_looked_into_when_it_is_read_again(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"a.md": "A\n", "b.md": "B\n"})
    ann.sync()
    put(ann.root, {"b.md": "new\n"})
    ann.worktree.close()
    forget(local_dir(ann.root) / "state.db")
    assert list(reading.start(Worktree.open(ann.root)).findings) == [object_id(b"new\n")]


@pytest.mark.parametrize("meanwhile", ["harmless\n", None])
def test_a_file_that_is_another_while_it_is_looked_at_is_not_sent_unseen(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch, meanwhile: str | None
) -> None:
    secret, real, times = REAL["npm token"](), read_object, 0
    put(ann.root, {"a.md": "A\n", "key.md": secret})
    monkeypatch.setattr(ann.worktree, "_clock_ns", lambda: time.time_ns() + 10**10)
    ann.worktree.scan()  # remembered, so that the scan of the sync has no content to be looked at

    def swapped(*asked: Any) -> Any:
        """What an editor that saves twice may make of it."""
        nonlocal times
        if "key.md" not in asked:
            return real(*asked)
        times += 1
        (ann.root / "key.md").rename(ann.root.parent / "away.md")
        if meanwhile is not None:
            put(ann.root, {"key.md": meanwhile})
        try:
            return real(*asked)
        finally:
            (ann.root.parent / "away.md").replace(ann.root / "key.md")

    with monkeypatch.context() as patch:
        patch.setattr(holdback, "read_object", swapped)
        ann.sync()
    assert times
    bob.sync()
    assert held(bob.root) == {"a.md": "A\n"}
    assert [found.path for found in ann.sync().secrets] == ["key.md"]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"version": 1, "objects": {"x": 3}}', b"\xff"])
def test_what_was_found_before_is_found_again_where_the_note_is_damaged(ann: Desk, damage: bytes) -> None:
    put(ann.root, {"key.md": REAL["npm token"]()})
    ann.sync()
    (ann.root / ".satchel/secrets.json").write_bytes(damage)
    assert [found.path for found in ann.sync().secrets] == ["key.md"]


@pytest.mark.parametrize("how", [Governing(allowed=("key.md",)), Governing(Policies(allow_secrets=("key.*",)))])
def test_an_allowed_file_goes_and_the_audit_says_so(ann: Desk, bob: Desk, cloud: Cloud, how: Governing) -> None:
    put(ann.root, {"key.md": REAL["npm token"](), "other.md": REAL["npm token"]()})
    report = run(ann.worktree, ann.peer, ann.project, governing=how)
    assert report.secrets_allowed == ["key.md"]
    assert [found.path for found in report.secrets] == ["other.md"]
    bob.sync()
    assert list(held(bob.root)) == ["key.md"]
    rows = [row for row in cloud.audited(ann.peer.tenant) if row.action == "secrets.allowed"]
    assert [row.target for row in rows] == [f"{ann.project} version 1: key.md"]


@pytest.mark.parametrize(("files", "letters"), [(51, "a"), (8, "\u6f22" * 50)])
def test_more_of_them_than_a_server_can_be_told_of_are_refused_before_anything_is_sent(
    ann: Desk, files: int, letters: str
) -> None:
    put(ann.root, {f"{letters}/{letters}-{number}.md": REAL["npm token"]() for number in range(files)})
    how = Governing(Policies(allow_secrets=("*.md",)))
    with pytest.raises(InvalidInput, match=f"{files} files look as if") as refused:
        run(ann.worktree, ann.peer, ann.project, governing=how)
    assert "then allow the others" in refused.value.hint


def test_a_strategy_does_not_send_it_either(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"x.md": "1\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"x.md": REAL["npm token"]()})
    put(bob.root, {"x.md": "Bob's\n"})
    bob.sync()
    for _ in range(2):
        report = ann.sync(strategy=Strategy.LOCAL)
        assert [found.path for found in report.secrets] == ["x.md"]
    assert bob.sync().pulled == []


def test_an_edit_that_follows_a_rename_is_looked_at_under_its_old_name(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"old.md": "1\n"})
    ann.sync()
    bob.sync()
    (ann.root / "old.md").rename(ann.root / "new.md")
    ann.sync()
    put(bob.root, {"old.md": REAL["npm token"]()})
    report = bob.sync()
    assert [found.path for found in report.secrets] == ["new.md"]
    assert [change.path for change in report.pushed] == []
    assert (bob.root / "old.md").read_text().startswith("npm_")


def test_a_conflict_that_may_not_travel_is_still_a_conflict_when_it_may(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"x.md": "1\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"x.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"x.md": "Bob's\n"})
    assert [one.path for one in bob.sync().conflicts] == ["x.md"]
    policies = Governing(Policies(local_only=("x.md",)))
    run(bob.worktree, bob.peer, bob.project, governing=policies)
    assert [one.lines for one in bob.sync().conflicts] == [[[1, 5]]]
    assert ann.peer.content(ann.project, "x.md") == b"Ann's\n"


def test_content_that_the_cloud_has_already_is_not_looked_at(ann: Desk, tmp_path: object) -> None:
    put(ann.root, {"key.md": REAL["npm token"]()})
    entry = ann.worktree.scan().tree["key.md"]
    cloud = {"elsewhere.md": Entry("100644", entry.object)}
    assert holdback.judge(ann.root, {"key.md": entry}, cloud, Governing()) == holdback.Judged([], ())


@pytest.mark.parametrize("kind", REAL)
def test_files_looked_at_together_hide_nothing_of_each_other(kind: str) -> None:
    said = REAL[kind]()
    alone = f"# Notes\n{said}\n".encode()
    assert find_secrets(alone)
    for other in (b"", b"PuTTY-User-Key-File-2: an example of\n", b"token:", b"-----BEGIN PRIVATE KEY-----", b"a" * 40):
        assert may_hold_secrets([other, alone])
        assert may_hold_secrets([alone, other])
        assert may_hold_secrets([other, said.encode(), other])
    assert not may_hold_secrets([b"# Notes\n", b"nothing at all\n", b""])


def test_what_stood_there_before_is_not_new_and_another_key_in_its_place_is() -> None:
    token, key = f"ghp_{some(36)}\n".encode(), pem().encode()
    before = b"# Keys\n\n" + token + key
    assert new_secrets(b"# Moved\r\n\r\n\r\n" + before + b"\nmore\n", before) == []
    assert new_secrets(before + pem().encode(), before) == [Finding(before.count(b"\n") + 1, "private key")]
    assert [finding.kind for finding in new_secrets(before, b"# Keys\n")] == ["GitHub token", "private key"]
