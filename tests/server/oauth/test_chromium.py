"""The pages in a real Chromium: what a person sees, does by keyboard, and is protected from.

With ``SCREENSHOTS=DIR`` in the environment every page is photographed there: light, dark, and narrow.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser import Chromium, chromium
from tests.server.oauth.flow import Client, registered
from tests.server.running import Running
from tests.server.web.people import PASSWORD, Person

__all__ = ["chromium"]
pytestmark = pytest.mark.system("chromium", "chromedriver")

CONTRAST = """
const lum=c=>{const v=c.map(x=>{x/=255;return x<=.03928?x/12.92:((x+.055)/1.055)**2.4});
 return .2126*v[0]+.7152*v[1]+.0722*v[2]};
const rgb=s=>{const m=s.match(/[\\d.]+/g).map(Number);return m.length>3&&m[3]===0?null:m.slice(0,3)};
const back=e=>{for(;e;e=e.parentElement){const c=rgb(getComputedStyle(e).backgroundColor);if(c)return c}
 return [255,255,255]};
const bad=[];
for(const e of document.querySelectorAll('body *')){
 if(![...e.childNodes].some(n=>n.nodeType===3&&n.data.trim())&&e.tagName!=='INPUT')continue;
 if(e.type==='hidden'||e.tagName==='STYLE')continue;
 const a=lum(rgb(getComputedStyle(e).color)),b=lum(back(e)),r=(Math.max(a,b)+.05)/(Math.min(a,b)+.05);
 if(r<4.5)bad.push(e.outerHTML.slice(0,80)+' '+r.toFixed(2));
}
return bad;
"""
UNLABELLED = """
return [...document.querySelectorAll('input:not([type=hidden])')].filter(e=>!e.labels.length).map(e=>e.outerHTML);
"""
FOCUS = "const s=getComputedStyle(document.activeElement);return s.outlineStyle+' '+s.outlineWidth"
WIDE = "return document.documentElement.scrollWidth-document.documentElement.clientWidth"


class Agent:
    """A program on this machine that waits for the browser, and a page of somebody hostile."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.pages: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.came.append(self.path)
                body = outer.pages.get(self.path, "<title>Agent</title><p id=done>Back at the agent.").encode()
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def told(self) -> dict[str, str]:
        callback = [path for path in self.came if path.startswith("/callback")][-1]  # an icon is asked for too
        return {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.close()


@pytest.fixture
def window(chromium: Chromium) -> Chromium:
    """The browser without cookies, as wide as a laptop's, in light."""
    chromium.forget()
    chromium.look()
    return chromium


@pytest.fixture
def consent(server: Running, probe: Client, agent: Agent) -> str:
    """The address at which a client asks for consent, to be told on the agent's port."""
    query = probe.query(redirect_uri=f"http://127.0.0.1:{agent.port}/callback", scope="satchel:write")
    return f"{server.url}/oauth/authorize?{query}"


def let_in(window: Chromium, person: Person, address: str) -> None:
    """Give the browser the session of somebody who signed in elsewhere: passwords are dear to hash."""
    window.go(person.url + "/oauth/sign-in")
    window.devtools("Network.setCookie", {"name": "satchel", "value": person.cookies["satchel"], "url": person.url})
    window.go(address)


def test_a_person_signs_in_and_allows_by_keyboard_alone(
    window: Chromium, agent: Agent, consent: str, grace: Person, probe: Client
) -> None:
    window.go(consent)
    assert (window.title, window.focused()) == ("Sign in · Satchel", "input email")
    assert window.run(FOCUS) == "solid 3px"
    window.press(*grace.email, "TAB")
    assert window.focused() == "input password"
    window.press(*PASSWORD, "TAB", "ENTER")
    window.wait("dl")
    text = window.text("main")
    for fact in (
        "Probe",
        "a program on this computer (127.0.0.1)",
        "harbour",
        "lighthouse (write)",
        "connected clients",
    ):
        assert fact in text
    stops = []
    for _ in range(4):
        window.press("TAB")
        stops.append(window.focused())
        assert window.run(FOCUS) == "solid 3px"
    assert stops[0].startswith("button")  # sign out, in the header
    assert stops[-2:] == ["button decision", "button decision"]
    allow = stops.index("button decision")
    for _ in range(len(stops) - 1 - allow):
        window.devtools("Input.dispatchKeyEvent", {"type": "keyDown", "key": "Tab", "code": "Tab",
                                                   "windowsVirtualKeyCode": 9, "modifiers": 8})  # fmt: skip
    window.press("ENTER")
    window.wait("#done")  # the policy of the page let the answer through to the agent's port
    assert agent.told["state"] == "st@te"
    assert probe.redeem(agent.told["code"], redirect_uri=f"http://127.0.0.1:{agent.port}/callback").status == 200


def test_everything_works_where_scripts_are_switched_off(
    window: Chromium, agent: Agent, consent: str, grace: Person
) -> None:
    window.script(enabled=False)
    try:
        let_in(window, grace, consent)
        window.click("button[value=deny]")
        window.wait("#done")
        assert agent.told["error"] == "access_denied"
    finally:
        window.script(enabled=True)


def test_every_page_can_be_read_in_light_in_dark_and_on_a_telephone(
    window: Chromium, server: Running, grace: Person, consent: str, probe: Client
) -> None:
    probe.redeem(probe.code(grace)).ok()
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli", "scope": "satchel:admin"}).ok()
    refused = f"{server.url}/oauth/authorize?{probe.query(redirect_uri='https://evil.example/')}"
    pages = {
        "sign-in": f"{server.url}/oauth/sign-in?next=%2Foauth%2Fdevice",
        "consent": consent,
        "tenant": f"{server.url}/oauth/tenant",
        "device": f"{server.url}/oauth/device?user_code={begun['user_code']}",
        "device-consent": "",
        "clients": f"{server.url}/oauth/clients",
        "refused": refused,
    }
    for name, address in pages.items():
        if name == "consent":
            let_in(window, grace, address)
        elif address:
            window.go(address)
        else:
            window.click("main button")
            window.wait("dl")
        for dark, width in ((False, 900), (True, 900), (False, 320), (True, 320)):
            window.look(dark=dark, width=width)
            _photograph(window, f"{name}-{'dark' if dark else 'light'}-{width}")
            assert window.run(CONTRAST) == [], (name, dark, width)
            assert window.run(WIDE) <= 0, (name, width)
        assert window.run(UNLABELLED) == [], name
        assert window.run("return document.documentElement.lang") == "en"
        assert window.run("return document.querySelectorAll('h1').length") == 1
        window.look()


def test_a_page_of_somebody_else_can_neither_frame_nor_send_the_consent(
    window: Chromium, server: Running, grace: Person, consent: str, agent: Agent
) -> None:
    let_in(window, grace, consent)
    secret = window.attribute("input[name=csrf]", "value")
    request = window.attribute("input[name=request]", "value") or ""
    tenant = window.attribute("input[name=tenant]", "value")
    agent.pages["/frame"] = f'<iframe src="{consent.replace("&", "&amp;")}"></iframe><iframe src="/plain"></iframe>'
    fields = {"csrf": "0" * 64, "request": request, "tenant": tenant, "decision": "allow"}
    inputs = "".join(f'<input name={n} value="{(v or "").replace("&", "&amp;")}">' for n, v in fields.items())
    agent.pages["/forge"] = f'<form method=post action="{server.url}/oauth/consent">{inputs}<button>x</button></form>'
    real = inputs.replace("0" * 64, secret or "")
    agent.pages["/stolen"] = f'<form method=post action="{server.url}/oauth/consent">{real}<button>x</button></form>'

    window.go(f"http://localhost:{agent.port}/frame")
    window.frame(1)
    window.wait("#done")  # what may be framed is there by now
    window.frame(None)
    window.frame(0)
    assert not window.has("form")
    window.frame(None)
    for page in ("/forge", "/stolen"):  # even with the right proof, from another site
        window.go(f"http://localhost:{agent.port}{page}")
        window.click("button")
        window.wait("body", "The form was refused")
    assert not any("code=" in path for path in agent.came)


def test_a_hostile_name_stays_text_and_nothing_runs(window: Chromium, server: Running, grace: Person) -> None:
    hostile = registered(server, name="<img src=x onerror=document.title=1>")
    let_in(window, grace, f"{server.url}/oauth/authorize?{hostile.query()}")
    assert "<img src=x onerror=document.title=1>" in window.text("h1")
    assert window.title == "Allow access · Satchel"
    assert not window.has("img")


def test_a_person_signs_out_and_the_way_back_shows_nothing(
    window: Chromium, server: Running, consent: str, grace: Person
) -> None:
    let_in(window, grace, consent)
    assert "Allow Probe" in window.text("h1")
    window.click("header button")
    window.wait("h1", "Signed out")
    window.run("history.back()")
    window.wait("#email")


def _photograph(window: Chromium, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        window.screenshot(Path(folder) / f"{name}.png")
