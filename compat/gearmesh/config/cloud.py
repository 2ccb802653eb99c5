"""Settings of hosted services, which Machinery has and gearmesh accepts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DynamoDBConfig", "PubSubConfig", "SQSConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SQSConfig:
    """Machinery's SQS settings.

    Attributes:
        receive_wait_time_seconds: seconds that one request waits for messages, 0 to 20.
        receive_visibility_timeout: seconds for which a received message is hidden from other consumers;
            None: the queue's own.
        visibility_heartbeat: hide it longer while its task runs. (Machinery: ``visibility_hearth_beat``.)
    """

    receive_wait_time_seconds: int = 0
    receive_visibility_timeout: float | None = None
    visibility_heartbeat: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamoDBConfig:
    """Machinery's DynamoDB settings: the names of its two tables."""

    task_states_table: str = "task_states"
    group_metas_table: str = "group_metas"


@dataclass(frozen=True, kw_only=True, slots=True)
class PubSubConfig:
    """Settings of Google Pub/Sub.

    Attributes:
        max_extension: seconds for which a message's deadline is extended while its task runs;
            0: the client library's default. Machinery has it in code only.
    """

    max_extension: float = 0
