"""A real Chromium, driven over the W3C WebDriver protocol: as much of it as pages without a script need.

One browser serves a module (``chromium``); ``fresh`` gives a test a browser without cookies.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.real import ENVIRONMENT, free_ports

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_KEYS = {"TAB": "\ue004", "ENTER": "\ue007", "SPACE": "\ue00d"}
START_SECONDS = 30


class BrowserError(Exception):
    """What the driver refused, and why."""


class Chromium:
    """One browser window."""

    def __init__(self, port: int, profile: Path) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=60)
        self._base = f"http://127.0.0.1:{port}"
        options = {
            "binary": shutil.which("chromium"),
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                f"--user-data-dir={profile}",
            ],
        }
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"

    def close(self) -> None:
        self._do("DELETE", "")
        self._http.clear()

    # Where it is

    def go(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._do("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._do("GET", "/title"))

    def text(self, selector: str = "body") -> str:
        """The visible text of the first element that a CSS selector finds."""
        return str(self._do("GET", f"/element/{self._find(selector)}/text"))

    def has(self, selector: str) -> bool:
        return bool(self._do("POST", "/elements", {"using": "css selector", "value": selector}))

    def attribute(self, selector: str, name: str) -> str | None:
        found = self._do("GET", f"/element/{self._find(selector)}/attribute/{name}")
        return None if found is None else str(found)

    def focused(self) -> str:
        """What the element that has the focus is: its tag, and its name, id or text."""
        script = "const e=document.activeElement;return e.tagName.toLowerCase()+' '+(e.name||e.id||e.innerText.trim())"
        return str(self.run(script))

    # What a person does

    def fill(self, selector: str, text: str) -> None:
        element = self._find(selector)
        self._do("POST", f"/element/{element}/clear", {})
        self._do("POST", f"/element/{element}/value", {"text": text})

    def click(self, selector: str) -> None:
        self._do("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, *names: str) -> None:
        """Keys by name (TAB, ENTER, SPACE), or text as it is, sent to whatever has the focus."""
        keys = "".join(_KEYS.get(name, name) for name in names)
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def frame(self, number: int | None) -> None:
        """Look into a frame of the page, by its number; None for the page itself."""
        self._do("POST", "/frame", {"id": number})

    def forget(self) -> None:
        """Drop every cookie of every site."""
        self.devtools("Network.clearBrowserCookies")

    def wait(self, selector: str, text: str = "", seconds: float = 10.0) -> None:
        """Until a page with such an element is there, whose text holds this.

        An element that the page before has as well needs a text of the new one.
        """
        deadline = time.monotonic() + seconds
        while not self._shows(selector, text):
            if time.monotonic() > deadline:
                raise BrowserError(f"{selector} did not appear at {self.url}:\n{self.text()}")
            time.sleep(0.02)

    def _shows(self, selector: str, text: str) -> bool:
        try:
            return self.has(selector) and (not text or text in self.text(selector))
        except BrowserError:  # the page went while it was read
            return False

    # How it looks

    def look(self, *, dark: bool = False, width: int = 900, height: int = 900) -> None:
        """Show pages as on a screen of this size, in light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def script(self, enabled: bool) -> None:
        """Let scripts of pages run, or not."""
        self.devtools("Emulation.setScriptExecutionDisabled", {"value": not enabled})

    def screenshot(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))

    def run(self, script: str, *args: object) -> Any:
        return self._do("POST", "/execute/sync", {"script": script, "args": list(args)})

    def devtools(self, command: str, params: Mapping[str, object] | None = None) -> Any:
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": params or {}})

    def _find(self, selector: str) -> str:
        return str(self._do("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT])

    def _do(self, method: str, path: str, body: object = None) -> Any:
        return self._call(method, self._session + path, body)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with contextlib.closing(
            self._http.request(method, self._base + path, body=data, headers={"content-type": "application/json"})
        ) as answer:
            value = json.loads(answer.data)["value"]
        if answer.status >= 400:
            raise BrowserError(f"{method} {path}: {value['error']}: {value['message'].splitlines()[0]}")
        return value


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser for the tests of a module."""
    with driven(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@contextlib.contextmanager
def driven(folder: Path) -> Iterator[Chromium]:
    """A driver and its browser, for as long as the block lasts."""
    [port] = free_ports(1)
    environment = {**ENVIRONMENT, "HOME": str(folder)}
    with (folder / "driver.log").open("wb") as log, tempfile.TemporaryDirectory(dir=folder) as profile:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log, env=environment)
        try:
            _wait_for(port, driver)
            browser = Chromium(port, Path(profile))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait(10)


def _wait_for(port: int, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    http = urllib3.PoolManager(retries=False, timeout=5)
    while True:
        try:
            if json.loads(http.request("GET", f"http://127.0.0.1:{port}/status").data)["value"]["ready"]:
                return
        except urllib3.exceptions.HTTPError:
            pass
        assert driver.poll() is None, "the driver ended"
        assert time.monotonic() < deadline, "the driver did not start"
        time.sleep(0.02)
