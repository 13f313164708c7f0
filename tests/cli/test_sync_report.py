"""What a person reads after a sync."""

from __future__ import annotations

from satchel.cli.sync_cmd import show
from satchel.cli.sync_report import SHOWN_CHANGES, report_data, traffic_data, travelled
from satchel.remote import Traffic
from satchel.sync.report import ChangedPath, SyncReport
from satchel.sync.session import Direction
from tests.cli.test_face import a_face, out


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


def test_a_sync_is_told_in_one_line_of_totals_and_one_of_what_travelled() -> None:
    assert shown(a_report()) == (
        "↑ 25 changed\nIn step: version 87, digest 9f3c21ab, "
        "412 KB raw, 31 KB sent, 32 KB up and 1 KB down in 2 requests, 0.21 s\n"
    )


def test_paths_are_named_by_a_dry_run_or_when_asked_for() -> None:
    assert "docs/0.md" in shown(a_report(dry_run=True))
    assert "It would be 412 KB raw, 31 KB sent; looking took 0.21 s." in shown(a_report(dry_run=True))
    assert "docs/0.md" in shown(a_report(), verbose=True)
    assert "in step with version 87" in shown(a_report(dry_run=True, pushed=[]))
    assert "and 5 more" in shown(a_report(), verbose=True)


def test_nothing_is_said_of_bytes_where_none_travelled() -> None:
    assert travelled(SyncReport(Direction.BOTH)) == ""
    assert travelled(SyncReport(Direction.BOTH, pulled_bytes=2_000)) == "2 KB fetched"


def test_a_program_gets_every_path_and_the_bytes_as_numbers() -> None:
    data = report_data(a_report())
    assert len(data["pushed"]) == SHOWN_CHANGES + 5
    assert traffic_data(Traffic(2, 32, 1)) == {"requests": 2, "wireSentBytes": 32, "wireReceivedBytes": 1}
    assert (data["rawBytes"], data["sentBytes"], data["pushRequests"]) == (412_000, 31_000, 1)
