"""``gearmesh queues``, ``pending``, ``delayed``, ``groups``, ``purge`` and ``config show``, on a real Redis."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from gearmesh import App, group
from gearmesh.cli import main
from gearmesh.config.table import SETTINGS
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.state import PENDING, TaskState
from gearmesh.worker import Worker

HOUR = 3600 * 10**9


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for setting in SETTINGS.values():
        for name in setting.names:
            monkeypatch.delenv(name.env or "-", raising=False)
    monkeypatch.delenv("GEARMESH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url(redis_url: str) -> str:
    """A server with 2 waiting, 1 delayed and 1 dead message of machinery_tasks, and 1 waiting of other."""
    with open_connection(redis_url) as connection:
        channel = connection.channel()

        def send(queue: str, body: bytes, eta_ns: int = 0) -> None:
            channel.commit([Commit(publishes=(Publish(queue, body, eta_ns),))])

        send("machinery_tasks", b"dead")
        message = channel.basic_get("machinery_tasks")
        channel.commit([Commit(settle=Settle(message.delivery, "dead", "undecodable"))])
        args = b'[{"Name":"","Type":"int64","Value":1},{"Name":"","Type":"string","Value":"x"}]'
        send("machinery_tasks", b'{"UUID":"task_1","Name":"resize","Args":' + args + b',"RetryCount":3}')
        send("machinery_tasks", b"not json")
        send("other", b'{"UUID":"task_2","Name":"other","RoutingKey":"other"}')
        for number, queue in enumerate(("machinery_tasks", "other")):
            body = f'{{"UUID":"task_later_{number}","Name":"later","RoutingKey":"{queue}"}}'
            send(queue, body.encode(), time.time_ns() + HOUR + number)
    return redis_url


def call(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(main, words, env={"COLUMNS": "200", **more.pop("env", {})}, **more)


def test_a_row_stays_one_line_in_a_pipe(url: str) -> None:
    result = call("delayed", "--broker", url, env={"COLUMNS": None})
    (row,) = (line for line in result.stdout.splitlines() if "task_later_1" in line)
    assert row.split()[1:] == ["other", "task_later_1", "later", "0", "-", "-"]
    assert row.split()[0].endswith("Z")


def counts(url: str, queue: str = "machinery_tasks") -> dict[str, Any]:
    result = call("queues", queue, "--json", "--broker", url)
    assert result.exit_code == 0, result.output
    (count,) = json.loads(result.stdout)
    assert isinstance(count, dict)
    return count


def test_queues(url: str) -> None:
    result = call("queues", "--broker", url)
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["queue", "pending", "held", "parked", "dead", "delayed", "consumers"],
        ["machinery_tasks", "2", "0", "0", "1", "1", "0"],
        ["other", "1", "0", "0", "0", "1", "0"],
    ]
    assert counts(url, "nobody_s") == {
        "queue": "nobody_s",
        "pending": 0,
        "held": 0,
        "parked": 0,
        "dead": 0,
        "consumers": 0,
        "silent": 0,
        "delayed": 0,
    }


def test_a_queue_that_only_has_delayed_messages_is_counted(redis_url: str) -> None:
    with App(redis_url) as app:
        app.remote("late").apply_async(queue="evening", countdown=3600)
    rows = call("queues", "--broker", redis_url).stdout.splitlines()
    assert rows[1].split() == ["evening", "0", "0", "0", "0", "1", "0"]


def test_queues_on_rabbitmq_are_those_of_the_app(amqp_url: str) -> None:
    """AMQP cannot list queues or count delayed messages."""
    with App(amqp_url) as app:
        app.remote("add").apply_async(queue="elsewhere")
    (row,) = call("queues", "--broker", amqp_url).stdout.splitlines()[1:]
    assert row.split() == ["machinery_tasks", "0", "-", "-", "0", "-", "0"]
    (found,) = json.loads(call("queues", "--json", "--broker", amqp_url).stdout)
    assert (found["parked"], found["delayed"]) == (None, None)


def test_lists_of_others_are_no_queues(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.rpush("celery", b'{"body": "", "headers": {}}')
        client.rpush("go_only", b'{"UUID":"task_1","Name":"resize"}')
        client.set("task_1", b"{}")
    names = [each["queue"] for each in json.loads(call("queues", "--json", "--broker", redis_url).stdout)]
    assert names == ["go_only", "machinery_tasks"]


def test_pending(url: str) -> None:
    result = call("pending", "--broker", url)
    assert result.exit_code == 0, result.output
    first, second, third = result.stdout.splitlines()[1:]
    assert first.split() == ["machinery_tasks", "task_1", "resize", "3", "-", "int64:1,", 'string:"x"']
    assert "undecodable: " in second
    assert third.split()[:3] == ["other", "task_2", "other"]
    assert "3 messages waiting in 2 queues" in result.stderr
    one = call("pending", "machinery_tasks", "--broker", url)
    assert one.stdout.splitlines()[1].split()[:2] == ["task_1", "resize"]
    assert "2 messages waiting in machinery_tasks" in one.stderr
    found = json.loads(call("pending", "--json", "--broker", url).stdout)
    assert [each["queue"] for each in found] == ["machinery_tasks", "machinery_tasks", "other"]
    assert found[0]["signature"]["UUID"] == "task_1"
    assert found[0]["signature"]["Args"][0] == {"Name": "", "Type": "int64", "Value": 1}
    assert found[1]["body"] == "bm90IGpzb24="
    assert "the first 1 message waiting" in call("pending", "-n", "1", "--broker", url).stderr
    assert "0 messages waiting in none" in call("pending", "--queue", "none", "--broker", url).stderr


def test_delayed(url: str) -> None:
    result = call("delayed", "--broker", url)
    assert result.exit_code == 0, result.output
    assert [line.split()[1:4] for line in result.stdout.splitlines()[1:]] == [
        ["machinery_tasks", "task_later_0", "later"],
        ["other", "task_later_1", "later"],
    ]
    found = json.loads(call("delayed", "--json", "--queue", "other", "--broker", url).stdout)
    assert [each["signature"]["UUID"] for each in found] == ["task_later_1"]
    assert found[0]["due"].endswith("Z")


def test_groups(redis_url: str) -> None:
    with App(redis_url, redis_url) as app:
        add = app.remote("add", "int64", "int64")
        result = group(add.s(1, n) for n in range(3)).delay()
    shown = call("groups", result.uuid, "--backend", redis_url)
    assert shown.exit_code == 0, shown.output
    assert f"{result.uuid}: 3 members: 3 PENDING" in shown.stdout
    both = call("groups", "group_none", result.uuid, "--json", env={"RESULT_BACKEND": redis_url})
    assert both.exit_code == 1
    assert "group group_none not found" in both.stderr
    (found,) = json.loads(both.stdout)
    assert found["states"] == {"PENDING": 3}
    assert [member["TaskUUID"] for member in found["members"]] == found["group"]["TaskUUIDs"]


def test_purge_asks(url: str) -> None:
    result = call("purge", "--dead", "--broker", url, input="n\n")
    assert result.exit_code == 1
    assert (
        "Delete 2 waiting messages, 1 dead letter of machinery_tasks? This cannot be undone." in result.stderr
    )
    assert (counts(url)["pending"], counts(url)["dead"]) == (2, 1)


def test_purge_deletes_only_pending_messages(url: str) -> None:
    result = call("purge", "machinery_tasks", "--broker", url, input="y\n")
    assert result.stdout == "deleted from machinery_tasks: 2 pending\n"
    assert (counts(url)["pending"], counts(url)["dead"], counts(url, "other")["pending"]) == (0, 1, 1)
    assert len(json.loads(call("delayed", "--json", "--broker", url).stdout)) == 2


def test_purge_everything(url: str) -> None:
    result = call("purge", "--delayed", "--dead", "--yes", "--json", "--broker", url)
    assert json.loads(result.stdout) == {"queue": "machinery_tasks", "pending": 2, "delayed": 1, "dead": 1}
    assert counts(url)["dead"] == 0
    (left,) = json.loads(call("delayed", "--json", "--broker", url).stdout)
    assert left["signature"]["RoutingKey"] == "other"


def test_purge_touches_no_other_key(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.set("task_1", b"state")
        result = call("purge", "task_1", "--yes", "--broker", redis_url)
        assert result.exit_code == 2
        assert "error: broker " in result.stderr
        assert "WRONGTYPE" in result.stderr
        assert client.get("task_1") == b"state"


def test_in_memory() -> None:
    url = "memory://inspected"
    with App(url) as app, open_connection(url) as connection:
        app.remote("x").delay()
        assert counts(url)["pending"] == 1
        assert call("purge", "--yes", "--broker", url).stdout == "deleted from machinery_tasks: 1 pending\n"
        assert connection.channel().pending("machinery_tasks") == []


def test_config_show(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(
        "broker: redis://:hunter2@h:1/0\nredis: {wait: true, sentinel_password: hunter2}\nlease: 5\n"
    )
    env = {"DEFAULT_QUEUE": "env", "GEARMESH_CONFIG": "m.yml"}
    result = call("config", "show", env=env)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line.split(None, 1)[1] for line in result.stdout.splitlines()}
    assert lines["broker"].split() == ["redis://***@h:1/0", "m.yml", "line", "1", "-"]
    assert lines["default_queue"].split() == ["env", "environment", "DEFAULT_QUEUE", "-"]
    assert lines["redis.sentinel_password"].split()[0] == "***"
    assert "no effect: " in lines["redis.wait"]
    assert set(lines) == {
        "setting",
        "broker",
        "backend",  # always shown
        "default_queue",
        "lease",
        "redis.wait",
        "redis.sentinel_password",
    }
    assert "hunter2" not in result.output
    rows = json.loads(call("config", "show", "--json", "--config", "m.yml", "--broker", "memory://x").stdout)
    told = {row["setting"]: row for row in rows}
    assert set(told) == set(SETTINGS)
    assert told["broker"] == {
        "setting": "broker",
        "value": "memory://x",
        "origin": "command line",
        "live": False,
        "no_effect": "",
    }
    assert (told["lease"]["value"], told["lease"]["origin"]) == (5, "m.yml line 3")
    assert told["publish_timeout"]["value"] == 30
    assert "amqp.exchange" in call("config", "show", "--all", "--broker", "memory://x").stdout


@pytest.mark.parametrize("command", ["send", "result", "revoke", "groups"])
def test_a_file_for_every_command(command: str, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(f"broker: {redis_url}\nresult_backend: {redis_url}\n")
    result = call(command, "task_none", "--config", "m.yml")
    assert "no broker" not in result.output
    assert "no backend" not in result.output
    assert "Traceback" not in result.output
    wrong = call(command, "task_none", "--config", "none.yml")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "error: config file 'none.yml' cannot be read" in wrong.stderr


def test_delayed_until_the_end_of_time(redis_url: str) -> None:
    """As a score of Redis, which is a double, the ETA is in the year 10000."""
    with App(redis_url) as app:
        app.remote("late").apply_async(eta=datetime.max.replace(tzinfo=timezone.utc))
    for more in ((), ("--json",)):
        result = call("delayed", "--broker", redis_url, *more)
        assert result.exit_code == 0, result.output
        assert "after the year 9999" in result.output


def test_delayed_with_scores_of_others(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.zadd("delayed_tasks", {'{"UUID":"a"}': float("inf"), '{"UUID":"b"}': float("-inf")})
    result = call("delayed", "--broker", redis_url)
    assert result.exit_code == 0, result.output
    assert "before the year 0" in result.output
    assert "after the year 9999" in result.output


def test_parked_messages(redis_url: str) -> None:
    with App(redis_url, redis_url) as app, Worker(app, concurrency=1):
        app.remote("nobody", "int64").delay(1)
        eventually(lambda: json.loads(call("parked", "--json", "--broker", redis_url).stdout))
    (found,) = json.loads(call("parked", "--json", "--broker", redis_url).stdout)
    assert (found["task"], found["reason"]) == ("nobody", "unregistered")
    since, dead_at = (
        datetime.fromisoformat(found[key].replace("Z", "+00:00")) for key in ("since", "dead_at")
    )
    assert (dead_at - since).total_seconds() == 86400
    assert found["signature"]["Name"] == "nobody"
    uuid = found["uuid"]
    told = call("result", uuid, env={"BROKER": redis_url, "RESULT_BACKEND": redis_url})
    assert (
        f"{uuid} is PENDING: it is parked: no worker of queue machinery_tasks that received it has"
        in told.stderr
    )
    shown = call("parked", "--broker", redis_url)
    assert "nobody" in shown.stdout
    assert "not registered" in shown.stdout
    assert "1 parked message in machinery_tasks" in shown.stderr


def test_the_old_name_of_parked_still_works(redis_url: str) -> None:
    old, new = (call(word, "--json", "--broker", redis_url) for word in ("aside", "parked"))
    assert (old.exit_code, old.stdout) == (new.exit_code, new.stdout) == (0, "[]\n")
    assert "'gearmesh aside' is now 'gearmesh parked'" in old.stderr
    assert "is now" not in new.stderr
    assert "The old name of this command is" in " ".join(call("parked", "--help").stdout.split())


def test_delayed_of_an_unknown_queue_says_so(url: str) -> None:
    unknown = call("delayed", "othr", "--broker", url)
    assert unknown.exit_code == 0
    assert "no queue 'othr' is known" in unknown.stderr
    for queue in ("other", "machinery_tasks"):
        assert "is known" not in call("delayed", queue, "--broker", url).stderr


def test_parked_messages_on_rabbitmq(amqp_url: str) -> None:
    with App(amqp_url) as app, Worker(app, concurrency=1):
        app.remote("nobody", "int64").delay(1)
        found = eventually(lambda: json.loads(call("parked", "--json", "--broker", amqp_url).stdout))
    assert [(each["task"], each["reason"], each["queue"]) for each in found] == [
        ("nobody", "unregistered", "machinery_tasks")
    ]
    shown = call("parked", "machinery_tasks", "--broker", amqp_url)
    assert "RabbitMQ gives only the latest possible time of the next try" in shown.stderr


def test_silent_consumers(redis_url: str) -> None:
    with open_connection(redis_url, consumer="dead") as dead, open_connection(redis_url) as connection:
        dead.channel().basic_get("machinery_tasks")
        channel = connection.channel()
        channel.recover("dead", ["machinery_tasks"], crashed=True)
        row = call("queues", "--broker", redis_url).stdout.splitlines()[1]
        assert row.endswith("  0 (1 silent)")
        assert (counts(redis_url)["consumers"], counts(redis_url)["silent"]) == (0, 1)


def test_tasks(tmp_path: Path) -> None:
    (tmp_path / "listed.py").write_text(
        "from gearmesh import App, Retry, Uint16\napp = App('memory://listed')\nempty = App()\n"
        "@app.task(queue='pictures', soft_limit=5, rate='5/s', "
        "retry=Retry(max=2, backoff='exponential', on=(OSError,)))\n"
        "def resize(image: bytes, width: Uint16 = 640, *tags: str) -> bytes:\n    return image\n"
        "app.periodic('@daily', resize.s(b'x'), name='nightly')\n"
    )
    (found,) = json.loads(call("tasks", "listed", "--json").stdout)
    assert found == {
        "task": "resize",
        "arguments": [
            argument("image", "[]byte", "bytes"),
            argument("width", "uint16", "Uint16", required=False, default=640),
            argument("tags", "string", "str", required=False, variadic=True),
        ],
        "results": [{"type": "[]byte", "annotation": "bytes"}],
        "queue": "pictures",
        "soft_limit": 5.0,
        "hard_limit": None,
        "seconds_between_starts": 0.2,
        "unique_for": None,
        "retries": 2,
        "retry": {
            "backoff": "exponential",
            "first": 1.0,
            "most": 3600.0,
            "jitter": True,
            "on": ["OSError"],
            "not_on": [],
        },
        "periodic": ["@daily"],
    }
    shown = call("tasks", "-A", "listed")
    cells = re.split("  +", shown.stdout.splitlines()[1])
    assert cells == [
        "resize",
        "image []byte, width? uint16, tags ...string",
        "[]byte",
        "pictures",
        "soft 5 s, 5/s",
        "2, exponential from 1 s on OSError",
        "@daily",
    ]
    assert shown.stderr == "1 task\n"
    none = call("tasks", "listed:empty")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "listed:empty has no tasks, so a worker of it can run none" in none.stderr


def argument(
    name: str, go: str, annotation: str, *, required: bool = True, variadic: bool = False, default: Any = None
) -> dict[str, Any]:
    told = {"name": name, "type": go, "annotation": annotation, "required": required, "variadic": variadic}
    return told | {"default": default}


def test_a_pending_task_has_its_reason(redis_url: str) -> None:
    servers = {"BROKER": redis_url, "RESULT_BACKEND": redis_url}
    with App(redis_url, redis_url) as app:
        later = app.remote("later").apply_async(countdown=3600)
        first, second = (app.remote("waits").delay() for _ in range(2))
        elsewhere = app.remote("waits").apply_async(queue="other")

        def told(uuid: str, **env: str) -> str:
            result = call("result", uuid, env=env)
            assert result.exit_code == 0, result.output
            return result.stderr.strip()

        assert re.fullmatch(
            f"{later.uuid} is PENDING: it waits for its ETA, in 59 min", told(later.uuid, **servers)
        )
        behind = "is PENDING: it waits in queue machinery_tasks behind"
        assert told(first.uuid, **servers) == (
            f"{first.uuid} {behind} 0 messages; no gearmesh worker consumes that queue"
        )
        with open_connection(redis_url, consumer="living") as consumer:
            consumer.channel().basic_get("machinery_tasks")
            assert told(second.uuid, **servers) == (
                f"{second.uuid} {behind} 0 messages; 1 worker consumes that queue and holds 1 message (living)"
            )
        assert told(elsewhere.uuid, **servers) == (
            f"{elsewhere.uuid} is PENDING: it waits in queue other behind 0 messages; "
            "no gearmesh worker consumes that queue"
        )
        assert told(elsewhere.uuid, RESULT_BACKEND=redis_url) == (
            f"{elsewhere.uuid} is PENDING: no broker is named, so no reason is known: "
            "give --broker URL or -A MODULE:APP"
        )
        unsent = TaskState(TaskUUID="task_unsent", State=PENDING)
        app.backend.write([unsent])
        unknown = "is PENDING: no reason is known. Its worker may store results in another place"
        assert told("task_unsent", **servers).startswith(f"task_unsent {unknown}: compare 'results' in ")
        away = told(first.uuid, BROKER="redis://127.0.0.1:1/0", RESULT_BACKEND=redis_url)
        assert "is PENDING: broker redis://127.0.0.1:1/0 cannot be reached" in away


def test_a_pending_task_on_rabbitmq_names_the_queue_that_no_worker_consumes(
    amqp_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "rabbit_shop.py").write_text(
        f"from gearmesh import App\napp = App({amqp_url!r}, {redis_url!r})\n"
        "@app.task(queue='pictures')\ndef resize() -> None: ...\n"
    )
    sent = json.loads(call("send", "resize", "--json", "-A", "rabbit_shop").stdout)
    told = call("result", sent["uuid"], "-A", "rabbit_shop")
    assert told.stderr.strip() == f"{sent['uuid']} is PENDING: no worker consumes its queue pictures"
    with open_connection(amqp_url) as connection:
        tap = Tap(connection, ("pictures",), 1)
        tap.take(1)
        told = call("result", sent["uuid"], "-A", "rabbit_shop")
    assert "its queue pictures has 1 consumer, and 0 messages that no consumer has received" in told.stderr


def test_sending_an_unregistered_task_needs_a_flag(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "small.py").write_text(
        f"from gearmesh import App\napp = App({redis_url!r}, {redis_url!r})\n@app.task\ndef fetch() -> None: ...\n"
    )
    refused = call("send", "fetsh", "-A", "small")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "error: small has no task 'fetsh'; did you mean 'fetch'? "
        "If another program runs it, such as a Go worker, give --unregistered\n"
    )
    assert json.loads(call("pending", "--json", "--broker", redis_url).stdout) == []
    for flag in ("--unregistered", "--force"):
        assert call("send", "fetsh", flag, "-A", "small").exit_code == 0
    assert call("send", "fetsh", "--broker", redis_url).exit_code == 0, "without an app no task is known"


def test_sending_checks_the_types_of_a_task_that_is_known(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "known.py").write_text(
        f"from gearmesh import App\napp = App({redis_url!r}, {redis_url!r})\n"
        "@app.task\ndef fetch(url: str) -> str:\n    return url\n"
    )
    wrong = call("send", "fetch", "int64:1", "-A", "known")
    assert wrong.exit_code == 2
    assert "task 'fetch', argument 1 ('url') as str: it is given as int64, expected string" in wrong.stderr
    assert call("send", "fetch", "-A", "known").exit_code == 2
    sent = json.loads(call("send", "fetch", "string:x", "-A", "known", "--json").stdout)
    late = call("send", "fetch", "string:x", "-A", "known", "--wait", "--timeout", "0.2")
    assert late.exit_code == 3
    assert late.stdout.startswith("task_"), "its UUID comes first"
    assert (
        "no result within 0.2 s: the task is PENDING, it waits in queue machinery_tasks behind 1 message"
        in late.stderr
    )
    uuid = late.stdout.strip()
    assert late.stderr.endswith(f"Look later with: gearmesh result {uuid} -A known\n")
    (state,) = json.loads(call("result", sent["uuid"], "--json", "-A", "known").stdout)
    assert state == {
        "uuid": sent["uuid"],
        "task": "fetch",
        "state": "PENDING",
        "results": None,
        "error": "",
        "created": state["created"],
        "progress": None,
        "seconds": None,
        "reason": "it waits in queue machinery_tasks behind 0 messages; no gearmesh worker consumes that queue",
    }
