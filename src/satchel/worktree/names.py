"""The name of a file as a tree has it, on filesystems that give it back in another Unicode form.

HFS+ keeps names decomposed (NFD), however they were written, and takes every form for the same file. Paths of a tree
are NFC. Where the composed name leads to the very same file, that is its name; elsewhere the two are two files.
"""

from __future__ import annotations

import os
import unicodedata


def name_of(root: str, prefix: str, entry: os.DirEntry[str]) -> str:
    """The name of an entry of the folder ``root/prefix``, composed if that is the same file."""
    composed = unicodedata.normalize("NFC", entry.name)
    if composed == entry.name:
        return composed
    try:
        same, own = os.lstat(f"{root}/{prefix}{composed}"), entry.stat(follow_symlinks=False)
    except OSError:
        return entry.name
    return composed if (same.st_dev, same.st_ino) == (own.st_dev, own.st_ino) else entry.name


def typed_name(root: str, path: str) -> str:
    """A path of the folder ``root`` as a person types it, or as a shell completes it, by the name that a tree has.

    That is the composed one, but where the disk has another file by it.
    """
    composed = unicodedata.normalize("NFC", path)
    if composed == path:
        return path
    try:
        same = os.path.samestat(os.lstat(f"{root}/{composed}"), os.lstat(f"{root}/{path}"))
    except OSError:  # one of the two is not there
        same = not os.path.lexists(f"{root}/{path}")
    return composed if same else path
