"""Every key, queue and channel name, Machinery's and our own.

Machinery's names are facts of the wire. Ours begin with ``gearmesh:`` and, where they belong to a
queue, carry the queue's cluster tag, so that one script may touch them together with the queue.
"""

from __future__ import annotations

from gearmesh.errors import ConfigError

__all__ = [
    "CHORD_MUTEX",
    "DEFAULT_QUEUE",
    "DELAYED_TASKS",
    "REVOKED",
    "QueueKeys",
    "chord_progress",
    "chord_taker",
    "done_channel",
    "publish_token",
    "rate_keys",
    "slot_tag",
    "unique_claim",
]

DEFAULT_QUEUE = "machinery_tasks"
DELAYED_TASKS = "delayed_tasks"
#: Go: one mutex for all chords of a server, held while a GroupMeta is changed.
CHORD_MUTEX = "TriggerChordMutex"
#: zset: UUIDs of revoked tasks, by the unix ms at which the revocation ends
REVOKED = "gearmesh:revoked"


def slot_tag(queue: str) -> str:
    """What to write between braces so that a key shares ``queue``'s Redis Cluster slot.

    Raises:
        ConfigError: for the few names for which no such tag exists.
    """
    if not queue:
        raise ConfigError("queue name is '', expected at least one character")
    start = queue.find("{")
    if start >= 0:
        end = queue.find("}", start + 1)
        if end > start + 1:
            return queue[start + 1 : end]
    if "}" in queue:
        raise ConfigError(
            f"queue name is {queue!r}: it has a '}}' but no {{tag}}, so no other key can share its cluster slot; "
            "expected a name without '}' or with its own {tag}"
        )
    return queue


class QueueKeys:
    """The keys around one queue."""

    __slots__ = (
        "aside",
        "consumers",
        "dead",
        "dead_entry",
        "grace",
        "out",
        "prefix",
        "queue",
        "recovered",
        "seen",
        "wanted",
        "watched",
    )

    def __init__(self, queue: str) -> None:
        tag = slot_tag(queue)
        self.queue = queue
        #: A queue with its own {tag} may share that tag with others: its whole name comes in too.
        self.prefix = f"gearmesh:{{{tag}}}:" if tag == queue else f"gearmesh:{{{tag}}}:{queue}:"
        #: hash: consumer -> heartbeat counter
        self.consumers = self.prefix + "consumers"
        #: hash: consumer -> "heartbeat counter, and for how many ms somebody has watched it be that"
        self.watched = self.prefix + "watched"
        #: hash: SHA-1 of a message -> how many consumers lost it
        self.recovered = self.prefix + "recovered"
        #: zset: messages for names not registered here, by the unix ms of their return
        self.aside = self.prefix + "aside"
        #: hash: SHA-1 of such a name -> how many messages of it were returned and have not come back
        self.out = self.prefix + "out"
        #: prefix of strings: SHA-1 of such a name; there while somebody else takes its messages
        self.wanted = self.prefix + "wanted:"
        #: string: there while returned messages are left to others
        self.grace = self.prefix + "grace"
        #: prefix of strings: SHA-1 of such a message -> "first-seen-ms rounds"
        self.seen = self.prefix + "seen:"
        #: zset: SHA-1 of a dead letter -> unix ms of its last death
        self.dead = self.prefix + "dead"
        #: prefix of hashes: one dead letter each
        self.dead_entry = self.prefix + "dead:"

    def held(self, consumer: str) -> str:
        """hash: fetch counter -> message, what ``consumer`` holds."""
        return f"{self.prefix}held:{consumer}"

    def arrived(self, consumer: str) -> str:
        """list: what a blocking wait moved to ``consumer`` and it has not numbered yet."""
        return f"{self.prefix}arrived:{consumer}"


def publish_token(queue: str, producer: str) -> str:
    """string: sequence number of the last batch this producer published."""
    return f"gearmesh:{{{slot_tag(queue)}}}:sent:{producer}"


def chord_progress(group_uuid: str) -> str:
    """string: how many leading members of the group are known to be final."""
    return f"gearmesh:progress:{group_uuid}"


def chord_taker(group_uuid: str) -> str:
    """string: which delivery took the group's trigger."""
    return f"gearmesh:taker:{group_uuid}"


def rate_keys(queue: str, task: str) -> tuple[str, str]:
    """string: unix microseconds of the task's next free moment; hash: SHA-1 of a message -> moments reserved for it.

    They carry the queue's tag, so in a cluster the rate of a task is one per queue.
    """
    base = f"gearmesh:{{{slot_tag(queue)}}}:rate:{task}"
    return base, base + ":reserved"


def unique_claim(name: str, digest: str) -> str:
    """string: UUID of the call that was queued last with this name and these arguments."""
    return f"gearmesh:unique:{name}:{digest}"


def probe_key(mark: str) -> str:
    """string: there for a moment, to see whether two connections lead to one database."""
    return f"gearmesh:probe:{mark}"


def done_channel(db: int) -> str:
    """Pub/sub channel on which commits announce UUIDs that became final, space separated.

    Channels are not per database, so the name is.
    """
    return f"gearmesh:done:{db}"


def task_report(task_uuid: str) -> str:
    """string: how far a task says it is."""
    return f"gearmesh:report:{task_uuid}"


def revoked_channel(db: int) -> str:
    """Pub/sub channel on which revocations are announced: ``ms:UUID``, space separated, UUIDs percent-encoded."""
    return f"gearmesh:revoked:{db}"
