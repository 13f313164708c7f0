"""First sync, no-op, an edit of 13 files, a clone and its next fetch: Satchel beside its peers, interleaved.

    python bench/sync.py [FOLDER ...] [--corpus NAME ...] [--link loopback|slow ...] [--peer NAME ...] [--rounds 3]

Whole commands, each against a server of its own with a password, on loopback and over a link of 40 ms and 100 Mbit/s
between two network namespaces (left out, by name, where none can be made). Every round starts each peer (git, restic,
rsync, rclone) from an empty store and takes each once, in turn; medians. The edit changes one line in each of 13 files,
and so does the one that is fetched; the clone is compared with the folder after each. Corpora made here: ``fresh`` and
``near`` (100 MB in 8,000 files), ``many`` (100 MB in 24,000), ``binary`` (20 of 5 MB of noise). Bytes are counted at
the server's device, with the heads of IP and TCP. Files are deleted when all is measured, and none should have been in
the minutes before: it slows ext4 down.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import corpus
import link
from measure import machine, median, report, save
from peers import ALL, STEPS, Figures, Peer

EDITED_FILES = 13
MADE = {"fresh": ("fresh", 8_000), "near": ("near", 8_000), "many": ("fresh", 24_000), "binary": ("binary", 20)}
Table = dict[str, dict[str, list[Figures]]]


def made(name: str, where: Path) -> Path:
    """A corpus by name, 100 MB of it."""
    kind, files = MADE[name]
    corpus.make(kind, where / name, files, 100)
    return where / name


def edit(folder: Path, seed: int) -> None:
    corpus.edit(folder, EDITED_FILES, seed)


@contextmanager
def links(wanted: Sequence[str]) -> Iterator[list[link.Link]]:
    with ExitStack() as stack:
        found = [link.LOOPBACK] if "loopback" in wanted else []
        if "slow" in wanted:
            if why := link.absent():
                print(f"left out: the slow link ({why})", file=sys.stderr)
            else:
                found.append(stack.enter_context(link.slow()))
        yield found


def measure(source: Path, over: link.Link, peers: Sequence[type[Peer]], rounds: int, scratch: Path) -> Table:
    found: Table = {peer.name: {step: [] for step in STEPS} for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            place = Path(tempfile.mkdtemp(dir=scratch))
            folder = place / "folder"
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
            os.sync()
            for step, figures in peer(over, place).steps(folder, edit):
                found[peer.name][step].append(figures)
            empty(place)
    return found


def empty(folder: Path) -> None:
    """Give its room back. Its files stay: ext4 looks past each one deleted in the last minutes to make a new one, so
    that whoever made many next would pay for it (a clone of 8,000 files: 4 s of processor time in place of 0.5)."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
    os.sync()


def show(title: str, found: Table) -> dict[str, dict[str, dict[str, float]]]:
    middle = {
        peer: {
            step: dict(zip(Figures._fields, map(median, zip(*rows, strict=True)), strict=True))
            for step, rows in steps.items()
        }
        for peer, steps in found.items()
    }
    ours = middle.get("satchel")
    for step in STEPS:
        rows = []
        for peer, steps in middle.items():
            f = steps[step]
            times = f" ({f['wall'] / ours[step]['wall']:.1f}x)" if ours else ""
            wire = f"{f['up'] / 1e3:,.1f} / {f['down'] / 1e3:,.1f}" if f["up"] or f["down"] else "-"
            cpu = f"{f['client_cpu']:.2f} / {f['server_cpu']:.2f}"
            memory = f"{f['client_mb']:.0f} / +{f['server_mb']:.0f}"
            rows.append([peer, f"{f['wall']:.2f}{times}", cpu, wire, memory])
        header = ["", "seconds (times Satchel's)", "CPU client / server", "KB up / down", "MiB peak client / server"]
        report(f"{title}: {step}", rows, header)
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--corpus", action="append", choices=list(MADE), default=[])
    parser.add_argument("--link", action="append", choices=["loopback", "slow"], default=[])
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in ALL], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine(), f"load {os.getloadavg()[0]:.1f} as it begins", sep=", ")
    peers = []
    for peer in ALL:
        if options.peer and peer.name not in options.peer:
            continue
        if why := peer.absent():
            print(f"left out: {peer.name} ({why})", file=sys.stderr)
        else:
            peers.append(peer)
    figures = {}
    with (
        tempfile.TemporaryDirectory(prefix="satchel-bench-") as name,
        links(options.link or ["loopback", "slow"]) as over,
    ):
        names = options.corpus or ([] if options.folders else ["fresh"])
        for source in [*options.folders, *(made(each, Path(name)) for each in names)]:
            files = [p for p in source.rglob("*") if p.is_file() and not {".git", ".satchel"} & set(p.parts)]
            size = sum(p.stat().st_size for p in files) / 1e6
            for each in over:
                title = f"{source.name} ({len(files):,} files, {size:.1f} MB), {each.name}"
                figures[title] = show(title, measure(source, each, peers, options.rounds, Path(name)))
    print(f"\nload {os.getloadavg()[0]:.1f} as it ends")
    save(options.json, figures)


if __name__ == "__main__":
    main()
