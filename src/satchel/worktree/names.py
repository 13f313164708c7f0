"""The name of a file as a tree has it, on filesystems that take other names for the same file.

HFS+ keeps names decomposed (NFD), however they were written, and takes every form for the same file. Paths of a tree
are NFC. Where the composed name leads to the very same file, that is its name; elsewhere the two are two files. So it
is with a name in another case, where the filesystem takes that for the same file, as those of macOS do.
"""

from __future__ import annotations

import os
import unicodedata

from satchel.objects.paths import collision_key


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

    That is the composed one, but where the disk has another file by it, and in the case in which the disk lists it.
    """
    composed = _composed(root, path)
    return _as_listed(root, composed) if _folds_case(root, composed) else composed


def _composed(root: str, path: str) -> str:
    composed = unicodedata.normalize("NFC", path)
    if composed == path:
        return path
    try:
        same = os.path.samestat(os.lstat(f"{root}/{composed}"), os.lstat(f"{root}/{path}"))
    except OSError:  # one of the two is not there
        same = not os.path.lexists(f"{root}/{path}")
    return composed if same else path


def _folds_case(root: str, path: str) -> bool:
    """Whether the disk finds the same file by another case of its name."""
    other = path.swapcase()
    try:
        return other != path and os.path.samestat(os.lstat(f"{root}/{path}"), os.lstat(f"{root}/{other}"))
    except OSError:
        return False


def _as_listed(root: str, path: str) -> str:
    """``path`` with each part in the case in which its folder lists it; as it is where that cannot be told."""
    parts: list[str] = []
    for part in path.split("/"):
        try:
            names = [unicodedata.normalize("NFC", name) for name in os.listdir("/".join([root, *parts]))]
        except OSError:
            return path
        key = None if part in names else collision_key(part)
        parts.append(next((name for name in names if collision_key(name) == key), part))
    return "/".join(parts)
