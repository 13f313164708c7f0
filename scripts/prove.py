"""Show that what guards Satchel still bites: each line is how many planted defects were caught, of how many.

    python scripts/prove.py [WORD ...]

Runs the tests that plant something (a forbidden import, a flipped bit, an unscoped statement, a crash, a foreign
credential) and prints one line for each kind: ``name: got / of``; with words, only those whose names hold one of them.
Ends 1 if any line falls short.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]

# What is planted, and the tests that plant it.
PROOFS = {
    "forbidden imports seen by their contracts": ["tests/repository/test_import_contracts.py"],
    "statements that leave their tenant, refused": [
        "tests/catalog/test_guard.py",
        "tests/isolation/test_catalog_wall.py",
    ],
    "operations and tools closed to foreign and weak credentials, in every cell and to every trick": [
        "tests/isolation/test_http_matrix.py",
        "tests/isolation/test_confusion.py",
        "tests/isolation/test_faces.py",
        "tests/isolation/test_two_tenants.py",
        "tests/cli/test_admin_prove.py",
    ],
    "2,000 random sequences of two tenants that leaked nothing, and leaks planted among them found": [
        "tests/isolation/test_sequences.py"
    ],
    "altered, cut and misplaced frames, packs and seals, refused": [
        "tests/objects/test_frame.py",
        "tests/objects/test_pack.py",
        "tests/objects/test_seal.py",
        "tests/objects/test_tamper.py",
        "tests/store/test_bucket_vectors.py",
    ],
    "defects of sealing and framing, noticed": ["tests/objects/test_planted.py"],
    "no key and nonce twice in 1,000,000 seals, and repeats noticed": ["tests/objects/test_single_use.py"],
    "words of contents looked for in all that a server writes, and leaks of them noticed": [
        "tests/isolation/test_canaries.py"
    ],
    "secrets of every way in looked for where a server writes and in the list of processes, and leaks noticed": [
        "tests/isolation/test_secret_canaries.py"
    ],
    "kinds of stored files of which 101 flipped bytes each, and 1,100 of the catalog, were found and named": [
        "tests/upkeep/test_flips.py"
    ],
    "hostile names refused on both sides, and 10,000 races for a symlink that led nowhere": [
        "tests/server/test_hostile_names.py",
        "tests/sync/test_hostile_names.py",
        "tests/faults/test_symlink_race.py",
    ],
    "made-up credentials found before a push, and documents about credentials let through": [
        "tests/sync/test_secrets.py"
    ],
    "folders copied, restored, mixed up and cut off in the middle, which lost nothing": [
        "tests/sync/test_odd_folders.py",
        "tests/sync/test_resume.py",
    ],
    "forged, stale and foreign tokens and keys, refused": ["tests/auth/test_tokens.py", "tests/auth/test_keys.py"],
    "scenarios of the MCP conformance suite that our bridge and our authorization server passed": [
        "tests/conformance/mcp"
    ],
    "kills, power losses, full and failing disks, in parts below, after which nothing was lost and the next run "
    "finished": ["tests/faults/test_kills.py", "tests/faults/test_power_loss.py", "tests/faults/test_disk_errors.py"],
    "defects of durability, planted and found by kills and power losses": ["tests/faults/test_planted_crashes.py"],
    "outages of databases and stores that cost no byte": [
        "tests/faults/test_database_outage.py",
        "tests/faults/test_database_troubles.py",
        "tests/faults/test_database_values.py",
        "tests/faults/test_store_outage.py",
    ],
    "changes of keys, killed at every step and beside writers, after which everything opened": [
        "tests/upkeep/test_keys.py",
        "tests/upkeep/test_reseal.py",
        "tests/store/test_keyring.py",
    ],
    "changes after which no node allowed anything beyond a second, and writes that the next read on another node saw": [
        "tests/nodes/test_changes_reach.py"
    ],
    "histories of 1,000 commits through three nodes that were one line, and planted breaks of it noticed": [
        "tests/nodes/test_one_line.py"
    ],
    "deaths of nodes, and things to be forgotten, after which nothing was lost or kept": [
        "tests/nodes/test_come_and_go.py",
        "tests/nodes/test_one_service.py",
    ],
    "hundreds of orders of collect, purge, pushes and reads that lost nothing, and defects of them noticed": [
        "tests/upkeep/test_collect_interleavings.py"
    ],
    "parts of 100,000 simulated histories of clients, agents, crashes and a bad network that lost nothing, and defects "
    "planted in them noticed": ["tests/simulation"],
    "kills of collect and purge after which the next run finished": [
        "tests/upkeep/test_collect.py",
        "tests/upkeep/test_purge.py",
    ],
    "crashes of a store that left a whole object or none": ["tests/store/test_durable_local.py"],
}


def prove(tests: list[str], counts_at: Path) -> tuple[int, int]:
    """How many of the tests passed, of how many that ran or should have; parts that they count go to ``counts_at``."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", os.environ.get("WORKERS", "2"), *tests]
    # PROVE: tests that plant a few things in the suite plant all of them here.
    env = {**os.environ, "PROVE": "1", "PROVE_COUNTS": str(counts_at)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    closing = done.stdout.strip().rpartition("\n")[2]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", closing)}
    if not counts:
        sys.exit(f"{' '.join(command)} told nothing:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return counts.get("passed", 0), sum(counts.values())


def main() -> None:
    words = sys.argv[1:]
    chosen = {name: tests for name, tests in PROOFS.items() if not words or any(word in name for word in words)}
    if not chosen:
        sys.exit(f"no line holds {' or '.join(words)}")
    short = False
    for name, tests in chosen.items():
        with TemporaryDirectory() as folder:
            counts_at = Path(folder, "counts")
            got, of = prove(tests, counts_at)
            parts = [json.loads(line) for line in counts_at.read_text().splitlines()] if counts_at.exists() else []
        for what, part_got, part_of in [(name, got, of), *((f"  {what}", *part) for what, *part in sorted(parts))]:
            short |= part_got < part_of
            print(f"{what}: {part_got} / {part_of}", flush=True)
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
