"""What a person reads after a sync."""

from __future__ import annotations

from satchel.cli.sync_cmd import show
from satchel.cli.sync_report import SHOWN_CHANGES, on_the_wire, report_data, traffic_data, travelled
from satchel.remote import Traffic
from satchel.sync.choices import Direction
from satchel.sync.report import UNREAD, ChangedPath, ConflictPath, SyncReport
from satchel.worktree.walk import LeftOut
from tests.cli.test_face import a_face, err, out


def a_report(**how: object) -> SyncReport:
    about = {
        "pushed": [ChangedPath(f"docs/{n}.md", "added") for n in range(SHOWN_CHANGES + 5)],
        "digest": "9f3c21ab" * 8,
        "version": 87,
        "raw_bytes": 412_000,
        "sent_bytes": 31_000,
        "requests": 1,
    }
    return SyncReport(Direction.BOTH, **about | how)  # type: ignore[arg-type]


def shown(report: SyncReport, *, verbose: bool = False) -> str:
    face = a_face()
    show(face, report, 0.21, verbose, Traffic(2, 32_000, 1_000))
    return out(face)


def noted(report: SyncReport) -> str:
    face = a_face()
    show(face, report, 0.21, False)
    return err(face)


def test_a_sync_is_told_in_one_line_of_totals_and_one_of_what_travelled() -> None:
    assert shown(a_report()) == (
        "↑ 25 changed\nIn step: version 87, digest 9f3c21ab, "
        "412 KB raw, 31 KB sent, 32 KB up and 1 KB down in 2 requests, 0.21 s\n"
    )


def test_paths_are_named_by_a_dry_run_or_when_asked_for() -> None:
    assert "docs/0.md" in shown(a_report(dry_run=True))
    assert "It would be 412 KB raw, 31 KB sent in 1 request." in shown(a_report(dry_run=True))
    assert "docs/0.md" in shown(a_report(), verbose=True)
    assert "in step with version 87" in shown(a_report(dry_run=True, pushed=[]))
    assert "and 5 more" in shown(a_report(), verbose=True)


def test_what_is_not_fetched_without_trust_is_named_by_a_dry_run_too() -> None:
    for dry_run in (False, True):
        assert ".mcp.json (satchel sync --trust)" in noted(a_report(dry_run=dry_run, untrusted=[".mcp.json"]))


def test_a_sync_that_conflicts_or_finds_nothing_and_a_dry_run_say_too_what_they_took() -> None:
    conflict = ConflictPath("a.md", "changed on both sides", None, None, [[1, 5]])
    took = "32 KB up and 1 KB down in 2 requests, 0.21 s"
    told = shown(a_report(conflicts=[conflict]))
    assert f"Everything else is in step: version 87, digest 9f3c21ab, 412 KB raw, 31 KB sent, {took}\n" in told
    assert "Done so far: version 87" in shown(a_report(conflicts=[conflict], waiting_pull=1))
    assert shown(a_report(pushed=[], requests=0)) == f"In step: version 87, digest 9f3c21ab, {took}\n"
    face = a_face()
    show(face, a_report(dry_run=True), 0.21, False, Traffic(2, 32_000, 1_000))
    assert err(face) == f"Nothing was changed: this was a dry run ({took}).\n"


def test_what_cannot_be_read_is_named_and_is_not_in_step() -> None:
    unread = LeftOut("docs/b.md", "unreadable", "Permission denied")
    report = a_report(left_out=[unread, LeftOut("big.bin", "too-large")], withheld={"docs/b.md": UNREAD})
    told = shown(report)
    assert "! docs/b.md  cannot be read (Permission denied)\n" in told
    assert "Everything else is in step: version 87" in told
    assert noted(report) == (
        "It stays as it is on both sides until it can be read, or is left out with .satchelignore.\n"
        "Left out: 1 file; why, says  satchel doctor\n"
    )
    assert "and 5 more" in shown(a_report(left_out=[unread] * (SHOWN_CHANGES + 5)))


def test_what_waits_is_counted_in_good_grammar() -> None:
    told = noted(a_report(waiting_push=1, waiting_pull=2))
    assert "Waiting here: 1 change of yours (satchel sync --to-cloud)" in told
    assert "Waiting on the server: 2 changes (satchel sync --from-cloud)" in told


def test_nothing_is_said_of_bytes_where_none_travelled() -> None:
    assert travelled(SyncReport(Direction.BOTH)) == on_the_wire(Traffic()) == ""
    assert travelled(SyncReport(Direction.BOTH, pulled_bytes=2_000)) == "2 KB fetched"


def test_a_program_gets_every_path_and_the_bytes_as_numbers() -> None:
    data = report_data(a_report())
    assert len(data["pushed"]) == SHOWN_CHANGES + 5
    assert traffic_data(Traffic(2, 32, 1)) == {"requests": 2, "wireSentBytes": 32, "wireReceivedBytes": 1}
    assert (data["rawBytes"], data["sentBytes"], data["pushRequests"]) == (412_000, 31_000, 1)


def test_what_a_decision_cannot_settle_is_told_with_what_can() -> None:
    text = ConflictPath("a.md", "changed on both sides", None, None, [[1, 5]])
    name = ConflictPath("B.md", "the same as b.md where case does not count", None, None, settle="rename")
    busy = ConflictPath("c.md", "changed while the sync ran", None, None, settle="sync")
    both = noted(a_report(conflicts=[name, text]))
    assert "satchel resolve a.md --take local|cloud|both" in both
    assert "resolve B.md" not in both
    assert "Give B.md or the other another name, then:  satchel sync" in both
    assert "resolve" not in noted(a_report(conflicts=[name]))
    assert "Look at it, then:  satchel sync" in noted(a_report(conflicts=[busy]))


def test_a_command_that_a_person_is_told_to_run_names_a_file_as_a_shell_needs_it() -> None:
    named = ConflictPath("a;$(b) c.md", "changed on both sides", None, None, [[1, 5]])
    told = noted(a_report(conflicts=[named]))
    assert "satchel resolve 'a;$(b) c.md' --take merged" in told
    assert "Or take one side whole:  satchel resolve 'a;$(b) c.md' --take local" in told
    dashed = ConflictPath("-rf.md", "changed here, deleted in the cloud", None, None)
    assert noted(a_report(conflicts=[dashed])).startswith("Take one side whole:  satchel resolve ./-rf.md --take local")


def test_a_name_that_somebody_gave_himself_is_on_one_line_with_what_he_did() -> None:
    spoof = ConflictPath("a.md", "changed on both sides", None, None, [[1, 5]], author="Bob\n  9  Ann", version=2)
    assert "(the cloud: Bob 9 Ann, version 2)" in shown(a_report(conflicts=[spoof]))


def test_files_that_no_project_takes_are_counted() -> None:
    told = noted(a_report(left_out=[LeftOut("big.bin", "too-large", "9 of at most 8 bytes")]))
    assert told == "Left out: 1 file; why, says  satchel doctor\n"
