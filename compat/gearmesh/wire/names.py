"""Every key, queue and channel name, Machinery's and gearmesh's own.

Machinery's names are a part of its protocol. gearmesh's own begin with ``gearmesh:``. Those that belong
to a queue carry the queue's cluster tag, so that one script may change them together with the queue.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gearmesh.errors import ConfigError

#: Go: the names that a program uses unless it sets others. ``config``, which imports nothing of ``wire``, has both as
#: defaults; tests/unit/test_server_side_names.py compares them.
DEFAULT_QUEUE = "machinery_tasks"
DELAYED_TASKS = "delayed_tasks"
#: Go: one mutex for all chords of a server, held while a GroupMeta is changed.
CHORD_MUTEX = "TriggerChordMutex"
#: Header of a signature: RFC 3339 time after which no gearmesh worker starts the task. Go passes headers on.
EXPIRES_HEADER = "gearmesh-expires"
#: Go: MongoDB's database and collections, unless the program sets others.
MONGO_DATABASE = "machinery"
MONGO_TASKS = "tasks"
MONGO_GROUPS = "group_metas"
#: gearmesh's own collections: reports by UUID, revocations by UUID, claims by key.
MONGO_REPORTS = "gearmesh_reports"
MONGO_REVOKED = "gearmesh_revoked"
MONGO_CLAIMS = "gearmesh_claims"
#: gearmesh's own attributes in DynamoDB's items: unix seconds at which a state that is not final expires; the member
#: that took a group's trigger; the bytes of a progress report; the holder of a claim; the beginning of attributes that
#: name chunks of revocations; the UUIDs of one chunk.
DYNAMODB_EXPIRES = "gearmesh_expires"
DYNAMODB_TRIGGERED_BY = "gearmesh_triggered_by"
DYNAMODB_REPORT = "gearmesh_report"
DYNAMODB_HOLDER = "gearmesh_holder"
DYNAMODB_CHUNK = "chunk_"
DYNAMODB_UUIDS = "gearmesh_uuids"
#: AMQP fanout exchange on which commits announce UUIDs that became final, space separated
AMQP_DONE = "gearmesh:done"
#: AMQP fanout exchange on which requests reach all workers
AMQP_CONTROL = "gearmesh:control"
#: AMQP direct exchange that gets each delayed message when it is due
AMQP_DUE = "gearmesh:due"
#: gearmesh's own SQS message attributes; a message that Go can read has none of them. "base64": the body is binary data
SQS_ENCODING = "gearmesh.encoding"
#: "kombu": the body is an envelope of kombu and not a signature
SQS_ENVELOPE = "gearmesh.envelope"
#: the message is a copy that a worker sent when the delay of SQS was over; the first one may still exist
SQS_REPUBLISHED = "gearmesh.republished"
#: the message may be a second copy: SQS has not confirmed the first one
SQS_DUPLICATE = "gearmesh.duplicate"
#: of a copy: the number, in quarters, of processes that died while they ran the message alone
SQS_CRASHES = "gearmesh.crashes"
#: of a dead letter: the reason, and the queue that it was taken from
SQS_REASON = "gearmesh.reason"
SQS_QUEUE = "gearmesh.queue"
#: SQS message group of messages of a FIFO queue that cannot run, if the queue has no dead-letter queue
SQS_SET_ASIDE = "gearmesh.set-aside"
#: zset: UUIDs of revoked tasks, by the unix ms at which the revocation ends. In DynamoDB the key of an item that names
#: the chunks of revocations.
REVOKED = "gearmesh:revoked"
#: hash: "queue:NAME" or "task:NAME" -> unix seconds since which workers begin none of its tasks
PAUSED = "gearmesh:paused"


#: All keys of gearmesh's own begin with this.
PREFIX = "gearmesh:"
_FAILURE_RECORD = "gearmesh:failure:"
_CELERY_META = ".celery"
_OF_QUEUE = re.compile(r"gearmesh:\{([^}]+)\}:(?:(.+):)?(consumers|aside|dead)", re.DOTALL)


def slot_tag(queue: str, what: str = "queue name") -> str:
    """Return the text between braces that puts a key into ``queue``'s Redis Cluster slot.

    ``what``: the noun for ``queue`` in the error.

    Raises:
        ConfigError: the name is empty, or has a ``}`` and no tag, so that no such text exists.
    """
    if not queue:
        raise ConfigError(f"{what} is '', expected at least one character")
    start = queue.find("{")
    if start >= 0:
        end = queue.find("}", start + 1)
        if end > start + 1:
            return queue[start + 1 : end]
    if "}" in queue:
        raise ConfigError(
            f"{what} is {queue!r}: it has a '}}' but no {{tag}}, so no other key can share its cluster slot; "
            "expected one without '}' or with its own {tag}"
        )
    return queue


class QueueKeys:
    """Builds the names of the Redis keys around one queue."""

    def __init__(self, queue: str) -> None:
        tag = slot_tag(queue)
        self.queue = queue
        #: A queue with its own {tag} may share that tag with other queues, so its keys have its whole name, too.
        self.prefix = f"gearmesh:{{{tag}}}:" if tag == queue else f"gearmesh:{{{tag}}}:{queue}:"
        #: hash: consumer -> heartbeat counter, which is about the unix ms of the last heartbeat; 0: another consumer
        #: has declared it dead
        self.consumers = self.prefix + "consumers"
        #: hash: consumer -> "heartbeat counter, and the ms for which watchers have seen that value"
        self.watched = self.prefix + "watched"
        #: hash: SHA-1 of a message -> the number of consumers that lost it
        self.recovered = self.prefix + "recovered"
        #: zset: parked messages, by the unix ms of their return
        self.aside = self.prefix + "aside"
        #: hash: SHA-1 of the name of an unregistered task -> the number of its messages that were returned and have not
        #: come back
        self.out = self.prefix + "out"
        #: prefix of strings: SHA-1 of such a name; exists while another program takes its messages
        self.wanted = self.prefix + "wanted:"
        #: string: exists while workers leave returned messages to others; unix ms until which they leave them to other
        #: programs
        self.grace = self.prefix + "grace"
        #: prefix of strings: SHA-1 of a parked message -> "first-seen-ms rounds consumer…", each consumer as 8 hex
        #: digits
        self.seen = self.prefix + "seen:"
        #: zset: SHA-1 of a dead letter -> unix ms of its last death
        self.dead = self.prefix + "dead"
        #: prefix of hashes: one dead letter each
        self.dead_entry = self.prefix + "dead:"

    def held(self, consumer: str) -> str:
        """hash: fetch counter -> message; the messages that ``consumer`` holds."""
        return f"{self.prefix}held:{consumer}"

    def history(self, block: int) -> str:
        """hash: "minute:outcome" -> number of tasks that ended so. ``block``: the hour, in hours since 1970."""
        return f"{self.prefix}history:{block}"

    def arrived(self, consumer: str) -> str:
        """list: messages that a blocking wait has moved to ``consumer``, which has not numbered them yet."""
        return f"{self.prefix}arrived:{consumer}"


def queue_of(key: str) -> str | None:
    """Return the queue whose :class:`QueueKeys` have this key; None unless the key has consumers or messages."""
    match = _OF_QUEUE.fullmatch(key)
    if match is None:
        return None
    tag, own, kind = match.groups()
    queue = own or tag
    return queue if key == getattr(QueueKeys(queue), kind) else None


@lru_cache(256)
def publish_token(queue: str, producer: str) -> str:
    """string: sequence number of the last batch this producer published."""
    return f"gearmesh:{{{slot_tag(queue)}}}:sent:{producer}"


def outbox(key: str) -> str:
    """hash: mark of a batch -> messages that left ``key``'s slot of a cluster and have not arrived in theirs."""
    return f"gearmesh:{{{slot_tag(key)}}}:outbox"


def absent(key: str) -> str:
    """The guard key in ``key``'s slot of a cluster; it never exists."""
    return f"gearmesh:{{{slot_tag(key)}}}:absent"


def acknowledgement(key: str = "") -> str:
    """string: exists for a moment. A program writes it (in ``key``'s slot of a cluster) and waits for the replicas."""
    return f"gearmesh:{{{slot_tag(key)}}}:ack" if key else "gearmesh:ack"


def chord_progress(group_uuid: str) -> str:
    """string: the number of leading members of the group that are known to be final."""
    return f"gearmesh:progress:{group_uuid}"


def chord_taker(group_uuid: str) -> str:
    """string: the delivery that took the group's trigger. In a cluster it is in the slot of the GroupMeta."""
    return f"gearmesh:taker:{{{group_uuid}}}"


def chord_triggered_queue(group_uuid: str) -> str:
    """AMQP queue whose existence says that the group's chord was triggered. Go: looks for it, and never declares it."""
    return f"{group_uuid}_chord_triggered"


def done_queue(listener: str) -> str:
    """AMQP queue, exclusive to one listener, bound to :data:`AMQP_DONE`."""
    return f"gearmesh:heard:{listener}"


def group_meta_queue(group_uuid: str) -> str:
    """AMQP queue with the GroupMeta of a group that gearmesh has sent. Go keeps no GroupMeta on AMQP."""
    return f"gearmesh:meta:{group_uuid}"


def group_lock_queue(group_uuid: str) -> str:
    """AMQP queue, exclusive to the connection that reads all states of the group."""
    return f"gearmesh:lock:{group_uuid}"


def rate_keys(queue: str, task: str) -> tuple[str, str]:
    """string: unix microseconds of the task's next free moment; hash: SHA-1 of a message -> moments reserved for it.

    They carry the queue's tag, so in a cluster the rate of a task is counted for each queue.
    """
    base = f"gearmesh:{{{slot_tag(queue)}}}:rate:{task}"
    return base, base + ":reserved"


def unique_claim(name: str, digest: str) -> str:
    """string: UUID of the call that was queued last with this name and these arguments."""
    return f"gearmesh:unique:{name}:{digest}"


def probe_key(mark: str) -> str:
    """string: exists for a moment, to find out if two connections lead to one database."""
    return f"gearmesh:probe:{mark}"


def periodic_lock(executable: str, name: str, spec: str) -> str:
    """string: unix ns until which no scheduler may fire a periodic task again.

    Go: ``executable`` is the base name of the program that schedules, without a separator behind it.
    """
    return f"machinery_lock_{executable}{name}{spec}"


def periodic_fired(lock: str) -> str:
    """string: "unix ns, scheduler" of the last firing under a :func:`periodic_lock`."""
    return f"gearmesh:{{{slot_tag(lock, 'lock (of program, name and spec)')}}}:fired"


def done_channel(db: int) -> str:
    """Pub/sub channel on which commits announce UUIDs that became final, space separated.

    All databases of a Redis share its channels, so the name has the number of the database.
    """
    return f"gearmesh:done:{db}"


def celery_meta(task_uuid: str) -> str:
    """UUID of the state that holds Celery's own data about a task or a group, in any backend."""
    return task_uuid + _CELERY_META


def failure_record(task_uuid: str) -> str:
    """UUID of the state that holds the exception's type and traceback of a failed task, in any backend."""
    return _FAILURE_RECORD + task_uuid


def is_record(uuid: str) -> bool:
    """Return True for a :func:`failure_record` or a :func:`celery_meta`: readers of the task's state need both."""
    return uuid.startswith(_FAILURE_RECORD) or uuid.endswith(_CELERY_META)


def dynamodb_claim(key: str) -> str:
    """Key of the item, in DynamoDB's table of states, that names the holder of a claim."""
    return f"gearmesh:claim:{key}"


def dynamodb_revoked(chunk: str) -> str:
    """Key of the item, in DynamoDB's table of states, with the UUIDs that were revoked in one call."""
    return f"gearmesh:revoked:{chunk}"


def task_report(task_uuid: str) -> str:
    """string: the progress that a task has reported. In DynamoDB the key of an item in the table of states."""
    return f"gearmesh:report:{task_uuid}"


def revoked_channel(db: int) -> str:
    """Pub/sub channel on which revocations are announced: ``ms:UUID``, space separated, UUIDs percent-encoded."""
    return f"gearmesh:revoked:{db}"


def control_channel(db: int) -> str:
    """Pub/sub channel on which requests reach all workers: JSON."""
    return f"gearmesh:control:{db}"


def control_reply_channel(asker: str) -> str:
    """Pub/sub channel on which the replies reach the program that asked: JSON."""
    return f"gearmesh:control:reply:{asker}"


def amqp_rung(ms: int) -> str:
    """The queue in which a delayed message spends ``ms`` of its delay, and the exchange that leads there."""
    return f"gearmesh:delay:{ms}"


def amqp_due(exchange: str, routing_key: str) -> str:
    """The queue through which a delayed message leaves for its exchange when it is due."""
    return f"gearmesh:due:{exchange}:{routing_key}"


def amqp_dead(queue: str) -> str:
    """The queue of a queue's dead letters."""
    return f"gearmesh:dead:{queue}"


def amqp_parked(ms: int, queue: str) -> str:
    """The queue in which a parked message waits for ``ms`` before it returns to ``queue``."""
    return f"gearmesh:parked:{ms}:{queue}"


def amqp_suspect(digest: int) -> str:
    """A queue that exists once a process has died while it ran the message with this checksum; it is always empty."""
    return f"gearmesh:suspect:{digest:08x}"


def amqp_deaths(digest: int) -> str:
    """A queue whose number of messages counts these deaths; :class:`PoisonRecords` has the table."""
    return f"gearmesh:deaths:{digest:08x}"


def amqp_overdue(digest: int) -> str:
    """A queue that exists until a message comes again whose process was killed at its hard limit."""
    return f"gearmesh:overdue:{digest:08x}"


def sqs_dead_letters(queue: str) -> str:
    """The queue for the dead letters of an SQS queue that gearmesh has created."""
    stem, dot, fifo = queue.partition(".fifo")
    return f"{stem}-dead-letters{dot}{fifo}"
