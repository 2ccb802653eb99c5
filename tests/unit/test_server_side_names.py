"""Names that gearmesh writes into servers, frozen: programs of other versions, and of Machinery, look for these.

A name that changes here is lost data there. So each stands once more, as a literal.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

import gearmesh
from gearmesh.app.unique import release_claims
from gearmesh.backends.amqp.announcing import announcement, declare_exchange
from gearmesh.backends.amqp.layout import Layout
from gearmesh.backends.memcache.keys import key_of, side_key
from gearmesh.backends.mongodb.documents import changes_of, group_document, moment
from gearmesh.backends.mongodb.revocations import Revoked
from gearmesh.celery import codec as celery_message
from gearmesh.celery import step_types as celery_steps
from gearmesh.config import AMQPConfig, Config, MongoDBConfig
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.metrics.series import QUEUE_SERIES, WORKER_SERIES
from gearmesh.transports.amqp.commit_engine import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    LOST_HEADER,
    PARKED_HEADER,
)
from gearmesh.transports.amqp.frames import OutgoingMessage, QueueDeclaration, table
from gearmesh.transports.amqp.poison_records import PoisonRecords
from gearmesh.transports.amqp.publisher import DUPLICATE_ATTEMPT_HEADER
from gearmesh.transports.amqp.topology import Topology
from gearmesh.transports.redis.inspection import RATED_MARK_SUFFIX
from gearmesh.wire import names
from gearmesh.wire.codec import encode
from gearmesh.wire.names import QueueKeys
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import GroupMeta, TaskResult, TaskState

CONSTANTS = {
    "AMQP_CONTROL": "gearmesh:control",
    "AMQP_DONE": "gearmesh:done",
    "AMQP_DUE": "gearmesh:due",
    "CHORD_MUTEX": "TriggerChordMutex",
    "DEFAULT_QUEUE": "machinery_tasks",
    "DELAYED_TASKS": "delayed_tasks",
    "DYNAMODB_CHUNK": "chunk_",
    "DYNAMODB_EXPIRES": "gearmesh_expires",
    "DYNAMODB_HOLDER": "gearmesh_holder",
    "DYNAMODB_REPORT": "gearmesh_report",
    "DYNAMODB_TRIGGERED_BY": "gearmesh_triggered_by",
    "DYNAMODB_UUIDS": "gearmesh_uuids",
    "EXPIRES_HEADER": "gearmesh-expires",
    "MONGO_CLAIMS": "gearmesh_claims",
    "MONGO_DATABASE": "machinery",
    "MONGO_GROUPS": "group_metas",
    "MONGO_REPORTS": "gearmesh_reports",
    "MONGO_REVOKED": "gearmesh_revoked",
    "MONGO_TASKS": "tasks",
    "PREFIX": "gearmesh:",
    "PAUSED": "gearmesh:paused",
    "REVOKED": "gearmesh:revoked",
    "SQS_CRASHES": "gearmesh.crashes",
    "SQS_DUPLICATE": "gearmesh.duplicate",
    "SQS_ENCODING": "gearmesh.encoding",
    "SQS_ENVELOPE": "gearmesh.envelope",
    "SQS_QUEUE": "gearmesh.queue",
    "SQS_REASON": "gearmesh.reason",
    "SQS_REPUBLISHED": "gearmesh.republished",
    "SQS_SET_ASIDE": "gearmesh.set-aside",
}

#: function -> arguments, and the result
FUNCTIONS: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
    "absent": [(("jobs",), "gearmesh:{jobs}:absent"), (("a{b}c",), "gearmesh:{b}:absent")],
    "acknowledgement": [((), "gearmesh:ack"), (("jobs",), "gearmesh:{jobs}:ack")],
    "amqp_dead": [(("jobs",), "gearmesh:dead:jobs")],
    "amqp_deaths": [((0xAB,), "gearmesh:deaths:000000ab")],
    "amqp_due": [(("ex", "key"), "gearmesh:due:ex:key")],
    "amqp_overdue": [((0xAB,), "gearmesh:overdue:000000ab")],
    "amqp_parked": [((50, "jobs"), "gearmesh:parked:50:jobs")],
    "amqp_rung": [((128,), "gearmesh:delay:128")],
    "amqp_suspect": [((0xAB,), "gearmesh:suspect:000000ab")],
    "celery_meta": [(("id",), "id.celery")],
    "chord_progress": [(("g",), "gearmesh:progress:g")],
    "chord_taker": [(("g",), "gearmesh:taker:{g}")],
    "chord_triggered_queue": [(("g",), "g_chord_triggered")],
    "control_channel": [((3,), "gearmesh:control:3")],
    "control_reply_channel": [(("a",), "gearmesh:control:reply:a")],
    "done_channel": [((0,), "gearmesh:done:0"), ((3,), "gearmesh:done:3")],
    "done_queue": [(("me",), "gearmesh:heard:me")],
    "dynamodb_claim": [(("gearmesh:unique:add:sha",), "gearmesh:claim:gearmesh:unique:add:sha")],
    "dynamodb_revoked": [(("ab12",), "gearmesh:revoked:ab12")],
    "failure_record": [(("id",), "gearmesh:failure:id")],
    "group_lock_queue": [(("g",), "gearmesh:lock:g")],
    "group_meta_queue": [(("g",), "gearmesh:meta:g")],
    "is_record": [(("gearmesh:failure:id",), True), (("id.celery",), True), (("gearmesh:report:id",), False)],
    "outbox": [(("jobs",), "gearmesh:{jobs}:outbox"), (("a{b}c",), "gearmesh:{b}:outbox")],
    "periodic_fired": [
        (("machinery_lock_n* * *",), "gearmesh:{machinery_lock_n* * *}:fired"),
        (("a{b}c",), "gearmesh:{b}:fired"),
    ],
    "periodic_lock": [(("prog", "name", "* * * * *"), "machinery_lock_progname* * * * *")],
    "probe_key": [(("mark",), "gearmesh:probe:mark")],
    "publish_token": [(("jobs", "me"), "gearmesh:{jobs}:sent:me")],
    "queue_of": [
        (("gearmesh:{jobs}:dead",), "jobs"),
        (("gearmesh:{b}:a{b}c:aside",), "a{b}c"),
        (("gearmesh:{jobs}:seen",), None),
        (("jobs",), None),
    ],
    "rate_keys": [(("jobs", "add"), ("gearmesh:{jobs}:rate:add", "gearmesh:{jobs}:rate:add:reserved"))],
    "revoked_channel": [((3,), "gearmesh:revoked:3")],
    "slot_tag": [(("jobs",), "jobs"), (("a{b}c",), "b"), (("a{",), "a{")],
    "sqs_dead_letters": [(("jobs",), "jobs-dead-letters"), (("jobs.fifo",), "jobs-dead-letters.fifo")],
    "task_report": [(("id",), "gearmesh:report:id")],
    "unique_claim": [(("add", "sha"), "gearmesh:unique:add:sha")],
}

QUEUE_KEYS = {
    "queue": "jobs",
    "prefix": "gearmesh:{jobs}:",
    "consumers": "gearmesh:{jobs}:consumers",
    "watched": "gearmesh:{jobs}:watched",
    "recovered": "gearmesh:{jobs}:recovered",
    "aside": "gearmesh:{jobs}:aside",
    "out": "gearmesh:{jobs}:out",
    "wanted": "gearmesh:{jobs}:wanted:",
    "grace": "gearmesh:{jobs}:grace",
    "seen": "gearmesh:{jobs}:seen:",
    "dead": "gearmesh:{jobs}:dead",
    "dead_entry": "gearmesh:{jobs}:dead:",
}
#: method -> its result for a consumer named "me"
QUEUE_KEYS_OF_A_CONSUMER = {
    "held": "gearmesh:{jobs}:held:me",
    "history": "gearmesh:{jobs}:history:me",
    "arrived": "gearmesh:{jobs}:arrived:me",
}

#: Headers of AMQP messages.
AMQP_HEADERS = {
    "x-gearmesh-again",
    "x-gearmesh-aside",
    "x-gearmesh-died",
    "x-gearmesh-lost",
    "x-gearmesh-reason",
}
#: Names of RabbitMQ's that gearmesh writes or takes away.
RABBITMQ = {
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-death",
    "x-expires",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-max-priority",
    "x-overflow",
    "x-message-ttl",
    "x-queue-type",
}
#: Beginnings of names that stand outside ``names.py``: the scheduler's part of a lock, a key that memcached would
#: refuse, and the prefix that settings may not use.
ELSEWHERE = {"gearmesh:"}
#: The queue that ``gearmesh verify`` uses and leaves empty, the beginning of the echo tasks' names, and the queue of
#: copies for a shadow run.
VERIFY = {"gearmesh_verify", "gearmesh_", "gearmesh_shadow"}
#: The dashboard's cookie, and the HTTP headers that it reads and sends: they are in no broker or backend.
HTTP = {"gearmesh_dashboard", "x-content-type-options", "x-forwarded-proto", "x-frame-options"}


# -- names.py


def public_names() -> set[str]:
    """Return all names that ``names.py`` defines for other modules."""
    return {
        name
        for name, value in vars(names).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", None) == names.__name__
            or isinstance(value, (str, bytes, int, tuple))
        )
    }


def test_the_table_has_all_public_names() -> None:
    """A new name belongs into the table: it is data in servers as soon as one version has it."""
    assert public_names() == {*CONSTANTS, *FUNCTIONS, "QueueKeys"}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_stays(name: str) -> None:
    assert getattr(names, name) == CONSTANTS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_the_name_that_it_gave(name: str) -> None:
    for arguments, expected in FUNCTIONS[name]:
        assert getattr(names, name)(*arguments) == expected


def test_the_keys_around_a_queue_stay() -> None:
    keys = QueueKeys("jobs")
    assert vars(keys) == QUEUE_KEYS
    methods = {
        name for name, _ in inspect.getmembers(QueueKeys, inspect.isfunction) if not name.startswith("_")
    }
    assert {name: getattr(keys, name)("me") for name in methods} == QUEUE_KEYS_OF_A_CONSUMER


def test_a_queue_with_a_tag_of_its_own_puts_its_whole_name_behind_the_tag() -> None:
    keys = QueueKeys("a{b}c")
    for name, key in QUEUE_KEYS.items():
        if name != "queue":
            assert getattr(keys, name) == key.replace("gearmesh:{jobs}:", "gearmesh:{b}:a{b}c:")
    assert keys.held("me") == "gearmesh:{b}:a{b}c:held:me"
    assert keys.arrived("me") == "gearmesh:{b}:a{b}c:arrived:me"


# -- settings


def test_names_that_settings_may_change_keep_their_defaults() -> None:
    amqp = AMQPConfig()
    assert (amqp.exchange, amqp.exchange_type, amqp.binding_key, amqp.delayed_queue) == (
        "machinery_exchange",
        "direct",
        "machinery_task",
        "",
    )
    config = Config(broker="memory://")
    assert (config.default_queue, config.delayed_tasks_key) == ("machinery_tasks", "delayed_tasks")
    assert MongoDBConfig().database == "machinery"


# -- AMQP


def test_the_headers_of_amqp_messages_stay() -> None:
    found = {
        "again": DUPLICATE_ATTEMPT_HEADER,
        "aside": PARKED_HEADER,
        "died": DEAD_AT_HEADER,
        "lost": LOST_HEADER,
        "reason": DEAD_REASON_HEADER,
    }
    assert found == {name: f"x-gearmesh-{name}" for name in found}
    assert set(found.values()) == AMQP_HEADERS


def typed(arguments: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Arguments with the letter of their type on the wire: another type is another declaration to RabbitMQ."""
    return {name: (chr(table({"": value})[5]), value) for name, value in arguments.items()}


AMQP = Topology(AMQPConfig(), "machinery_tasks")
RUNGS = list(AMQP.rungs())
#: Types and values of the arguments that make RabbitMQ keep a message until the next queue has it.
SAFELY = {
    "x-queue-type": ("S", "quorum"),
    "x-dead-letter-strategy": ("S", "at-least-once"),
    "x-overflow": ("S", "reject-publish"),
}


@pytest.mark.parametrize(
    ("queue", "name", "binding_key", "arguments"),
    [
        (AMQP.source("machinery_tasks"), "machinery_tasks", "machinery_task", {}),
        (AMQP.source("jobs"), "jobs", "jobs", {}),
        (
            RUNGS[0],
            "gearmesh:delay:8",
            "gearmesh:delay:8",
            {**SAFELY, "x-message-ttl": ("I", 8), "x-dead-letter-exchange": ("S", "gearmesh:due")},
        ),
        (
            RUNGS[-1],
            "gearmesh:delay:137438953472",
            "gearmesh:delay:137438953472",
            {
                **SAFELY,
                "x-message-ttl": ("l", 137438953472),
                "x-dead-letter-exchange": ("S", "gearmesh:delay:68719476736"),
            },
        ),
        (
            AMQP.due("jobs"),
            "gearmesh:due:machinery_exchange:jobs",
            "gearmesh:due:machinery_exchange:jobs",
            {
                **SAFELY,
                "x-message-ttl": ("I", 0),
                "x-dead-letter-exchange": ("S", "machinery_exchange"),
                "x-dead-letter-routing-key": ("S", "jobs"),
            },
        ),
        (
            AMQP.parked("jobs", 0.1),
            "gearmesh:parked:100:jobs",
            "",
            {
                **SAFELY,
                "x-dead-letter-exchange": ("S", ""),
                "x-dead-letter-routing-key": ("S", "jobs"),
                "x-message-ttl": ("I", 100),
            },
        ),
        (AMQP.dead("jobs"), "gearmesh:dead:jobs", "", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_queue_of_the_transport_is_declared_as_it_was(
    queue: QueueDeclaration, name: str, binding_key: str, arguments: dict[str, Any]
) -> None:
    """RabbitMQ refuses another declaration while the first one stands, and another version may have made that."""
    assert (queue.name, queue.binding_key, queue.auto_delete) == (name, binding_key, False)
    assert typed(queue.arguments) == arguments


class Recorder:
    """Stands in for channels, connections and collections, and records their calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.declarer = self.publisher = self

    def count(self, name: str) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append((name, args, kwargs))

        return call


def test_the_queues_that_remember_deaths_are_declared_as_they_were() -> None:
    channel = Recorder()
    records = PoisonRecords(cast(Any, channel), cast(Any, channel))
    records.note(0xAB, alone=True, certain=True)
    records.expire(0xAB)
    declared = [args[0] for name, args, _ in channel.calls if name == "redeclare"]
    assert [(queue.name, queue.binding_key, typed(queue.arguments)) for queue in declared] == [
        (f"gearmesh:{kind}:000000ab", "", {"x-expires": ("I", 86_400_000)})
        for kind in ("deaths", "suspect", "overdue")
    ]


def test_the_queues_of_states_and_groups_are_declared_as_they_were() -> None:
    channel = Recorder()
    layout = Layout("ex", "direct", 3600)
    layout.declare_exchange(channel)
    layout.declare(channel, "task")
    layout.bind(channel, "task")
    layout.declare(channel, names.group_meta_queue("g"))
    layout.take_trigger(channel, "g", "me")
    layout.lock(channel, "g")
    layout.unlock(channel, "g")
    lives = {"x-message-ttl": 3_600_000, "x-expires": 3_600_000}
    trigger = {"x-expires": 3_600_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "me"}
    assert channel.calls == [
        ("exchange_declare", ("ex", "direct"), {"durable": True, "auto_delete": False}),
        (
            "queue_declare",
            ("task",),
            {"durable": False, "auto_delete": True, "nowait": True, "arguments": lives},
        ),
        ("queue_bind", ("task", "ex", "task"), {"nowait": True}),
        (
            "queue_declare",
            ("gearmesh:meta:g",),
            {"durable": False, "auto_delete": True, "nowait": True, "arguments": lives},
        ),
        (
            "queue_declare",
            ("g_chord_triggered",),
            {"durable": False, "auto_delete": False, "arguments": trigger},
        ),
        ("queue_declare", ("gearmesh:lock:g",), {"durable": False, "exclusive": True, "auto_delete": False}),
        ("queue_delete", ("gearmesh:lock:g",), {"nowait": True}),
    ]


def test_final_states_are_announced_through_the_exchange_that_others_listen_to() -> None:
    channel = Recorder()
    declare_exchange(channel)
    assert channel.calls == [
        ("exchange_declare", ("gearmesh:done", "fanout"), {"durable": False, "auto_delete": False})
    ]
    states = [TaskState(TaskUUID=uuid, State="SUCCESS") for uuid in ("a", "b")]
    ((exchange, key, body, *_),) = announcement(states)
    assert (exchange, key, body) == ("gearmesh:done", "", b"a b")


def test_the_content_type_of_a_raw_signature_stays() -> None:
    assert SIGNATURE_CONTENT_TYPE == "application/x-machinery"
    assert OutgoingMessage("", "jobs", b"").content_type == "application/json"


# -- Redis, memcached, MongoDB


def test_the_mark_of_a_parked_message_that_waits_for_its_rate_stays() -> None:
    assert RATED_MARK_SUFFIX == b"/0000000000000000000000000000000000000000"


def test_a_claim_is_named_by_the_task_and_the_sha1_of_its_arguments() -> None:
    class Claims:
        released: Sequence[tuple[str, str]] = ()

        def claim(self, key: str, holder: str, seconds: float) -> str:
            return holder

        def release(self, claims: Sequence[tuple[str, str]]) -> None:
            self.released = claims

    claims = Claims()
    sig = Signature(UUID="u", Name="add", Args=(Arg(Type="int64", Value=msgspec.Raw(b"1")),))
    release_claims(cast(Any, claims), [encode(sig)])
    assert claims.released == [("gearmesh:unique:add:c3fd4912c796a93f2155dce9f191f02623415c77", "u")]


def test_a_key_of_memcached_is_the_name_itself_or_its_sha1() -> None:
    assert key_of("task_1") == b"task_1"
    assert side_key("gearmesh:report:task_1") == b"gearmesh:report:task_1"
    for name in ("gearmesh:report:a b", "x" * 251, ""):
        assert side_key(name) == b"gearmesh:" + hashlib.sha1(name.encode()).hexdigest().encode()


def test_the_fields_of_mongodb_documents_stay() -> None:
    state = TaskState(
        TaskUUID="u",
        TaskName="add",
        State="PENDING",
        Results=(TaskResult(Type="int64", Value=msgspec.Raw(b"1")),),
        Error="e",
        CreatedAt="2024-01-02T03:04:05Z",
    )
    (change,) = changes_of([state], moment(0))
    fields = change.update["$set"]
    assert set(fields) == {"state", "task_name", "results", "error", "created_at", "delete_at"}
    assert set(fields["results"][0]) == {"type", "value"}
    meta = GroupMeta(GroupUUID="g", TaskUUIDs=("a", "b"), CreatedAt="2024-01-02T03:04:05Z")
    assert set(group_document(meta, moment(0))) == {
        "_id",
        "task_uuids",
        "chord_triggered",
        "lock",
        "created_at",
        "delete_at",
    }


# -- Celery


def test_the_names_of_celery_s_headers_and_steps_stay() -> None:
    assert (celery_message.CELERY_HEADER, celery_message.ORIGIN_HEADER) == ("celery", "gearmesh")
    assert celery_message._PackedHeader.__struct_encode_fields__ == tuple("nhakerpdcig")
    steps = celery_steps
    assert (
        steps.RAW_STEP_TYPE,
        steps.GO_STEP_TYPE,
        steps.APPLY_TASK,
        steps.CHORD_TASK,
        steps.FAILED_TASK,
    ) == (
        "gearmesh.raw",
        "gearmesh.go",
        "gearmesh.apply",
        "gearmesh.chord",
        "gearmesh.failed",
    )


# -- no other names


def literals(path: Path) -> Iterator[str]:
    """All strings and bytes in a module, those of f-strings too, but no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1")


def test_no_other_module_has_a_name_that_is_not_in_these_tables() -> None:
    """A new header or argument of AMQP, and a key that is not made by ``names.py``, has to be added here."""
    package = Path(cast(str, gearmesh.__file__)).parent
    inside = re.compile(r"(?:gearmesh[:_]|x-)\S*")
    found = {
        text
        for path in sorted(package.rglob("*.py"))
        if path != Path(cast(str, names.__file__)) and path.relative_to(package).parts[0] != "testing"
        for text in literals(path)
        if inside.fullmatch(text)
    }
    assert found == AMQP_HEADERS | RABBITMQ | ELSEWHERE | VERIFY | HTTP | set(WORKER_SERIES) | set(
        QUEUE_SERIES
    )


def test_no_lua_script_makes_a_name_by_itself() -> None:
    """The scripts take all names as KEYS and ARGV."""
    scripts = list(Path(cast(str, gearmesh.__file__)).parent.rglob("*.lua"))
    assert scripts
    for path in scripts:
        code = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        assert "gearmesh" not in code, path.name


def test_a_revocation_is_a_document_with_its_end_and_its_time() -> None:
    collection = Recorder()
    connection = SimpleNamespace(indexed_table=lambda name: collection)
    Revoked(cast(Any, connection)).revoke(["u"], 10)
    ((name, (changes,), _),) = collection.calls
    assert name == "bulk_write"
    assert [set(change._doc) for change in changes] == [{"$max", "$currentDate"}]
    assert (set(changes[0]._doc["$max"]), changes[0]._doc["$currentDate"]) == ({"delete_at"}, {"at": True})
