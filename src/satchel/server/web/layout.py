"""The frame around every page: one stylesheet, named by its hash, and the headers that let nothing else in.

Nothing is loaded, no script runs, nobody may frame a page, and a form goes to this server alone. Where an answer to a
form leads on to somebody else, the page that holds the form names that origin: Chromium holds redirects to
``form-action`` too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping

from markupsafe import Markup
from starlette.responses import Response

STYLE = """
:root{color-scheme:light dark;--ink:#1c1d21;--soft:#55585f;--back:#fff;--line:#d9dbe0;--edge:#7a7e87;--tint:#f4f5f7;
--link:#0b57b0;--on:#fff;--bad:#a3151c}
@media(prefers-color-scheme:dark){:root{--ink:#e8e9ec;--soft:#a9adb6;--back:#17181b;--line:#383b42;--edge:#868b95;
--tint:#202226;--link:#8ab8ff;--on:#0d1a2e;--bad:#ff9c9f}}
*{box-sizing:border-box}body{margin:0 auto;max-width:50rem;padding:2rem 1rem 4rem;background:var(--back);
color:var(--ink);font:16px/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,button:focus-visible,input:focus-visible{outline:3px solid var(--link);
outline-offset:2px}
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line);
padding-bottom:.3rem}
code,pre{font:14px/1.5 ui-monospace,monospace;background:var(--tint);border-radius:4px}code{padding:.1em .3em}
pre{padding:.8rem;overflow-x:auto}pre code{padding:0}details{border-bottom:1px solid var(--line);padding:.5rem 0}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}p,li{max-width:46rem}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
.narrow main,.narrow header{max-width:30rem;margin-inline:auto}
header{display:flex;flex-wrap:wrap;gap:.3rem 1rem;align-items:baseline;justify-content:space-between;
padding-bottom:.7rem;border-bottom:1px solid var(--line)}header form{display:inline}
label{display:block;font-weight:600;margin-top:1rem}fieldset{border:0;margin:1rem 0 0;padding:0}
legend{font-weight:600;padding:0}.pick{display:flex;gap:.6rem;align-items:center;font-weight:400;margin-top:.5rem;
padding:.6rem .7rem;border:1px solid var(--edge);border-radius:6px}
input:not([type=radio]){display:block;width:100%;margin-top:.25rem;padding:.55rem .7rem;font:inherit;color:var(--ink);
background:var(--back);border:1px solid var(--edge);border-radius:6px}
input[type=radio]{width:1.1rem;height:1.1rem;margin:0;flex:none}
input.code{font:1.35rem/1.4 ui-monospace,monospace;letter-spacing:.15em;text-transform:uppercase}
button{font:inherit;font-weight:600;padding:.55rem 1.1rem;margin:1.2rem .6rem 0 0;border-radius:6px;cursor:pointer;
border:1px solid var(--link);background:var(--link);color:var(--on)}
button.quiet{background:transparent;color:var(--link)}
button.plain{margin:0;padding:0 .2rem;border:0;background:none;color:var(--link);font-weight:400;
text-decoration:underline}
.error{border-left:4px solid var(--bad);padding:.2rem 0 .2rem .8rem;color:var(--bad)}
dl{margin:1rem 0}dt{color:var(--soft);font-size:.9rem}dd{margin:0 0 .7rem}dd ul{margin:.2rem 0;padding-left:1.2rem}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_DOCUMENT = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
    "<title>{title}</title><style>{style}</style></head><body class={width}>{header}<main>{body}</main></body></html>"
)
NOTHING = Markup("")


def policy(form_action: str) -> str:
    """The Content-Security-Policy of a page whose forms may lead to ``form_action``."""
    return (
        f"default-src 'none'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'; "
        f"style-src 'sha256-{_HASH}'"
    )


def document(title: str, body: Markup, *, header: Markup = NOTHING, narrow: bool = False) -> str:
    """The whole HTML text of a page."""
    style = Markup(STYLE)  # noqa: S704 (a constant of this module, with nothing to escape)
    width = "narrow" if narrow else "wide"
    return str(_DOCUMENT.format(title=title, style=style, width=width, header=header, body=body))


def page(
    title: str,
    body: Markup,
    *,
    header: Markup = NOTHING,
    status: int = 200,
    leads_to: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page for one person, kept by nobody.

    ``leads_to`` are the sources (as a Content-Security-Policy names them) that an answer to its forms may redirect to.
    """
    given = {
        "content-security-policy": policy(" ".join(["'self'", *leads_to])),
        "x-frame-options": "DENY",
        "cache-control": "no-store",
        # Not `no-referrer`: with it a browser says `Origin: null` of a form of our own.
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        **(headers or {}),
    }
    text = document(f"{title} · Satchel", body, header=header, narrow=True)
    return Response(text, status, headers=given, media_type="text/html; charset=utf-8")
