"""A browser for ``$BROWSER``: signs in, allows what the page asks, and follows the way back. Run as a program."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from html import unescape
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urlsplit


def main(address: str) -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    parts = urlsplit(address)
    origin = f"{parts.scheme}://{parts.netloc}"

    def page(url: str, fields: dict[str, str] | None = None) -> str:
        data = None if fields is None else urlencode(fields).encode()
        with opener.open(urllib.request.Request(url, data, {"origin": origin} if data else {}), timeout=30) as answer:
            return str(answer.read().decode())

    def hidden(text: str) -> dict[str, str]:
        form = text.partition("<main>")[2].partition("</form>")[0]
        found = re.findall(r'<input type=hidden name="?(\w+)"? value="([^"]*)">', form)
        return {name: unescape(value) for name, value in found}

    email, password = os.environ["CONSENTING"].split(" ", 1)
    shown = page(f"{origin}/oauth/sign-in", hidden(page(address)) | {"email": email, "password": password})
    decision = os.environ.get("DECISION", "allow")
    if parts.path.endswith("/device"):
        code = dict(re.findall(r'name=(user_code) value="([^"]*)"', shown))
        shown = page(f"{origin}/oauth/device/code", hidden(shown) | code)
        page(f"{origin}/oauth/device/decide", hidden(shown) | {"decision": decision})
    else:
        page(f"{origin}/oauth/consent", hidden(shown) | {"decision": decision})


if __name__ == "__main__":
    main(sys.argv[1])
