"""Much to show: the commands that a page sends are counted and bounded, and memory does not grow.

``GEARMESH_WEB=long`` takes 1,000,000 messages, 100,000 states and 1,000 views, and looks at the time of each page; else
it is a tenth of that, and nothing is timed.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from tests.support.servers import RedisServer
from tests.web.conftest import make_app
from tests.web.seed import bury, some_letters, uuid_of
from tests.web.visitor import TOKEN, Visitor

from gearmesh.wire.codec import encode, encode_group, encode_state
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, GroupMeta, TaskState
from gearmesh.wire.types import arg

LONG = os.environ.get("GEARMESH_WEB") == "long"
MESSAGES = 1_000_000 if LONG else 100_000
STATES = 100_000 if LONG else 10_000
VIEWS = 1000 if LONG else 150
#: Commands that a page may send to Redis when nothing of it is cached and no walk goes on.
MAX_COMMANDS = {
    "/": 40,
    "/queue?name=shop": 20,
    "/queue?name=shop&start=90000": 20,
    "/queue?name=shop&text=user-99999": 60,
    "/task?id=LAST": 300,
    "/task?id=FAILED": 300,
    "/failed": 10,
    "/failed?task=reserve&text=nothing": 450,
    "/dead?queue=shop": 75,
    "/delayed": 15,
    "/groups": 60,
    "/group?id=GROUP": 10,
    "/workers": 30,
    "/periodic": 10,
}
#: Commands of a walk that one view may add: it has a budget of time.
MAX_WALK_COMMANDS = 500


def fill(url: str) -> dict[str, str]:
    """Fill Redis directly, in the layout of Machinery; the words for the pages."""
    now = time.time_ns()
    with redis.Redis.from_url(url) as client:
        for start in range(0, MESSAGES, 5000):
            bodies = [
                encode(
                    Signature(
                        UUID=uuid_of(number),
                        Name="reserve" if number % 3 else "ship",
                        RoutingKey="shop",
                        Args=(arg("string", f"user-{number}"), arg("int64", number)),
                        RetryCount=3,
                    )
                )
                for number in range(start, start + 5000)
            ]
            client.rpush("shop", *bodies)
        with client.pipeline(transaction=False) as pipe:
            for number in range(STATES):
                outcome = FAILURE if number % 10 == 0 else SUCCESS if number % 2 else PENDING
                state = TaskState(
                    TaskUUID=uuid_of(number),
                    TaskName=f"task{number % 50}",
                    State=outcome,
                    Error=f"no stock for item {number}" if outcome == FAILURE else "",
                    CreatedAt=format_ns(now - number * 10**9),
                )
                pipe.set(state.TaskUUID, encode_state(state))
                if number % 5000 == 0:
                    pipe.execute()
            for number in range(50):
                members = tuple(uuid_of(at) for at in range(number * 20, number * 20 + 2000))
                uuid = uuid_of(2_000_000 + number, "group_")
                pipe.set(uuid, encode_group(GroupMeta(GroupUUID=uuid, TaskUUIDs=members)))
            for number in range(1000):
                body = encode(Signature(UUID=uuid_of(3_000_000 + number), Name="remind", RoutingKey="shop"))
                pipe.zadd("delayed_tasks", {body: now + (3600 + number) * 10**9})
            pipe.execute()
    return {
        "LAST": uuid_of(MESSAGES - 1),
        "FAILED": uuid_of(10),
        "GROUP": uuid_of(2_000_000, "group_"),
    }


@contextmanager
def dashboard(url: str, folder: Path) -> Iterator[tuple[Visitor, psutil.Process]]:
    """The command in a process of its own, whose memory can be measured."""
    command = [sys.executable, "-m", "gearmesh", "dashboard", "--broker", url, "--backend", url]
    token = folder / "token"
    token.write_text(TOKEN)
    child = subprocess.Popen(
        [*command, "--queue", "shop", "--port", "0", "--token-file", str(token)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stderr is not None
        found = None
        while found is None:
            line = child.stderr.readline()
            assert line, "the dashboard ended"
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        visitor = Visitor(int(found[1]))
        assert visitor.sign_in().status == 303
        yield visitor, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(20)
        child.stderr.close()


def sent(client: redis.Redis) -> int:
    """The commands that Redis has carried out, those of scripts and of this client left out."""
    stats = client.info("commandstats")
    return sum(
        each["calls"]
        for name, each in stats.items()
        if name not in ("cmdstat_info", "cmdstat_client|setinfo")
    )


@pytest.mark.timeout(1200)
def test_pages_cost_the_same_however_much_there_is(
    redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    with make_app(redis_url, default_queue="shop") as app:
        bury(app, some_letters(200, start=4_000_000))
    words = fill(redis_url)
    pages = {path: path for path in MAX_COMMANDS}
    for word, uuid in words.items():
        pages = {path: url.replace(word, uuid) for path, url in pages.items()}
    with dashboard(redis_url, tmp_path) as (visitor, process), redis.Redis.from_url(redis_url) as client:
        # Each view goes on with the walks for a moment, until they have seen everything.
        costs = []
        for _ in range(500):
            before = sent(client)
            text = visitor.get("/").text
            costs.append(sent(client) - before)
            if "Counted" in text and "more may appear" not in text:
                break
            time.sleep(1.05)
        assert max(costs) < MAX_WALK_COMMANDS
        assert f"{MESSAGES:,}" in text
        told = {}
        for path, url in pages.items():
            time.sleep(1.05)  # until the dashboard's cache has expired
            before = sent(client)
            answer = visitor.get(url)
            told[path] = sent(client) - before
            assert answer.status == 200, path
        walking = max(costs)
        print("commands while walking", costs, "\ncommands a page", told)
        # The walk may begin anew during one of the views.
        over = {path: count for path, count in told.items() if count > MAX_COMMANDS[path]}
        assert all(count <= MAX_COMMANDS[path] + walking for path, count in over.items()), over
        assert len(over) <= 3, over
        before = sent(client)
        for _ in range(20):
            visitor.get("/queue?name=shop")
        assert sent(client) - before <= 20 * MAX_COMMANDS["/queue?name=shop"] / 2, (
            "answers are kept for a second"
        )
        times: dict[str, list[float]] = {path: [] for path in pages}
        for _ in range(30 if LONG else 1):
            time.sleep(1.05)
            list(view(visitor, pages, times, len(pages)))
        list(view(visitor, pages, {path: [] for path in pages}, VIEWS // 5))
        settled = process.memory_info().rss
        list(view(visitor, pages, {path: [] for path in pages}, VIEWS))
        grown = process.memory_info().rss - settled
        medians = {path: round(statistics.median(each) * 1000) for path, each in times.items()}
        print("ms at the median", medians, "rss", settled >> 20, "MiB, grown", grown >> 10, "KiB")
        assert grown < 12 << 20
        if LONG:
            assert max(medians.values()) < 300


def view(
    visitor: Visitor, pages: dict[str, str], times: dict[str, list[float]], views: int
) -> Iterator[None]:
    """Look at the pages in turn."""
    for number in range(views):
        path = list(pages)[number % len(pages)]
        began = time.perf_counter()
        assert visitor.get(pages[path]).status == 200
        times[path].append(time.perf_counter() - began)
        yield
