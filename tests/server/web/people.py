"""Somebody at a browser, as far as HTTP goes: cookies, forms, and what a page holds. No script, as on the pages."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

import urllib3

from satchel.catalog import members
from satchel.server.web.browser import signed_in, stranger
from tests.server.running import Answer, Client, Running

PASSWORD = "correct horse battery"
_HIDDEN = re.compile(r'<input type=hidden name="?(\w+)"? value="([^"]*)">')


@dataclass
class Person:
    """A browser without a window."""

    url: str
    email: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=30))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str] | str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a form as it is: what a page would have added is not added."""
        body = fields if isinstance(fields, str) else urlencode(fields)
        given = {"content-type": "application/x-www-form-urlencoded", "origin": self.url, **(headers or {})}
        return self.send("POST", path, body.encode(), given)

    def submit(self, page: Answer, path: str, **fields: str) -> Answer:
        """Send the form of a page with what it hides and what a person adds."""
        return self.post(path, hidden(page) | fields)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> Answer:
        sent = dict(headers or {})
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        whole = path if path.startswith("http") else self.url + path
        with contextlib.closing(self._pool.request(method, whole, body=body, headers=sent, redirect=False)) as got:
            for line in got.headers.getlist("set-cookie"):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            return Answer(got.status, {k.lower(): v for k, v in got.headers.items()}, got.data)

    def sign_in(self, path: str = "/oauth/clients", password: str = PASSWORD) -> Answer:
        page = self.get("/oauth/sign-in?" + urlencode({"next": path}))
        return self.submit(page, "/oauth/sign-in", email=self.email, password=password)


def let_in(server: Running, email: str) -> Person:
    """A member in a fresh session of its own, begun without a password: those are dear to hash."""
    cloud = server.cloud

    async def begin() -> str:
        async with cloud.catalog.directory() as d:
            found = await members.find_person(d, email)
        assert found is not None
        return (await signed_in(cloud, found, stranger(cloud))).secret

    return Person(server.url, email, {"satchel": server.run(begin())})


def hidden(page: Answer) -> dict[str, str]:
    """What the first form of a page sends by itself. Forms of the header are no forms of the page."""
    main = page.body.decode().partition("<main>")[2]
    first = main.partition("</form>")[0]
    return {name: unescape(value) for name, value in _HIDDEN.findall(first)}


def member(server: Running, owner: Client, name: str, role: str = "member") -> Person:
    """A new member of a tenant, who is not signed in yet."""
    email = f"{name}@example.org"
    owner.post("/members", {"email": email, "name": name.title(), "password": PASSWORD, "tenantRole": role}).ok(201)
    return Person(server.url, email)
