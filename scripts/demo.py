"""The five journeys on a real folder, with real processes and real HTTP: ``make demo`` (``DEMO_DIR=path``).

Works on a copy: the folder is never changed. Starts `satchel serve` on a free port with its data in a temporary
directory, drives the `satchel` command, plain HTTP and the official MCP client, and checks what each answers. Ends with
0 if everything held and with 1, naming what did not, otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SATCHEL = (sys.executable, "-m", "satchel.cli.main")
SERVER = tuple(shlex.split(os.environ.get("SATCHEL_DEMO_SERVER", ""))) or SATCHEL
"""What starts the server: `make image-test` has it in a container."""
NOT_COPIED = {".git", ".hg", ".svn", ".jj", ".venv", "node_modules", ".satchel", "__pycache__"}
START_SECONDS = 60
STOP_SECONDS = 15
NOTE = "satchel-demo-note.md"
SECRET_WORD = "zanzibarium"

Json = dict[str, Any]


class Failed(Exception):
    """A check did not hold."""


class Answer(NamedTuple):
    """What HTTP gave back."""

    status: int
    body: Any
    etag: str | None


# Telling ----------------------------------------------------------------------------------------------------------


class Story:
    """What the reader of the demo sees, and how long each part took."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.checks = 0
        self.journeys: list[tuple[str, float]] = []

    @contextmanager
    def journey(self, title: str) -> Iterator[None]:
        print(f"\n{title}\n{'-' * len(title)}", flush=True)
        began = time.perf_counter()
        yield
        self.journeys.append((title, time.perf_counter() - began))

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list is printed beside it."""
        facts: list[str] = []
        began = time.perf_counter()
        try:
            yield facts
        except BaseException:
            print(f"  FAILED  {what}", flush=True)
            raise
        print(f"  {time.perf_counter() - began:7.2f} s  {what}", flush=True)
        for fact in facts:
            print(f"             {fact}", flush=True)

    def check(self, holds: object, what: str) -> None:
        self.checks += 1
        if not holds:
            raise Failed(what)


# Processes and HTTP -----------------------------------------------------------------------------------------------


class Stage:
    """Everything of one run: its temporary folder, its private home, its server."""

    def __init__(self, place: Path, source: Path) -> None:
        self.place = place
        self.folder = place / "laptop" / "demo"
        self.second = place / "colleague" / "demo"
        self.data = place / "server"
        # Compiled modules are kept whatever the machine's settings say: a hundred processes start here.
        kept = (name for name in os.environ if not name.startswith("SATCHEL_") and name != "PYTHONDONTWRITEBYTECODE")
        self.env = {name: os.environ[name] for name in kept}
        self.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"  # the keyring here is somebody's own
        for name, folder in (
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
        ):
            (place / folder).mkdir()
            self.env[name] = str(place / folder)
        shutil.copytree(source, self.folder, symlinks=True, ignore=_not_copied)
        self.second.mkdir(parents=True)
        self.server: subprocess.Popen[str] | None = None
        self.url = ""

    def satchel(
        self, *words: str, cwd: Path | None = None, status: int = 0, stdin: str = "", env: dict[str, str] | None = None
    ) -> str:
        """Run a command line; its stdout."""
        done = subprocess.run(
            [*(SERVER if words[0] == "serve" else SATCHEL), *words],
            check=False,
            cwd=cwd or self.folder,
            env={**self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != status:
            raise Failed(
                f"`satchel {words[0]}` ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def json(self, *words: str, cwd: Path | None = None, status: int = 0, stdin: str = "") -> Json:
        """Run a command line with --json."""
        value: Json = json.loads(self.satchel(*words, "--json", cwd=cwd, status=status, stdin=stdin))
        return value

    def serve(self) -> Json:
        """Start the server and wait until it has said where it is."""
        self.server = subprocess.Popen(
            [*SERVER, "serve", "--data", str(self.data), "--port", "0", "--json"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=(self.place / "server.log").open("a"),
            text=True,
        )
        said = ""
        assert self.server.stdout is not None
        while not said.endswith("\n}\n"):
            line = self.server.stdout.readline()
            if not line:
                raise Failed(f"the server ended at once: {(self.place / 'server.log').read_text()[-2_000:]}")
            said += line
        told: Json = json.loads(said)
        self.url = told["url"]
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.http("GET", "/health/ready").status == 200:
                    return told
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the server and give its exit status."""
        assert self.server is not None
        self.server.send_signal(number)
        status = self.server.wait(timeout=STOP_SECONDS)
        if self.server.stdout is not None:
            self.server.stdout.close()
        self.server = None
        return status

    def http(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One plain HTTP request below /api/v1, as curl would send it."""
        sent = dict(headers or {})
        data = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data, sent["content-type"] = json.dumps(body).encode(), "application/json"
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, _decoded(answer.read()), answer.headers["etag"])
        except urllib.error.HTTPError as error:
            return Answer(error.code, _decoded(error.read()), None)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """Version control, environments, and whatever is neither file, folder nor link."""
    odd = {name for name in names if not (Path(folder, name).is_symlink() or Path(folder, name).exists())}
    special = {
        name
        for name in names
        if not Path(folder, name).is_symlink() and not (Path(folder, name).is_file() or Path(folder, name).is_dir())
    }
    return odd | special | (NOT_COPIED & set(names))


# What is asked -----------------------------------------------------------------------------------------------------


def a_question(context: Json) -> str:
    """Words of a title in the folder, so that there is something to find in any folder."""
    for item in context["recent"]:
        words = [word for word in item["title"].split() if len(word) > 3 and word.isalpha()]
        if len(words) >= 2:
            return " ".join(words[:3])
    return "context"


def some_text(folder: Path, paths: list[str]) -> str:
    """A text file of the folder to edit."""
    for path in paths:
        if path.endswith((".md", ".rst", ".txt")) and (folder / path).is_file():
            return path
    (folder / NOTE).write_text("# A note\n\nMade by the demo.\n")
    return NOTE


async def mcp_search(server: Any, question: str, mode: str = "auto") -> tuple[str, Json, list[str]]:
    """The question through the official MCP client: protocol version, answer, names of the tools."""
    from mcp.client import Client

    async with Client(server, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("search", {"query": question})
        if result.is_error or not isinstance(result.structured_content, dict):
            raise Failed(f"the search tool answered {result.content}")
        return client.protocol_version, result.structured_content, tools


async def mcp_over_http(url: str, key: str, question: str, mode: str) -> tuple[str, Json, list[str]]:
    """The same over HTTP, with a key."""
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with create_mcp_http_client({"authorization": f"Bearer {key}"}) as http:
        return await mcp_search(streamable_http_client(f"{url}/mcp", http_client=http), question, mode)


def mcp_over_stdio(stage: Stage, question: str) -> tuple[str, Json, list[str]]:
    """The same over stdio, starting `satchel mcp` as an agent does."""
    from mcp import StdioServerParameters

    command, *arguments = SATCHEL
    server = StdioServerParameters(
        command=command, args=[*arguments, "mcp"], cwd=str(stage.folder), env={**stage.env, "PYTHONPATH": ""}
    )
    return asyncio.run(mcp_search(server, question))


def without_request_id(answer: Answer, name: str) -> tuple[int, Any]:
    """An answer as it would read for any name: what must not differ between absent and not yours."""
    if not isinstance(answer.body, dict):
        return answer.status, answer.body
    return answer.status, {
        key: str(value).replace(name, "*") for key, value in answer.body.items() if key != "requestId"
    }


# The journeys ------------------------------------------------------------------------------------------------------


def locally(story: Story, stage: Stage) -> str:
    """Before any server; the question that the later journeys ask again."""
    with story.step("satchel init") as facts:
        made = stage.json("init", "--name", "demo", "--all-files")
        facts.append(f"{made['documents']:,} documents, {made['bytes'] / 1e6:.1f} MB, digest {made['digest'][:8]}")
    context = stage.json("context")
    question = a_question(context)
    with story.step(f"satchel search {question!r}") as facts:
        answer = stage.json("search", question)
        story.check(answer["hits"] or not made["documents"], "a title of the folder is found")
        for hit in answer["hits"][:2]:
            facts.append(f"{hit['path']}:{hit['lines'][0]}-{hit['lines'][1]}  {' › '.join(hit['trail'])[:60]}")
        facts.append(f"{answer['total']:,} sections in all")
    if answer["hits"]:
        hit = answer["hits"][0]
        with story.step("satchel get, the lines of the first hit"):
            story.check(stage.satchel("get", f"{hit['path']}:{hit['lines'][0]}-{hit['lines'][1]}"), "a hit can be read")
    with story.step("satchel tasks, context, doctor") as facts:
        tasks, doctor = stage.json("tasks"), stage.json("doctor")
        facts.append(f"{tasks['total']:,} open tasks, {len(doctor['leftOut']):,} files left out with a reason")
    with story.step("satchel connect codex, and back"):
        entry = Path(stage.env["HOME"]) / ".codex/config.toml"
        stage.satchel("connect", "codex", "--yes")
        story.check("satchel" in entry.read_text(), "the agent's file names satchel")
        stage.satchel("connect", "codex", "--undo", "--yes")
        story.check(not entry.exists(), "and is gone again")
    return question


def deploy(story: Story, stage: Stage) -> str:
    """Journey 1; the operator's key."""
    with story.step("satchel serve, with no configuration") as facts:
        told = stage.serve()
        story.check(told["firstStart"], "the first start is one")
        facts.append(f"{told['url']}, tenant {told['tenant']!r}, admin key {told['adminKey'][:16]}… shown once")
    with story.step("health, OpenAPI, and the root key's mode"):
        story.check(stage.http("GET", "/health").body["status"] == "ok", "the server is healthy")
        with urllib.request.urlopen(f"{stage.url}/openapi.json", timeout=30) as answer:
            story.check(json.load(answer)["openapi"].startswith("3.1"), "OpenAPI 3.1 is served")
        mode = Path(told["rootKey"]).stat().st_mode & 0o777
        story.check(mode == 0o600, f"the root key is for its owner alone, not {mode:o}")
    with story.step("SIGTERM, and a restart with everything there") as facts:
        story.check(stage.stop() == 0, "the server stops cleanly")
        again = stage.serve()
        story.check(not again["firstStart"] and again["adminKey"] is None, "a restart makes nothing anew")
        story.check(stage.http("GET", "/auth/whoami", told["adminKey"]).status == 200, "the admin key still counts")
        facts.append(f"now at {stage.url}")
    with story.step("without its root key it refuses to start, and says why"):
        stage.stop()
        key = Path(told["rootKey"])
        key.rename(key.with_suffix(".away"))
        error = json.loads(stage.satchel("serve", "--data", str(stage.data), "--port", "0", "--json", status=5))
        story.check(error["error"]["code"] == "serve.refused", "the reason has a code")
        key.with_suffix(".away").rename(key)
        stage.serve()
    return str(told["adminKey"])


def authenticate(story: Story, stage: Stage, admin: str) -> None:
    """Journey 2."""
    with story.step("without a credential, or with a wrong one: 401"):
        story.check(stage.http("GET", "/projects").status == 401, "no credential is refused")
        story.check(stage.http("GET", "/projects", "nonsense").status == 401, "nonsense is refused")
        story.check(
            stage.http("GET", "/projects", admin[:-1] + ("a" if admin[-1] == "b" else "b")).status == 401,
            "a mistyped key is refused",
        )
        error = json.loads(stage.satchel("whoami", "--url", stage.url, "--json", status=4))
        story.check(error["error"]["exitStatus"] == 4, "the command says that sign-in is needed")
    with story.step("satchel login (the key on stdin), satchel whoami") as facts:
        stage.satchel("login", stage.url, "--key-file", "-", stdin=admin)
        who = stage.json("whoami")
        facts.append(f"{who['principal']['name']}, {who['role']} of tenant {who['tenant']['slug']}")
        mode = (Path(stage.env["XDG_CONFIG_HOME"]) / "satchel/credentials.json").stat().st_mode & 0o777
        story.check(mode == 0o600, "credentials are for their owner alone")
    with story.step("API key to a short token, used, revoked") as facts:
        token = stage.http("POST", "/auth/token", body={"apiKey": admin}).body
        facts.append(f"a {token['tokenType']} token for {token['expiresIn']} s")
        story.check(stage.http("GET", "/auth/whoami", token["accessToken"]).status == 200, "the token counts")
        stage.http("POST", "/auth/revoke", token["accessToken"], {"token": token["accessToken"]})
        story.check(stage.http("GET", "/auth/whoami", token["accessToken"]).status == 401, "revoked, it does not")


def synchronise(story: Story, stage: Stage) -> None:
    """Journey 3."""
    with story.step("satchel remote add") as facts:
        made = stage.json("remote", "add", stage.url)
        facts.append(f"project {made['project']}, {made['id']}")
    with story.step("satchel sync --to-cloud --dry-run") as facts:
        plan = stage.json("sync", "--to-cloud", "--dry-run")
        facts.append(f"{len(plan['pushed']):,} files would be sent")
    with story.step("satchel sync --to-cloud") as facts:
        sent = stage.json("sync", "--to-cloud")
        facts.append(f"{len(sent['pushed']):,} files, {sent['rawBytes'] / 1e6:.1f} MB in {sent['seconds']:.2f} s")
        story.check(sent["inStep"] and sent["digest"] == stage.json("doctor")["digest"], "both sides have one digest")
    with story.step("satchel sync again: nothing to do") as facts:
        nothing = stage.json("sync")
        story.check(nothing["inStep"] and nothing["version"] == sent["version"], "no new version is made")
        facts.append(f"{nothing['seconds']:.2f} s")
    with story.step("a second folder: satchel sync --from-cloud") as facts:
        stage.satchel("init", "--name", "demo", "--all-files", cwd=stage.second)
        stage.satchel("remote", "add", stage.url, "--project", "demo", cwd=stage.second)
        fetched = stage.json("sync", "--from-cloud", "--trust", cwd=stage.second)
        facts.append(f"{len(fetched['pulled']):,} files in {fetched['seconds']:.2f} s")
        count = same_bytes(story, stage)
        facts.append(f"{count:,} files are byte for byte the same, digest {fetched['digest'][:8]}")
    path = some_text(stage.folder, [change["path"] for change in sent["pushed"]])
    with story.step("an edit here, a new file there, and both sync both ways") as facts:
        with (stage.folder / path).open("a") as file:
            file.write("\nA line of the demo.\n")
        (stage.second / NOTE).write_text("# From the second folder\n\n- [ ] read this @demo\n")
        first = stage.json("sync")
        other = stage.json("sync", cwd=stage.second)
        last = stage.json("sync")
        story.check(len(first["pushed"]) == 1, "only the edited file is sent")
        story.check(last["digest"] == other["digest"], "both folders have one digest again")
        same_bytes(story, stage)
        facts.append(f"{path} one way, {NOTE} the other, version {last['version']}")
    with story.step("both edit one file in different lines: merged, without a question") as facts:
        (stage.folder / NOTE).write_text("# From both folders\n\n- [ ] read this @demo\n")
        (stage.second / NOTE).write_text("# From the second folder\n\n- [x] read this @demo\n")
        stage.satchel("sync", cwd=stage.second)
        merged = stage.json("sync")
        story.check(merged["inStep"] and merged["merged"] == [NOTE], "the file is merged, and both are in step")
        story.check(
            (stage.folder / NOTE).read_text() == "# From both folders\n\n- [x] read this @demo\n", "it has both"
        )
        stage.satchel("sync", cwd=stage.second)
        facts.append("the title is from here, the task was ticked there")
    with story.step("both edit the same line: a conflict, nothing overwritten, settled") as facts:
        (stage.folder / NOTE).write_text("# Mine\n")
        (stage.second / NOTE).write_text("# Theirs\n")
        stage.satchel("sync", cwd=stage.second)
        conflict = stage.json("sync", status=3)
        story.check([item["path"] for item in conflict["conflicts"]] == [NOTE], "the conflict is named")
        shown = "<<<<<<< LOCAL\n# Mine\n=======\n# Theirs\n>>>>>>> CLOUD\n"
        story.check((stage.folder / NOTE).read_text() == shown, "both versions stand in the file, between markers")
        stage.satchel("resolve", NOTE, "--take", "cloud")
        stage.satchel("sync")
        story.check((stage.folder / NOTE).read_text() == "# Theirs\n", "the other side was taken")
        stage.satchel("undo")
        story.check((stage.folder / NOTE).read_text() == "# Mine\n", "undo brings mine back")
        stage.satchel("resolve", NOTE, "--take", "local")
        stage.satchel("sync")
        stage.satchel("sync", cwd=stage.second)
        same_bytes(story, stage)
        facts.append("exit status 3, satchel resolve, satchel undo: both versions survived")


def same_bytes(story: Story, stage: Stage) -> int:
    """Hold the second folder to what the first one has, file by file; how many there are."""
    doctors = [stage.json("doctor", cwd=folder) for folder in (stage.folder, stage.second)]
    story.check(doctors[0]["digest"] == doctors[1]["digest"], "both folders have the same digest")
    left_out = {item["path"] for item in doctors[0]["leftOut"]}
    compared = 0
    for path in sorted(stage.second.rglob("*")):
        relative = path.relative_to(stage.second)
        if path.is_file() and relative.parts[0] != ".satchel" and str(relative) not in left_out:
            one, other = (hashlib.sha256((root / relative).read_bytes()) for root in (stage.folder, stage.second))
            story.check(one.digest() == other.digest(), f"{relative} is the same in both folders")
            compared += 1
    story.check(compared == doctors[0]["artifacts"], "the second folder has every file of the first")
    return compared


def remote_agent(story: Story, stage: Stage, question: str) -> None:
    """Journey 4: one question by every road."""
    with story.step("satchel key create agent --project demo:read") as facts:
        key = stage.satchel("key", "create", "agent", "--project", "demo:read").strip()
        facts.append("a key that may read this project and nothing else")
        refused = stage.http("PUT", "/projects/demo/artifacts/x.md", key, b"x", {"if-none-match": "*"})
        story.check(refused.status == 403, "it may not write")
    asked: dict[str, Json] = {}
    with story.step("the question on this disk: satchel search"):
        asked["satchel search"] = stage.json("search", question)
    with story.step("the same over stdio MCP, by the official client") as facts:
        version, asked["stdio MCP"], tools = mcp_over_stdio(stage, question)
        facts.append(f"protocol {version}, tools {', '.join(sorted(tools))}")
    with story.step("the same over REST, as curl would"):
        answer = stage.http("GET", f"/projects/demo/search?q={urllib.parse.quote(question)}", key)
        story.check(answer.status == 200, "the read key may search")
        asked["REST"] = answer.body
    with story.step("the same by satchel search --remote, with that key"):
        env = {"SATCHEL_URL": stage.url, "SATCHEL_KEY": key}
        asked["satchel search --remote"] = json.loads(stage.satchel("search", question, "--remote", "--json", env=env))
    for mode in ("auto", "legacy"):
        with story.step(f"the same over MCP at /mcp ({mode})") as facts:
            version, asked[f"MCP over HTTP ({mode})"], _ = asyncio.run(mcp_over_http(stage.url, key, question, mode))
            facts.append(f"protocol {version}")
    with story.step("six roads, one answer") as facts:
        expected = asked["satchel search"]
        for road, found in asked.items():
            story.check(found["hits"] == expected["hits"], f"{road} gives the same hits")
            story.check(found["projects"] == expected["projects"], f"{road} names the same digest")
        story.check(expected["hits"], "there is something to compare")
        digest = expected["projects"][0]["digest"]
        facts.append(f"{len(expected['hits'])} hits with order, scores and snippets, at digest {digest[:8]}")


def isolation(story: Story, stage: Stage, admin: str) -> None:
    """Journey 5."""
    with story.step("satchel tenant create rival") as facts:
        rival = stage.satchel("tenant", "create", "rival", "A rival", "--url", stage.url).strip()
        facts.append(f"its admin key {rival[:16]}…")
    with story.step("the rival has a project of the same name, with other content"):
        made = stage.http("POST", "/projects", rival, {"slug": "demo"}, {"idempotency-key": "demo-1"})
        story.check(made.status == 201, "the name is free in its own tenant")
        text = f"# Rival\n\nOur word is {SECRET_WORD}.\n".encode()
        put = stage.http("PUT", "/projects/demo/artifacts/rival.md", rival, text, {"if-none-match": "*"})
        story.check(put.status in (200, 201), f"the rival writes its own project ({put.status})")
    with story.step("each sees its own alone: lists, search, MCP"):
        lists = [stage.http("GET", "/projects", key).body["items"] for key in (admin, rival)]
        ids = [{row["id"] for row in rows} for rows in lists]
        story.check(len(ids[1]) == 1 and not ids[0] & ids[1], "no project is in both lists")
        for key, total in ((admin, 0), (rival, 1)):
            found = stage.http("POST", "/search", key, {"query": SECRET_WORD}).body
            story.check(found["total"] == total, "the rival's word is found by the rival alone")
            _, answer, _ = asyncio.run(mcp_over_http(stage.url, key, SECRET_WORD, "auto"))
            story.check(answer["total"] == total, "and over MCP likewise")
    with story.step("another tenant's project answers exactly as one that never existed") as facts:
        theirs, never = next(iter(ids[0])), "prj_0123456789abcdefghjkmnpqrs"
        note = f"/artifacts/{NOTE}"
        requests: list[tuple[str, str, object]] = [
            *(
                ("GET", path, None)
                for path in ("", "/context", "/artifacts", note, "/search?q=a", "/tasks", "/versions")
            ),
            ("GET", "/changes?since=0", None),
            ("PUT", note, b"x"),
            ("DELETE", note, None),
            ("POST", "/objects/query", {"objects": []}),
            ("PATCH", "", {"slug": "mine"}),
        ]
        for method, path, body in requests:
            pair = [
                without_request_id(stage.http(method, f"/projects/{name}{path}", rival, body), name)
                for name in (theirs, never)
            ]
            story.check(pair[0] == pair[1], f"{method} {path or '/'} tells {theirs} from {never}: {pair}")
            story.check(pair[0][0] == 404, f"{method} {path or '/'} is 404, not {pair[0][0]}")
        facts.append(f"{len(requests)} kinds of request, 404 and the same words each time")


def home_again(story: Story, stage: Stage) -> None:
    """Back to local-only."""
    with story.step("satchel leave, then the server is stopped for good"):
        before = stage.json("doctor")["digest"]
        stage.satchel("leave", "--yes")
        story.check(stage.stop() == 0, "the server stops cleanly")
    with story.step("everything still answers on this disk") as facts:
        after = stage.json("doctor")
        story.check(after["digest"] == before, "every file stayed")
        stage.satchel("search", "demo")
        facts.append(f"{after['artifacts']:,} files, digest {after['digest'][:8]}, no remote")


def tell(story: Story, stage: Stage) -> None:
    """The whole story."""
    with story.journey("Before any server: a folder on this disk"):
        question = locally(story, stage)
    with story.journey("Journey 1: deploy as a cloud service"):
        admin = deploy(story, stage)
    with story.journey("Journey 2: authenticate and access context"):
        authenticate(story, stage, admin)
    with story.journey("Journey 3: sync local context to the cloud, back, and both ways"):
        synchronise(story, stage)
    with story.journey("Journey 4: access context from a remote agent (REST and MCP)"):
        remote_agent(story, stage, question)
    with story.journey("Journey 5: multi-tenant isolation"):
        isolation(story, stage, admin)
    with story.journey("Back to local-only"):
        home_again(story, stage)


def main(arguments: list[str]) -> int:
    source = Path(arguments[0] if arguments else "docs").resolve()
    if not source.is_dir():
        print(f"demo: {source} is not a folder", file=sys.stderr)
        return 2
    print(f"Satchel's five journeys on a copy of {source}")
    story = Story()
    with tempfile.TemporaryDirectory(prefix="satchel-demo-") as place:
        stage = Stage(Path(place), source)
        try:
            tell(story, stage)
        except Failed as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            return 1
        finally:
            if stage.server is not None:
                stage.stop(signal.SIGKILL)
    print("\nSummary")
    for title, seconds in story.journeys:
        print(f"  {seconds:7.2f} s  {title}")
    print(f"  {time.perf_counter() - story.began:7.2f} s  in all; {story.checks:,} checks held")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
