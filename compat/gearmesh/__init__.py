"""Machinery task queues in Python: send and run the tasks of Go services, and let them run yours.

::

    from gearmesh import App

    app = App(broker="redis://localhost:6379/0", backend="redis://localhost:6379/0")

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    add.delay(1, 2).get(timeout=5)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearmesh.app.app import App
    from gearmesh.app.canvas import Chain, Chord, Group, TaskSignature, chain, chord, group
    from gearmesh.app.context import TaskContext, current
    from gearmesh.app.late import shared_task, task
    from gearmesh.app.retry import Retry
    from gearmesh.app.task import Task, signature
    from gearmesh.config import Config
    from gearmesh.errors import (
        BackendError,
        ChordMemberFailed,
        ConfigError,
        GearmeshError,
        HardLimitExceeded,
        LimitExceeded,
        LocalProtocolError,
        NoBackend,
        ProtocolError,
        PublishError,
        RemoteProtocolError,
        ResultError,
        ResultTimeout,
        RetryLater,
        RetryRequested,
        SoftLimitExceeded,
        TaskError,
        TaskFailed,
    )
    from gearmesh.results.async_result import AsyncResult, Result, Typed
    from gearmesh.results.composite import ChainResult, ChordResult, GroupResult
    from gearmesh.results.progress import Progress
    from gearmesh.types import (
        Float32,
        Float64,
        Int,
        Int8,
        Int16,
        Int32,
        Int64,
        Json,
        Msgpack,
        Uint,
        Uint8,
        Uint16,
        Uint32,
        Uint64,
    )

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncResult",
    "BackendError",
    "Chain",
    "ChainResult",
    "Chord",
    "ChordMemberFailed",
    "ChordResult",
    "Config",
    "ConfigError",
    "Float32",
    "Float64",
    "GearmeshError",
    "Group",
    "GroupResult",
    "HardLimitExceeded",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Json",
    "LimitExceeded",
    "LocalProtocolError",
    "Msgpack",
    "NoBackend",
    "Progress",
    "ProtocolError",
    "PublishError",
    "RemoteProtocolError",
    "Result",
    "ResultError",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "RetryRequested",
    "SoftLimitExceeded",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskFailed",
    "TaskSignature",
    "Typed",
    "Uint",
    "Uint8",
    "Uint16",
    "Uint32",
    "Uint64",
    "__version__",
    "chain",
    "chord",
    "current",
    "group",
    "shared_task",
    "signature",
    "task",
]

#: The public names by their modules. A name is imported when it is used for the first time: the command line needs none
#: of them, and neither does a worker's supervisor until it has started the first process.
_MODULES = {
    "gearmesh.app.app": "App",
    "gearmesh.app.canvas": "Chain Chord Group TaskSignature chain chord group",
    "gearmesh.app.context": "TaskContext current",
    "gearmesh.app.late": "shared_task task",
    "gearmesh.app.retry": "Retry",
    "gearmesh.app.task": "Task signature",
    "gearmesh.config": "Config",
    "gearmesh.errors": (
        "BackendError ChordMemberFailed ConfigError GearmeshError HardLimitExceeded LimitExceeded "
        "LocalProtocolError NoBackend ProtocolError PublishError RemoteProtocolError ResultError "
        "ResultTimeout RetryLater RetryRequested SoftLimitExceeded TaskError TaskFailed"
    ),
    "gearmesh.results.async_result": "AsyncResult Result Typed",
    "gearmesh.results.composite": "ChainResult ChordResult GroupResult",
    "gearmesh.results.progress": "Progress",
    "gearmesh.types": (
        "Float32 Float64 Int Int16 Int32 Int64 Int8 Json Msgpack Uint Uint16 Uint32 Uint64 Uint8"
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker reads the imports above

    def __getattr__(name):
        if name in _MODULE_OF:
            value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
            return value
        if any(f"{module}.".startswith(f"gearmesh.{name}.") for module in _MODULES):
            # After "import gearmesh", gearmesh.errors.TaskFailed works, too.
            return import_module(f"gearmesh.{name}")
        from gearmesh.habits import MODULE

        if name in MODULE:
            # As an AttributeError, "from gearmesh import Celery" would lose the sentence.
            raise ImportError(f"gearmesh has no {name!r}: {MODULE[name]}", name=name)
        raise AttributeError(f"module 'gearmesh' has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
