"""Names, arguments, errors and headers made of markup are shown as text, on every page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from urllib.parse import quote
from uuid import uuid4

from tests.web.conftest import Show, make_app
from tests.web.seed import bury, uuid_of, working
from tests.web.visitor import Visitor

from gearmesh import App
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.results.failures import FailureDetails, record_of
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, GroupMeta, TaskResult, TaskState
from gearmesh.wire.types import arg

#: Each would become an element, an attribute or a script somewhere, if it were not escaped.
EVIL = (
    "<script>xss()</script>",
    "<SCRIPT SRC=//evil.example/xss.js></SCRIPT>",
    "<xss>",
    "</td></tr></table><xss>",
    "</title><xss>",
    "</textarea><xss>",
    "</pre><xss>",
    "</svg><xss>",
    "</script><xss>",
    "</style><xss>",
    "<!--><xss>-->",
    "--><xss>",
    "]]><xss>",
    "<![CDATA[<xss>]]>",
    '"><xss>',
    "'><xss>",
    "`><xss>",
    '" onmouseover="xss()',
    "' onmouseover='xss()",
    '" autofocus onfocus=xss() x="',
    '" hx-get="/xss" hx-trigger="load" x="',
    '" data-hx-on:load="xss()" x="',
    '" sse-connect="//evil.example" x="',
    "<img src=x onerror=xss()>",
    "<svg onload=xss()>",
    "<svg><script>xss()</script></svg>",
    "<a xlink:href='javascript:xss()'>x</a>",
    "<iframe srcdoc='<script>xss()</script>'>",
    "<form action=//evil.example><button>x",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<math><mi xlink:href='javascript:xss()'>x</mi></math>",
    "<details open ontoggle=xss()>",
    "javascript:xss()",
    "data:text/html,<script>xss()</script>",
    "{{ 7 * 191 }}<xss>",
    "{% for x in y %}<xss>",
    "${7 * 191}<xss>",
    "&lt;xss&gt;<xss>&#60;xss&#62;",
    "\u202e<xss>\u2028\u0000<xss>",
)


class Reader(HTMLParser):
    """Collects the elements of a page with their attributes, and its text, as a browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


#: The elements of the dashboard's templates.
_WORDS = """
html head meta title link script body a header nav ul ol li form label input button main footer span div section
h1 h2 h3 dl dt dd table caption thead tbody tr th td p svg rect path text small b time code pre progress select option
fieldset legend q strong
"""
ELEMENTS = frozenset(_WORDS.split())


def read(visitor: Visitor, path: str) -> str:
    """The text of a page whose every element and attribute is one of the dashboard's own."""
    answer = visitor.get(path)
    assert answer.status == 200, path
    reader = Reader()
    reader.feed(answer.text)
    for tag, attributes in reader.elements:
        assert tag in ELEMENTS, (path, tag)
        for name, value in attributes.items():
            assert not name.startswith("on"), (path, name)
            if name in ("href", "src", "action", "hx-get", "sse-connect"):
                assert value.startswith(("/", "#")), (path, name, value)
                assert not value.startswith("//"), (path, name, value)
        if tag == "script":
            assert attributes.keys() == {"src", "defer"}, path
        if tag == "meta":
            assert attributes.get("http-equiv") is None
    return "".join(reader.text)


def plant(app: App, evil: str, number: int) -> dict[str, str]:
    """Put a text wherever a task can bring one; the pages that show it."""
    queue = f"q{number}"
    uuid, failed, group, done = (uuid_of(5000 + 10 * number + at) for at in range(4))
    headers = {evil: arg("string", evil).Value}
    sig = Signature(
        UUID=uuid,
        Name=evil,
        RoutingKey=queue,
        GroupUUID=group,
        Args=(arg("string", evil), arg("string", json.dumps({evil: evil}))),
        Headers=headers,
        OnSuccess=(Signature(UUID=evil, Name=evil),),
        ChordCallback=Signature(UUID=evil, Name=evil),
    )
    bury(app, [(sig.evolve(UUID=evil, RoutingKey=queue), evil)])
    with connect(app.config) as connection:
        later = 2**62
        publishes = (Publish(queue, encode(sig)), Publish(queue, encode(sig.evolve(UUID=evil)), eta_ns=later))
        connection.channel().commit([Commit(publishes=(each,)) for each in publishes])
    first = [TaskState(TaskUUID=each, TaskName=evil, State=PENDING) for each in (uuid, failed, done)]
    app.backend.write(
        [
            *first,
            TaskState(TaskUUID=failed, State=FAILURE, Error=evil),
            record_of(
                failed, evil, FailureDetails(evil, evil, message=encode(sig.evolve(UUID=failed)).decode())
            ),
            TaskState(
                TaskUUID=done, State=SUCCESS, Results=(TaskResult("string", arg("string", evil).Value),)
            ),
        ]
    )
    app.backend.create_group(GroupMeta(GroupUUID=group, TaskUUIDs=(uuid, failed, evil)))
    quoted = quote(evil, safe="")
    return {
        "queue": f"/queue?name={queue}",
        "waiting": f"/task?id={uuid}",
        "failure": f"/task?id={failed}",
        "done": f"/task?id={done}",
        "dead": f"/dead?queue={queue}",
        "group": f"/group?id={group}",
        "search": f"/failed?text={quoted}",
        "asked": f"/queue?name={quoted}&task={quoted}&text={quoted}&state={quoted}&age={quoted}",
        "asked task": f"/task?id={quoted}",
        "asked group": f"/group?id={quoted}",
        "asked dead": f"/dead?queue={quoted}&reason={quoted}&task={quoted}&text={quoted}&age={quoted}&retried={quoted}",
        "asked failed": f"/failed?task={quoted}&reason={quoted}&args={quoted}&age={quoted}&state={quoted}&cursor=",
        "asked periodic": f"/periodic?sent={quoted}",
        "asked live": f"/?live={quoted}&{quoted}={quoted}",
        "sign in": f"/sign-in?next={quoted}",
    }


def confirmed(visitor: Visitor, csrf: str, fields: dict[str, str]) -> None:
    """Send a form of odd fields; the answer has the dashboard's own elements only."""
    for path in ("/dead/confirm", "/failed/confirm"):
        answer = visitor.post(path, {"csrf": csrf, "queue": "q", "how": "drop", "id": "x", **fields})
        reader = Reader()
        reader.feed(answer.text)
        assert {tag for tag, _ in reader.elements} <= ELEMENTS, (path, fields)


def test_markup_is_text_on_every_page(show: Show) -> None:
    """41 texts on 21 pages and three answers to forms."""
    url = f"memory://{uuid4().hex}"
    # The broker lives as long as one of its connections.
    with make_app(url, default_queue="q0") as app, connect(app.config) as keeper:
        keeper.channel()
        planted = [(evil, plant(app, evil, number)) for number, evil in enumerate(EVIL)]
        visitor = show(app, allow_actions=True, queues=EVIL)
        stranger = Visitor(visitor.port)
        csrf = visitor.csrf()
        for evil, pages in planted:
            sign_in = pages.pop("sign in")
            shown = {name: read(visitor, path) for name, path in pages.items()}
            read(stranger, sign_in)
            beginning = evil.replace("\u0000", "")[:8].strip()
            for name in ("queue", "waiting", "failure", "dead", "group"):
                assert beginning in shown[name].replace("\u0000", "").replace("\ufffd", ""), (evil, name)
            assert "1337" not in "".join(shown.values())
            confirmed(
                visitor,
                csrf,
                {"scope": "filter", "reason": evil, "task": evil, "text": evil, "args": evil, "queue": evil},
            )
            confirmed(visitor, csrf, {"id": evil, "queue": evil})
            confirmed(visitor, csrf, {"how": evil})
        for path in ("/", "/failed", "/delayed", "/groups", "/periodic", "/dead"):
            read(visitor, path)


def test_markup_in_the_names_of_workers_and_queues(show: Show, redis_url: str) -> None:
    """Only Redis lists workers by name, and finds queues that no app names."""
    with make_app(redis_url, default_queue="q17") as app:
        plant(app, EVIL[17], 17)
        visitor = show(app)
        with connect(app.config) as connection:
            body = encode(Signature(UUID="task_1", Name="x"))
            connection.channel().commit(
                [Commit(publishes=(Publish(evil, body),)) for evil in EVIL if "}" not in evil]
            )
        with working(app, "q17", EVIL[17], 1):
            assert EVIL[17] in read(visitor, "/workers")
            # Each look goes on with the walk that finds queues, for a moment.
            eventually(lambda: "more may appear" not in visitor.get("/").text)
            text = read(visitor, "/")
        assert all(evil.strip("\u0000")[:8].strip() in text for evil in EVIL[:20])
