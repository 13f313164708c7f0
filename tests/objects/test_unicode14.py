from __future__ import annotations

import sys
import unicodedata

import pytest

from satchel.objects.unicode14 import is_assigned


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python has another Unicode version")
def test_the_table_is_that_of_unicode_14() -> None:
    wrong = [
        code
        for code in range(sys.maxunicode + 1)
        if is_assigned(chr(code)) != (unicodedata.category(chr(code)) != "Cn")
    ]
    assert wrong == []


def test_what_unicode_14_assigns_is_assigned_in_every_later_version() -> None:
    lost = [
        code for code in range(sys.maxunicode + 1) if is_assigned(chr(code)) and unicodedata.category(chr(code)) == "Cn"
    ]
    assert lost == []


def test_characters_newer_than_unicode_14_are_not_assigned() -> None:
    assert not is_assigned("\U00031350")  # 15.0
    assert not is_assigned("\U0002ebf0")  # 15.1
    assert not is_assigned("\ua7cb")  # 16.0
