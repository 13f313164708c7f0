"""The page of an invitation in a real browser, without scripts and without a mouse."""

from __future__ import annotations

import pytest

from tests.browser import Chromium, chromium
from tests.server.running import Client, Running

__all__ = ["chromium"]
pytestmark = pytest.mark.system("chromium", "chromedriver")


def test_somebody_new_joins_a_project_by_keyboard_alone(server: Running, acme: Client, chromium: Chromium) -> None:
    acme.post("/projects", {"slug": "by-keyboard"}).ok()
    url = acme.post("/projects/by-keyboard/invitations", {"role": "write"}).ok()["url"]
    chromium.forget()
    chromium.script(False)
    chromium.go(url)
    said = chromium.text("main")
    assert "Join by-keyboard" in said
    assert "read and change it" in said
    chromium.script(True)
    assert chromium.focused() == "input email"  # before anything is pressed
    chromium.script(False)
    chromium.press("keyboard@example.org", "TAB", "password1234", "ENTER")
    chromium.wait(".error")
    assert "many people use" in chromium.text(".error")
    assert chromium.attribute("#password", "aria-describedby") == "error"
    assert not chromium.attribute("#password", "value")
    assert chromium.attribute("#email", "value") == "keyboard@example.org"
    chromium.press("TAB", "correct horse battery", "ENTER")
    chromium.wait("main pre")
    assert "You joined by-keyboard" in chromium.text("h1")
    assert "keyboard@example.org" in chromium.text("header")
    # Who is signed in sees one button, and using it again uses nothing up.
    (row,) = acme.get("/projects/by-keyboard/invitations").ok()["items"]
    assert (row["uses"], row["state"]) == (1, "used up")
    chromium.go(url)
    assert "used as often as it may" in chromium.text("main")
