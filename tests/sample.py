"""A small project for tests: the context of `lighthouse`, an imaginary service that sends weather warnings.

Sixteen text files: most kinds of artifact, nested folders, headings of both markdown styles, code fences that hold
things looking like headings and tasks, front matter, checkbox tasks, a context.json, text in three scripts; besides
them two ignored files and a binary one.
"""

from __future__ import annotations

from pathlib import Path

SAMPLE_FILES: dict[str, str] = {
    "context.json": """\
{
  "name": "lighthouse",
  "description": "Weather warnings for harbours, sent within a minute of the observation.",
  "repositories": [{"name": "beacon", "url": "https://example.com/lighthouse/beacon.git"}],
  "services": [{"name": "dispatcher", "description": "Chooses who must be warned"}],
  "relations": [{"type": "depends-on", "project": "tide-tables"}]
}
""",
    "README.md": """\
# Lighthouse

Lighthouse watches the harbour sensors and warns the crews. Start with the [overview](architecture/overview.md).

## How to read this folder

Specs say what, plans say when, decisions say why.
""",
    "AGENTS.md": """\
# Instructions for agents

- Read `specs/warnings.md` before you touch the dispatcher.
- Never change a threshold without a decision record.
""",
    "specs/warnings.md": """\
---
title: Warning rules
kind: spec
owner: harbour team
tags: [thresholds, dispatcher]
---

# Warning rules

A warning goes out when the gust speed stays above the threshold for three observations.

## Thresholds

| level | gust, knots |
|---|---|
| amber | 34 |
| red | 48 |

## Retraction

A warning is retracted when the gusts stay below the threshold for thirty minutes.

```markdown
# This heading is inside a fence

- [ ] and this task is an example, not a task
```

### Retraction of a red warning

A red warning is retracted by the duty officer alone.
""",
    "specs/delivery.md": """\
Delivery
========

Every crew gets its warning by two channels, and acknowledges one of them.

Retries
-------

A message is sent again after 20 seconds, 40 seconds and 80 seconds; then the duty officer is called.
""",
    "plans/2031-storm-season.md": """\
# Plan for the storm season

1. Rehearse the failover in the first week.
2. Replace the sensor at the north mole.

## Risks

The spare sensor arrives late.
""",
    "tasks.md": """\
# Open work

## Dispatcher

- [x] Read thresholds from the decision register
- [ ] Retry delivery over the second channel @maren
- [ ] Measure the time from observation to warning
  - [ ] Name the slowest harbour

## Sensors

* [X] Order the spare sensor
* [ ] Calibrate the anemometer at the north mole
""",
    "architecture/overview.md": """\
# Architecture overview

Sensors report to the collector; the collector hands observations to the dispatcher; the dispatcher warns the crews.

## Collector

Keeps ninety minutes of observations in memory. Nothing is written before it is validated.

## Dispatcher

Holds no state of its own: after a restart it reads the last observations again.
""",
    "decisions/0001-two-channels.md": """\
# 1. Two channels for every warning

Status: accepted

## Context

One channel failed for four hours in spring, and nobody noticed.

## Decision

Every warning goes out by radio and by text message.

## Consequences

Twice the cost of sending; a crew that acknowledges one channel is not called on the other.
""",
    "decisions/0002-thresholds-in-knots.md": """\
---
status: accepted
date: 2031-02-11
---
# 2. Thresholds are in knots

## Decision

Thresholds are stored and shown in knots, because crews think in knots.
""",
    "runbooks/failover.md": """\
# Failover of the dispatcher

## When

The dispatcher has not warned, retried or retracted anything for ten minutes during a storm.

## Steps

```sh
# move the dispatcher to the second harbour
beacon failover --to second
```

A rollback of the failover needs the approval of the duty officer.
""",
    "journal/2031-03-02.md": """\
# 2 March

The gusts passed 51 knots at 04:10. The red warning went out in 38 seconds; two crews acknowledged by radio.
""",
    "handoffs/night-shift.md": """\
# Hand-off to the night shift

The sensor at the north mole drops one observation in ten. Watch it; do not restart the collector for it.
""",
    "notes/names.md": """\
# Names of the harbours

Grønhavn, Αλιμάνι, 港町. A crew uses the local name; the register uses the Latin one.
""",
    "services/dispatcher.yaml": """\
service: dispatcher
owner: harbour team
thresholds:
  amber_knots: 34
  red_knots: 48
""",
    ".gitignore": """\
build/
*.log
""",
}
"""Relative path to text, UTF-8, LF line ends. Every path here belongs to the project."""

SAMPLE_IGNORED: dict[str, bytes] = {
    "build/report.md": b"# Built\n\nThis file is ignored, and no search may find it.\n",
    "dispatcher.log": b"04:10 red warning sent\n",
}
"""Files that `.gitignore` of the sample leaves out."""

SAMPLE_BINARY: dict[str, bytes] = {"architecture/map.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + bytes(range(256))}
"""Files that belong to the project and sync, but hold no text to index."""


def write_sample_project(root: Path) -> Path:
    """Write the sample under ``root`` (made if missing) and return ``root``."""
    contents = {path: text.encode() for path, text in SAMPLE_FILES.items()} | SAMPLE_IGNORED | SAMPLE_BINARY
    for path, data in contents.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root
