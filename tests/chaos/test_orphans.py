"""Workers die, and their tasks run again within a bound. A worker that only seems to have died changes nothing."""

from __future__ import annotations

import time

import pytest
import redis

from gearmesh import App, chain
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import QueueKeys
from gearmesh.worker import Worker

from .harness import Site
from .producers import QUEUE, remote_tasks

LEASE = 1.5


@pytest.mark.parametrize(
    ("who", "apart", "lease", "bound"),
    [
        pytest.param("child", False, 30.0, 20.0, id="the child"),
        pytest.param("both", False, 30.0, 20.0, id="child and supervisor, on this machine"),
        pytest.param("both", True, LEASE, LEASE + 20.0, id="child and supervisor, on another machine"),
    ],
)
def test_an_orphan_runs_again(site: Site, who: str, apart: bool, lease: float, bound: float) -> None:
    victim = site.node(lease=lease, apart=apart)
    site.ready()
    with App(site.url(), site.url()) as app:
        result = remote_tasks(app)["work"].delay("orphan", 6000)
        eventually(lambda: site.runs("orphan"))
        site.node(lease=lease, apart=apart)
        site.ready(2)
        killed = time.monotonic()
        if who == "child":
            assert victim.kill_child()
        else:
            victim.kill_both()
        first, second = eventually(lambda: len(runs := site.runs("orphan")) > 1 and runs, bound + 10)
        took = second.at - killed
        print(f"orphan of {who}: ran again after {took:.2f} s")
        assert took < bound
        assert first.pid != second.pid
        assert result.get(timeout=30) == "orphan"
    assert len(site.runs("orphan")) == 2


def test_a_restarted_worker_takes_its_messages_back_at_once(site: Site) -> None:
    """The lease is half a minute. No other worker is there, and the new one does not wait for the lease to end."""
    node = site.node(lease=30.0, concurrency=2)
    site.ready()
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = [work.delay(f"again/{i}", 2000) for i in range(2)]
        eventually(lambda: all(site.runs(f"again/{i}") for i in range(2)))
        node.kill_both()
        node.start()
        assert [result.get(timeout=25) for result in results] == [f"again/{i}" for i in range(2)]
    assert [len(site.runs(f"again/{i}")) for i in range(2)] == [2, 2]


@pytest.mark.parametrize("code", [0, 1])
def test_a_task_that_ends_its_process_is_put_back_at_once(site: Site, code: int) -> None:
    node = site.node(lease=30.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        result = app.remote("leave", "string", "int64").delay("left", code)
        assert result.get(timeout=10) == "left"
    first, second = site.runs("left")
    assert second.at - first.at < 5
    assert node.running


def test_a_worker_of_the_same_name_loses_nothing(site: Site) -> None:
    """Killed and started again before anybody could miss it."""
    node = site.node(lease=LEASE, concurrency=2, options=["--name", "same"])
    site.ready()
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = [work.delay(f"same/{i}", 1000) for i in range(2)]
        eventually(lambda: all(site.runs(f"same/{i}") for i in range(2)))
        node.kill_both()
        node.start()
        results += [work.delay(f"same/{i}", 0) for i in range(2, 6)]
        assert [result.get(timeout=LEASE + 15) for result in results] == [f"same/{i}" for i in range(6)]
    assert all(name.startswith(b"same:") for name in site.consumers())


def test_a_child_outlives_its_supervisor_long_enough(site: Site) -> None:
    victim = site.node(lease=LEASE)
    site.ready()
    with App(site.url(), site.url()) as app:
        result = remote_tasks(app)["work"].delay("child", int(LEASE * 2000))
        eventually(lambda: site.runs("child"))
        site.node(lease=LEASE)
        victim.kill_supervisor()
        assert result.get(timeout=LEASE * 2 + 5) == "child"
        eventually(lambda: "the supervisor is gone" in victim.tail())
    assert len(site.runs("child")) == 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("how", "leases"),
    [
        ("stopped", 2),
        ("frozen", 2),
        pytest.param("stopped", 100, marks=pytest.mark.slow),
        pytest.param("frozen", 100, marks=pytest.mark.slow),
    ],
)
def test_a_redis_that_was_away_doubles_nothing(durable_site: Site, how: str, leases: int) -> None:
    """Redis is unreachable for longer than the lease, or for minutes, while tasks run and end."""
    site = durable_site
    nodes = [site.node(lease=LEASE, concurrency=2) for _ in range(2)]
    site.ready()
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = app.publish_many(work.s(f"away/{i}", int(LEASE * 2500)) for i in range(4))
        eventually(lambda: all(site.runs(f"away/{i}") for i in range(4)))
        if how == "stopped":
            site.server.kill()
        else:
            site.server.pause()
        time.sleep(LEASE * leases)
        if how == "stopped":
            site.server.start()
        else:
            site.server.resume()
        for i, result in enumerate(results):
            assert result.get(timeout=LEASE * 3 + 10) == f"away/{i}"
    assert [len(site.runs(f"away/{i}")) for i in range(4)] == [1] * 4
    assert all(node.running for node in nodes)


def test_a_zombie_changes_nothing(site: Site) -> None:
    """Stopped for longer than its lease, then awake again in the middle of its tasks."""
    zombie = site.node(lease=LEASE, concurrency=2)
    site.ready()
    with App(site.url(), site.url()) as app:
        tasks = remote_tasks(app)
        slow = app.remote("slow_step", "string", "int64", "int64")
        flows = [
            chain(slow.s(f"zombie/{i}", 7000, 0), tasks["step"].s(f"zombie/{i}")).apply_async()
            for i in range(2)
        ]
        eventually(lambda: all(site.runs(f"zombie/{i}/0") for i in range(2)))
        heir = site.node(lease=LEASE, concurrency=2)
        site.ready(2)
        zombie.freeze()
        eventually(lambda: all(len(site.runs(f"zombie/{i}/0")) == 2 for i in range(2)), LEASE + 20)
        zombie.thaw()
        for flow in flows:
            assert flow.get(timeout=40) == 2
        eventually(lambda: zombie.tail().count("its lease was lost") == 2, what="both commits refused")
        assert not site.open()
        assert [len(site.runs(f"zombie/{i}/1")) for i in range(2)] == [1, 1], "the next step is sent once"
        after = tasks["work"].delay("after", 0)
        assert after.get(timeout=20) == "after"
    assert zombie.running
    assert heir.running


@pytest.mark.parametrize(
    ("seconds", "lease"),
    [
        (5, LEASE),
        pytest.param(45, LEASE, marks=pytest.mark.slow),
        pytest.param(45, 30.0, marks=pytest.mark.slow),
    ],
)
def test_a_task_that_holds_the_gil_keeps_its_lease(site: Site, seconds: int, lease: float) -> None:
    holder = site.node(lease=lease, concurrency=2)
    site.ready()
    with App(site.url(), site.url()) as app:
        result = remote_tasks(app)["hold_gil"].delay("gil", seconds)
        eventually(lambda: site.runs("gil"))
        site.node(lease=lease, concurrency=2)
        assert result.get(timeout=seconds + 10) == 0
    assert len(site.runs("gil")) == 1
    assert holder.running


def test_a_message_that_a_dead_child_s_wait_takes_is_found(redis_url: str) -> None:
    """A proxy may keep the blocking wait of a dead process open for a little longer than the process lived."""
    keys = QueueKeys(QUEUE)
    with App(redis_url, redis_url, lease=LEASE) as app, redis.Redis.from_url(redis_url) as server:
        work = app.task(lambda key: key, name="work")
        dead = server.connection_pool.get_connection()
        commands = [
            ("HINCRBY", keys.consumers, "dead", 1),
            ("BLMOVE", QUEUE, keys.arrived("dead"), "LEFT", "RIGHT", LEASE / 3),
        ]
        dead.send_packed_command(dead.pack_commands(commands))
        assert dead.read_response() == 1
        with open_connection(redis_url) as supervisor:
            supervisor.channel().recover("dead", [QUEUE])
        result = work.delay("still taken")
        assert dead.read_response() is not None
        with Worker(app, concurrency=1):
            assert result.get(timeout=LEASE + 2) == "still taken"
            eventually(lambda: b"dead" not in server.hgetall(keys.consumers))
        server.connection_pool.release(dead)
