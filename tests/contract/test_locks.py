"""The lock contract for every lock, and Go's view of the one in Redis."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis
from tests.support.servers import RedisServer

from gearmesh.errors import ConfigError, LockError
from gearmesh.interfaces.lock import Claim, Lock
from gearmesh.locks.memory import MemoryLock
from gearmesh.locks.redis import RedisLock
from gearmesh.locks.registry import open_lock as open_url
from gearmesh.testing.contracts import LockContract
from gearmesh.testing.proxy import Proxy
from gearmesh.wire.names import periodic_fired, periodic_lock

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "periodic_lock.json").read_text("utf-8"))
SECOND = 10**9


class TestMemoryLock(LockContract):
    @pytest.fixture
    def open_lock(self) -> Iterator[Callable[[], Lock]]:
        url = f"memory://{uuid4().hex}"
        keeper = open_url(url)  # a store lives as long as one lock
        yield lambda: open_url(url)
        keeper.close()

    def test_names_are_kept_apart(self, claim: Claim) -> None:
        one, two = MemoryLock(uuid4().hex), MemoryLock(uuid4().hex)
        assert one.take(claim)
        assert two.take(claim)


class TestEagerLock(LockContract):
    @pytest.fixture
    def open_lock(self) -> Callable[[], Lock]:
        return lambda: open_url("eager")

    @pytest.mark.parametrize("url", [None, "eager", "eager://"])
    def test_everybody_has_one_of_his_own(self, claim: Claim, url: str | None) -> None:
        assert open_url(url).keeps is False
        assert open_url(url).take(claim)
        assert open_url(url).take(claim)


class TestRedisLock(LockContract):
    @pytest.fixture
    def open_lock(self, redis_url: str) -> Callable[[], Lock]:
        return lambda: open_url(redis_url)

    @pytest.fixture
    def go(self, redis_url: str) -> Iterator[redis.Redis]:
        """Read the lock as Go sees it."""
        with redis.Redis.from_url(redis_url) as client:
            yield client

    def test_key_and_value_are_machinerys(self, lock: Lock, go: redis.Redis) -> None:
        """Take the lock at the recorded moment; key and value equal the recording of a Go scheduler."""
        (key, recorded), _ = GOLDEN["keys"].items()
        assert periodic_lock(GOLDEN["executable"], GOLDEN["name"], GOLDEN["spec"]) == key
        minute = 60 * SECOND
        next_ns = int(recorded["value"]) + 1
        read_at = GOLDEN["read_at_unix_ns"]
        assert lock.take(Claim(key, "x", next_ns - minute, next_ns, read_at))
        assert go.get(key) == recorded["value"].encode()
        # It was read a few ms after it was written.
        assert 0 <= recorded["pttl"] - go.pttl(key) < 1000

    def test_go_has_it(self, lock: Lock, go: redis.Redis, claim: Claim) -> None:
        go.set(claim.key, claim.value, nx=True, px=claim.lasts_ms)
        assert lock.take(claim) is False
        assert lock.take(self.after(claim, 1)) is True

    def test_go_is_too_late(self, lock: Lock, go: redis.Redis, claim: Claim) -> None:
        """The steps of a Go scheduler that comes a moment later: not set, and not past."""
        assert lock.take(claim)
        assert go.set(claim.key, claim.value, nx=True, px=claim.lasts_ms) is None
        assert int(go.get(claim.key) or 0) > time.time_ns()

    def test_go_left_a_past_value_that_never_expires(self, lock: Lock, go: redis.Redis, claim: Claim) -> None:
        """Go: the scheduler that loses the race of get-and-set has removed the expiry of the key."""
        go.set(claim.key, claim.due_ns - 1)
        assert lock.take(claim)
        assert go.get(claim.key) == claim.value.encode()
        assert 3_590_000 < go.pttl(claim.key) <= 3_600_000

    def test_moments_are_compared_exactly(self, lock: Lock, go: redis.Redis, claim: Claim) -> None:
        """A double cannot tell these apart."""
        go.set(claim.key, claim.due_ns)
        assert lock.take(claim) is False
        go.set(claim.key, claim.due_ns - 1)
        assert lock.take(claim) is True

    @pytest.mark.parametrize("value", [b"", b"x", b"-5", b"1.5", b"\xff"])
    def test_the_lock_refuses_stored_values_that_are_no_lock(
        self, lock: Lock, go: redis.Redis, claim: Claim, value: bytes
    ) -> None:
        go.set(claim.key, value)
        with pytest.raises(LockError, match="expected unix nanoseconds"):
            lock.take(claim)
        go.set(periodic_fired(claim.key), value)
        with pytest.raises(LockError, match="expected unix nanoseconds and a name"):
            lock.fired(claim.key)

    def test_it_leaves_nothing_for_ever(self, lock: Lock, go: redis.Redis, claim: Claim) -> None:
        lock.begin(claim.key + "x", 17, 60)
        lock.take(replace(claim, keep=120))
        assert {key: go.pttl(key) > 0 for key in go.scan_iter()} == {
            claim.key.encode(): True,
            periodic_fired(claim.key).encode(): True,
            periodic_fired(claim.key + "x").encode(): True,
        }

    def test_a_lost_answer(
        self, redis_server: RedisServer, redis_url: str, make_proxy: Callable[..., Proxy], claim: Claim
    ) -> None:
        """The script has run, its answer never came: asked again, it says the same."""
        proxy = make_proxy(redis_server.port)
        lock = open_url(redis_url.replace(str(redis_server.port), str(proxy.port)))
        lock.fired(claim.key)
        proxy.lose_replies(1)
        assert lock.take(claim) is True
        assert lock.take(replace(claim, holder="two")) is False
        lock.close()

    def test_away(self, make_redis: Callable[..., RedisServer], claim: Claim) -> None:
        server = make_redis(aof="always")
        lock = open_url(server.url)
        assert lock.take(claim)
        server.kill()
        with pytest.raises(lock.connection_errors):
            lock.take(claim)
        server.start()
        assert lock.take(replace(claim, holder="two")) is False
        assert lock.take(self.after(claim, 1)) is True
        lock.close()

    def test_two_processes(self, redis_url: str, claim: Claim) -> None:
        """Each due moment has one winner; either process may come first."""
        setup = json.dumps([redis_url, claim.key, claim.due_ns])
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACE, setup, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("one", "two")
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.close()
        won = []
        for racer in racers:
            assert racer.stdout is not None
            won.append(json.loads(racer.stdout.read()))
            racer.stdout.close()
            assert racer.wait(30) == 0
        assert sorted(won[0] + won[1]) == list(range(300))


#: Takes 300 due moments in turn, and prints which it got.
RACE = """
import json, sys
from gearmesh.interfaces.lock import Claim
from gearmesh.locks.registry import open_lock
url, key, start = json.loads(sys.argv[1])
lock = open_lock(url)
lock.fired(key)
print("ready", flush=True)
sys.stdin.read()
period = 10**9
dues = [start + n * period for n in range(300)]
print(json.dumps([n for n, due in enumerate(dues) if lock.take(Claim(key, sys.argv[2], due, due + period, due))]))
"""


@pytest.mark.parametrize(
    ("url", "machinery", "reason"),
    [
        (None, 1, "known to this process only"),
        ("memory://x", 2, "known to this process only"),
        ("eager", 1, "known to this process only"),
        ("redis://h:6379/3", 1, "always in database 0"),
        ("rediss://h:6379", 1, "silently takes a lock inside its process"),
        ("rediss://h:6379", 2, "has no TLS"),
        ("redis+socket:///tmp/redis.sock", 1, "silently takes a lock inside its process"),
        ("redis://user:secret@h:6379", 1, "takes all that stands before '@' as the password"),
        ("redis://user:secret@h:6379", 2, "takes all that stands before '@' as the password"),
    ],
)
def test_open_url_refuses_locks_that_go_cannot_share(url: str | None, machinery: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refusal:
        open_url(url, executable="shop", machinery=machinery)
    assert "'shop'" in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "machinery"),
    [
        ("redis://h:6379", 1),
        ("redis://h:6379/0", 1),
        ("redis://secret@h:6379", 1),
        ("redis://h:6379/3", 2),
        ("redis+socket:///tmp/redis.sock:/3", 2),
    ],
)
def test_open_url_opens_locks_that_go_can_share(url: str, machinery: int) -> None:
    assert isinstance(open_url(url, executable="shop", machinery=machinery), RedisLock)


@pytest.mark.parametrize("url", ["redis://user:pw@h:6379/3", "rediss://h:6379/3", "redis+socket:///a.sock"])
def test_python_alone_shares_them_all(url: str) -> None:
    assert isinstance(open_url(url), RedisLock)


@pytest.mark.parametrize("url", ["nosuch://host", "null", "redis"])
def test_other_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="lock"):
        open_url(url)


def test_a_plugin_opens_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = MemoryLock()
    point = SimpleNamespace(name="mine", load=lambda: lambda url: mine if url == "mine://x" else None)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: [point])
    assert open_url("mine://x") is mine
    assert open_url("mine://x", executable="shop") is mine
