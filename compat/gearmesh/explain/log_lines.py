"""Knows the lines that a Machinery worker or sender logs, and the meaning of each."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gearmesh.explain.aftermath import PUT_BACK_PYTHON, after_error

__all__ = ["LogLine", "log_line"]

_ANSI: Final = re.compile(rb"\x1b\[[0-9;]*m")
#: Go: ``INFO: 2026/01/02 15:04:05 worker.go:58 text``; another logger may write another beginning.
_HEAD: Final = re.compile(
    rb"\s*(?:(DEBUG|INFO|WARNING|ERROR|FATAL): )?"
    rb"(?:(\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)?) )?"
    rb"(?:([\w-]+\.go:\d+):? )?"
)
_UUID: Final = r"(?P<uuid>\S+)"


class LogLine(NamedTuple):
    """Holds the meaning of one line of a log.

    Attributes:
        text: the meaning, in full sentences.
        level, at, source: the words at the line's beginning; ``""``: the line does not have them.
        go, python: the behaviour of Go and of gearmesh in this case, in sentences.
        body: the message in the line; None: it has none.
    """

    text: str
    level: str
    at: str
    source: str
    go: str
    python: str
    body: bytes | None


class _Known(NamedTuple):
    pattern: re.Pattern[str]
    text: str
    go: str = ""
    python: str = ""


def _known(pattern: str, text: str, go: str = "", python: str = "") -> _Known:
    return _Known(re.compile(pattern, re.DOTALL), text, go, python)


_LINES: Final = (
    _known(
        r"Launching a worker with the following settings",
        "A worker starts; the next lines are its settings.",
    ),
    _known(
        r"- (?P<name>Broker|DefaultQueue|CustomQueue|ResultBackend|AMQP|Exchange|ExchangeType|BindingKey|PrefetchCount)"
        r": (?P<value>.*)",
        "A setting of a worker that starts: {name} is {value}.",
        "A Go worker reads CustomQueue, or DefaultQueue if it has none.",
        "'gearmesh doctor' compares a Go worker's settings with those of a gearmesh app."),
    _known(
        r"\[\*\] Waiting for messages(?: on queue: (?P<queue>\S+?)\.? )?",
        "The worker is connected and takes messages from now on.",
    ),
    _known(
        r"Received new message: (?P<body>.*)",
        "The worker has a message whose task it has registered, and runs it now.",
        "On Redis the message is only in the worker's memory from now on: if the worker dies, the message is lost.",
        "A gearmesh worker keeps the message on the broker until the task has ended.",
    ),
    _known(
        r"Processed task " + _UUID + r"\. Results = (?P<results>.*)",
        "The task {uuid} has ended with SUCCESS; its results are {results}.",
        "The worker sends the follow-up tasks (OnSuccess, a chord's callback) after this line.",
        "A gearmesh worker stores the state and sends the follow-up tasks in one step, if the broker and the backend "
        "are the same Redis.",
    ),
    _known(
        r"Failed processing task " + _UUID + r"\. Error = (?P<error>.*)",
        "The task {uuid} has failed for good, with the error: {error}",
        "FAILURE is stored already; the OnError calls are sent after this line, and no retry follows.",
        "A gearmesh caller's get() raises TaskFailed with that text.",
    ),
    _known(
        r"Task " + _UUID + r" failed\. Going to retry in (?P<seconds>\S+) seconds",
        "The task {uuid} returned an error and will be tried again in {seconds} s. It keeps its UUID.",
            "The message is sent again with an ETA. On RabbitMQ it waits in a queue of its own, which "
            "expires after twice "
        "the delay. If the delay is below a second, the message can get lost with that queue.",
    ),
    _known(
        r"Task not registered with this worker\. Requeuing: false with message: (?P<body>.*)",
        "The worker has not registered the task of this message, and rejects it, since the message has "
        "IgnoreWhenTaskNotRegistered.",
        "The message is gone unless the queue has a dead letter exchange.",
        "A gearmesh worker acknowledges and drops such a message.",
    ),
    _known(
        r"Task not registered with this worker\. Reque\w+(?:: true with)? message: (?P<body>.*)",
        "The worker has not registered the task of this message, and puts it back.",
        "It does so at once, over and over: thousands of times a second on Redis, until another worker takes it.",
        f"A gearmesh worker {PUT_BACK_PYTHON}.",
    ),
    _known(
        r"Could not unmarshal '(?P<body>.*)' into a task signature: (?P<reason>.*)",
        "The worker cannot read a message: {reason}",
        after_error(
            "the message is rejected (it is gone unless the queue has a dead letter exchange)", "the message is gone"
        ),
        "A gearmesh worker makes it a dead letter with its bytes: see 'gearmesh dead list'.",
    ),
    _known(
        r"Broker failed with error: (?P<error>(?:Could not unmarshal|Reflect task args|Set state to|Completed check|"
        r"Triggering chord).*)",
        "The consumer has stopped because of one message: {error}",
        after_error("the message is not run again", "the message is gone"),
        "A gearmesh worker goes on with the next message.",
    ),
    _known(
        r"Broker failed with error: (?P<error>.*)",
        "The consumer has stopped with an error: {error}",
        "After a lost connection the worker connects again. While it cannot reach the broker, it tries again after "
        "growing pauses.",
        "A gearmesh worker reconnects by itself, too.",
    ),
    _known(r"Retrying in (?P<seconds>\S+) seconds", "The worker connects again in {seconds} s."),
    _known(
        r"Set state to '(?P<state>\w+)' for task " + _UUID + r" returned error: (?P<error>.*)",
        "The state {state} of the task {uuid} could not be stored: {error}",
        (
            "The task is not run, or not retried, and its message is not put back. A caller's GetWithTimeout ends "
            "with its timeout, and Get never returns."
        ),
        "A gearmesh worker waits for the result backend and stores the state then.",
    ),
    _known(
        r"Reflect task args error: (?P<error>.*)",
        "An argument of a task could not be read: {error}",
        "The task is FAILURE with this text, without a retry. "
        + after_error("the message is acknowledged", "the message is gone"),
        "A gearmesh worker stores the same FAILURE and goes on.",
    ),
    _known(
        r"(?P<value>\S.*) is not one of supported types",
        "An argument has a type that Machinery does not know: {value}",
        "The task is FAILURE with 'Reflect task args error', without a retry.",
        "A gearmesh worker stores the same FAILURE.",
    ),
    _known(
        r"Chord already triggered for group (?P<group>\S+)",
        "Another worker has set ChordTriggered of the chord {group}; this one does nothing.",
        "This is as it should be: the callback is sent once.",
    ),
    _known(
        (
            r"Failed to get tasks states for group:\[(?P<group>[^\]]*)\]\. Task count:\[(?P<count>\d+)\]\. "
            r"The chord may not be triggered\. Error:\[(?P<error>.*)\]"
        ),
        "The states of the {count} members of the group {group} could not be read: {error}",
        "Its callback is never sent: ChordTriggered is set already.",
        "A gearmesh worker that sets ChordTriggered reads the states again until it has them.",
    ),
    _known(
        r"Completed check for group (?P<group>\S+) returned error: (?P<error>.*)",
        "The worker could not find out if the group {group} is complete: {error}",
        "If that was the last member, the callback is never sent. Often the group's meta has expired.",
        "A gearmesh worker asks again, and keeps metas alive while members still end.",
    ),
    _known(
        r"Triggering chord for group (?P<group>\S+) returned error: (?P<error>.*)",
        "ChordTriggered of the chord {group} could not be set: {error}",
        "The callback may never be sent.",
        "A gearmesh worker tries again.",
    ),
    _known(r"Group \[(?P<group>[^\]]*)\] locked, waiting", (
        "Another worker holds the lock of the group {group}; this one waits."
    )),
    _known(
        r"Signal received: (?P<signal>.*)", "The worker got the signal {signal} and stops.",
        "It finishes running tasks if it quits gracefully. On Redis, messages that it has fetched and not begun may be "
        "lost.",
        "A gearmesh worker returns messages that it has not begun to their queues.",
    ),
    _known((
        r"Waiting for running tasks to finish before shutting down"
    ), "The worker stops, and waits for the tasks that it runs."),
    _known(r"Worker quit (?P<how>gracefully|abruptly)", "The worker has stopped {how}."),
    _known(
        r"periodic task failed\. task name is: (?P<name>.*)\. error is (?P<error>.*)",
        "The periodic task {name} could not be sent: {error}",
        (
            "This firing is left out; the next one is tried as usual. 'lock' errors often mean that "
            "another scheduler sent it."
        ),
        "A gearmesh scheduler repeats a firing that could not be sent.",
    ),
    _known((
        r"received an empty message, the delivery was (?P<delivery>.*)"
    ), "SQS delivered a message without a body."),
    _known(
        r"error when deleting the delivery\. delivery is (?P<delivery>.*), Error=(?P<error>.*)",
        "A message that was run could not be deleted from SQS: {error}",
        "It is delivered again after its visibility timeout, and so the task runs again.",
        "A gearmesh worker repeats the deletion.",
    ),
    _known(r"Queue consume error: (?P<error>.*)", "RabbitMQ refused to let the worker consume: {error}"),
    _known(
        r"Failed to unmarshal task state: (?P<body>.*)",
        "A state in the result queue of a group cannot be read.",
        "Go drops it, and the group may never be complete.",
    ),
)  # fmt: skip


def log_line(row: bytes) -> LogLine | None:
    """Return the meaning of one line of a log; None if Machinery does not log such a line."""
    plain = _ANSI.sub(b"", row)
    head = _HEAD.match(plain)
    assert head is not None  # all its parts are optional
    # Bytes of a message must come out as they are.
    text = plain[head.end() :].decode("utf-8", "surrogateescape").rstrip("\r")
    level, at, source = ((part or b"").decode() for part in head.groups())
    for known in _LINES:
        match = known.pattern.match(text)
        if match is None or (known.pattern.pattern.startswith("-") and not text.startswith("- ")):
            continue
        said = match.groupdict()
        body = said.pop("body", None)
        shown = {name: (value or "").encode("utf-8", "replace").decode() for name, value in said.items()}
        return LogLine(
            known.text.format(**shown),
            level,
            at,
            source,
            known.go,
            known.python,
            None if body is None else body.encode("utf-8", "surrogateescape"),
        )
    return None
