"""Swaps folders and files of a project for symlinks to another folder and back, as fast as it can, until stdin ends."""

from __future__ import annotations

import os
import select
import sys


def main() -> None:
    root, outside = sys.argv[1:]
    os.chdir(root)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for name, target in (("dir", outside), ("dir/sub", outside + "/sub"), ("dir/sub/f.md", outside + "/secret.md")):
            try:
                os.rename(name, name + ".real")
                os.symlink(target, name)
                os.unlink(name)
            except OSError:
                pass
            try:
                os.rename(name + ".real", name)
            except OSError:
                pass


if __name__ == "__main__":
    main()
