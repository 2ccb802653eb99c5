"""What the bytes mean: signatures, states, Go's types, and which signature follows which.

Pure: no I/O, no clock, no randomness. What we were about to send wrongly raises
LocalProtocolError; what came in wrong raises RemoteProtocolError.
"""

from gearmesh.wire.codec import (
    decode,
    decode_group,
    decode_state,
    encode,
    encode_group,
    encode_state,
)
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import (
    FAILURE,
    PENDING,
    RECEIVED,
    RETRY,
    STARTED,
    SUCCESS,
    ZERO_TIME,
    GroupMeta,
    TaskResult,
    TaskState,
)

__all__ = [
    "FAILURE",
    "PENDING",
    "RECEIVED",
    "RETRY",
    "STARTED",
    "SUCCESS",
    "ZERO_TIME",
    "Arg",
    "GroupMeta",
    "Signature",
    "TaskResult",
    "TaskState",
    "decode",
    "decode_group",
    "decode_state",
    "encode",
    "encode_group",
    "encode_state",
]
