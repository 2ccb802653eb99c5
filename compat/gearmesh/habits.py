"""Has a sentence for each name of Celery that gearmesh does not have: it tells users the name to use in its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

from gearmesh.errors import TaskError

__all__ = [
    "APP",
    "CALL",
    "CONTEXT",
    "DECLARATION",
    "MODULE",
    "NODE",
    "PERIODIC",
    "RESULT",
    "REVOKE",
    "TASK",
    "WAIT",
    "answer",
    "one_of",
    "refuse",
    "refuse_keywords",
    "unknown_option",
]

#: Names of Celery's package.
MODULE: Final = {
    "Celery": "use gearmesh.App",
    "ChordError": "use gearmesh.ChordMemberFailed",
    "EagerResult": "task.apply() gives a gearmesh.AsyncResult",
    "Ignore": "return from the task; its state is SUCCESS",
    "NotRegistered": "a task that no worker knows is parked and tried again; see the command gearmesh parked",
    "OperationalError": "use gearmesh.PublishError for a broker and gearmesh.BackendError for a result backend",
    "Queue": "name the queue: queue='…', and the worker's --queues",
    "Reject": "raise gearmesh.RetryLater(seconds) to run again, or any other exception to fail",
    "ResultSet": "make a group, whose result is a set: group(…).delay()",
    "MaxRetriesExceededError": "a task without retries left fails with the exception of its last try",
    "SoftTimeLimitExceeded": "use gearmesh.SoftLimitExceeded",
    "TaskRevokedError": "use gearmesh.TaskFailed, whose error is 'revoked'",
    "TimeLimitExceeded": "use gearmesh.HardLimitExceeded",
    "TimeoutError": "use gearmesh.ResultTimeout",
    "WorkerLostError": "a task whose worker is lost is run again",
    "before_task_publish": "use before_publish of the App",
    "bootsteps": "a worker has no boot steps: use before_task, after_task and before_consume of the App",
    "crontab": "use app.periodic('*/5 * * * *', signature), or '@every 90s'",
    "get_task_logger": "use logging.getLogger",
    "schedule": "use app.periodic('@every 90s', signature)",
    "schedules": "use app.periodic(spec, signature)",
    "signals": "use before_task, after_task, on_error and before_publish of the App",
    "Signature": "use gearmesh.TaskSignature",
    "chunks": "one message is one call; task.starmap(calls) makes a group",
    "current_app": "there is no default app: pass the App to the code that needs it",
    "current_task": "use gearmesh.current(), or bind=True",
    "maybe_signature": "use gearmesh.signature(task)",
    "states": "a state is text: 'PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS' or 'FAILURE'",
    "subtask": "use task.s(…)",
    "task_failure": "use on_error of the App",
    "task_postrun": "use after_task of the App",
    "task_prerun": "use before_task of the App",
    "task_retry": "the worker logs each retry",
    "task_revoked": "the error of a revoked task's result is 'revoked'",
    "task_success": "use task.s(…).on_success(other.s()), or after_task of the App",
    "worker_process_init": "open a pool at its first use, which is in the process that uses it",
    "worker_process_shutdown": "close a pool by atexit",
    "worker_ready": "the worker logs when it is ready; see the command gearmesh healthcheck --ready",
    "uuid": "an id is made when something is sent; task_id= gives another",
    "xmap": "use task.map(values)",
    "xstarmap": "use task.starmap(calls)",
}

#: Attributes of Celery's app.
APP: Final = {
    "Beat": "use the command gearmesh scheduler",
    "ResultSet": "make a group, whose result is a set: group(…).delay()",
    "WorkController": "use gearmesh.worker.Worker",
    "amqp": "use app.config.amqp for settings; queues are declared by the worker",
    "bugreport": "use the command gearmesh doctor",
    "connection": "connections are opened as they are needed; see the commands gearmesh queues, pending and purge",
    "connection_for_read": "connections are opened as they are needed",
    "connection_for_write": "connections are opened as they are needed",
    "current_task": "use gearmesh.current(), or bind=True",
    "loader": "use app.include(module)",
    "now": "use datetime.now(timezone.utc)",
    "pool": "connections are opened as they are needed",
    "producer_pool": "connections are opened as they are needed",
    "register_task": "use app.task(function)",
    "setup_security": "messages are not signed on Machinery's wire",
    "steps": "a worker has no boot steps: use before_task, after_task and before_consume",
    "timezone": "a periodic task has its time zone in tz= or in its spec",
    "user_options": "a worker's options are those of gearmesh worker --help",
    "control": "use the commands gearmesh workers, queues, revoke and purge; app.revoke(uuid) revokes from code",
    "events": "there are no events on Machinery's wire; the worker logs each task",
    "log": "use the logging module; gearmesh logs under 'gearmesh'",
    "main": "an App has no name: a task's name is its function's",
    "Task": "decorate a function by @app.task; bind=True gives it the task as its first argument",
    "Worker": "use gearmesh.worker.Worker, or the command gearmesh worker",
    "add_periodic_task": "use app.periodic(spec, signature)",
    "config_from_object": "use App(config=Config.load(file)) or App(broker, backend, setting=…)",
    "config_from_envvar": "use App(config=Config.load(file))",
    "finalize": "tasks are ready as soon as they are declared",
    "gen_task_name": "a task's name is its function's; name= gives another",
    "on_after_configure": "call app.periodic(…) after the tasks are declared",
    "on_after_finalize": "call app.periodic(…) after the tasks are declared",
    "set_default": "there is no default app: pass the App to the code that needs it",
    "start": "use the command gearmesh worker MODULE:APP",
    "tasks_by_name": "use app.tasks",
    "worker_main": "use the command gearmesh worker MODULE:APP",
}

#: Attributes of Celery's results.
RESULT: Final = {
    "app_or_default": "use result.app",
    "args": "a state on Machinery's wire keeps no arguments",
    "add": "a group's members are fixed when it is sent",
    "as_list": "use [task.id for task in result.tasks]",
    "as_tuple": "keep result.uuid; app.result(uuid) makes the result again",
    "backend": "use result.app.backend",
    "build_graph": "a state on Machinery's wire does not name the tasks that follow",
    "children": "a state on Machinery's wire does not name the tasks that follow; keep apply_async's return value",
    "collect": "keep apply_async's return value: a group's result is iterable",
    "date_done": "a state on Machinery's wire keeps no time of its end",
    "get_leaf": "use get(): a chain's result is that of its last step",
    "graph": "a state on Machinery's wire does not name the tasks that follow",
    "iter_native": "use as_completed()",
    "join_native": "use join()",
    "kwargs": "a state on Machinery's wire keeps no arguments",
    "maybe_throw": "use get(timeout=0)",
    "parent": "a chain's result holds its steps: chain_result[0] is the first one",
    "queue": "a state on Machinery's wire keeps no queue",
    "retries": "a state on Machinery's wire keeps no number of tries",
    "save": "a group is stored when it is sent",
    "then": "use task.s(…).on_success(other.s()), or await the result",
    "throw": "use get(timeout=0)",
    "waiting": "use not result.ready()",
    "worker": "a state on Machinery's wire does not name the worker",
}

#: Attributes of Celery's tasks.
TASK: Final = {
    "acks_late": "a message is always acknowledged after its task has ended",
    "apply_async_on_commit": "use transaction.on_commit(lambda: task.apply_async(…))",
    "backend": "use task.app.backend",
    "before_start": "use before_task of the App",
    "delay_on_commit": "use transaction.on_commit(lambda: task.delay(…))",
    "eta": "use self.request.eta",
    "expires": "use self.request.expires",
    "headers": "use self.request.headers",
    "id": "use self.request.id",
    "on_failure": "use on_error of the App",
    "on_retry": "the worker logs each retry",
    "on_success": "use task.s(…).on_success(other.s()), or after_task of the App",
    "progress": "use self.request.progress(done, total, note)",
    "rate_limit": "use task.pause, the seconds between two starts",
    "replace": "a message cannot be replaced on Machinery's wire: send the other task and return",
    "retries": "use self.request.retries",
    "revoked": "use self.request.revoked",
    "run": "call the task itself, or task.fn",
    "signature": "use task.s(…)",
    "subtask": "use task.s(…)",
    "time_limit": "use task.hard_limit",
    "soft_time_limit": "use task.soft_limit",
    "update_state": "use self.request.progress(done, total, note), or current().progress(…)",
    "uuid": "use self.request.uuid",
}

#: Attributes of Celery's ``self.request``.
CONTEXT: Final = {
    "args": "use the task's own parameters; self.request.signature.Args has them as they were sent",
    "called_directly": "a task that is called directly has no request",
    "chain": "use self.request.signature.OnSuccess",
    "correlation_id": "use self.request.id",
    "delivery_info": "use self.request.signature.RoutingKey",
    "errbacks": "use self.request.signature.OnError",
    "callbacks": "use self.request.signature.OnSuccess",
    "group": "use self.request.signature.GroupUUID",
    "hostname": "a message on Machinery's wire does not name its worker: use socket.gethostname()",
    "is_eager": "use self.app.eager",
    "kwargs": "arguments are sent by position: use the task's own parameters",
    "parent_id": "a message on Machinery's wire does not name its parent; headers={…} travel with it",
    "reply_to": "a message on Machinery's wire does not name its sender; headers={…} travel with it",
    "root_id": "a message on Machinery's wire does not name its root; headers={…} travel with it",
    "timelimit": "use self.soft_limit and self.hard_limit",
}

#: Attributes of Celery's signatures and workflows.
NODE: Final = {
    "backend": "use node.app.backend",
    "count": "use len(group.members)",
    "freeze": "it gets its id when it is sent; task.s(…).set(task_id=…) gives it one before",
    "id": "it gets its id when it is sent: use the result's, or set(task_id=…)",
    "link": "it is never changed: use the copy that sig.on_success(other) gives, or apply_async(link=other)",
    "link_error": "it is never changed: use the copy that sig.on_error(other) gives, or apply_async(link_error=other)",
    "parent_id": "a signature on Machinery's wire does not name its parent",
    "replace": "it is never changed: use the copy that set(…) or clone(args, kwargs) gives",
    "root_id": "a signature on Machinery's wire does not name its root",
    "s": "it is a signature already; clone(args, kwargs) gives one with more arguments",
    "set_immutable": "it is never changed: use the copy that set(immutable=True) gives",
    "si": "it is a signature already; set(immutable=True) gives one that takes no results",
    "skew": "give each member a countdown of its own: task.s(…).set(countdown=…)",
    "stamp": "use set(headers={…})",
    "subtask_type": "use isinstance(node, gearmesh.Group)",
    "type": "use sig.task",
    "update": "it is never changed: use the copy that set(…) or clone(args, kwargs) gives",
}

#: Options of Celery's tasks that mean nothing here.
DECLARATION: Final = {
    "base": "tasks have no classes here: use before_task, after_task and on_error of the App",
    "compression": "messages are Machinery's JSON, as Go reads it",
    "exchange": "name the queue: queue=…",
    "ignore_result": "every task's state is kept, as Go does it; results_expire_in says for how long",
    "pydantic": "annotate parameters by Json[T]",
    "reject_on_worker_lost": "a task whose worker is lost is always run again",
    "retry_kwargs": "use max_retries and default_retry_delay",
    "routing_key": "name the queue: queue=…",
    "send_events": "there are no events on Machinery's wire; the worker logs each task",
    "serializer": "messages are Machinery's JSON, as Go reads it",
    "store_errors_even_if_ignored": "every failure is stored",
    "throws": "leave it out, or name exceptions that are not retried by dont_autoretry_for=(…)",
    "track_started": "STARTED is written for every task that runs for longer than 50 ms",
    "typing": "arguments are always checked",
}

#: Arguments of Celery's ``revoke`` that mean nothing here.
REVOKE: Final = {
    "destination": "all workers of the result backend obey a revocation",
    "reply": "a revocation is stored, no worker replies to it",
    "signal": "leave it out: a running task is interrupted in any case, by SoftLimitExceeded",
    "terminate": "leave it out: a running task is interrupted in any case",
    "wait": "leave it out; result.wait(timeout) waits for the task's end",
}

#: Arguments of Celery's ``get`` that mean nothing here.
WAIT: Final = {
    "disable_sync_subtasks": "leave it out: a task may wait for another one",
    "follow_parents": "leave it out: a chain's result looks at all its steps",
    "no_ack": "leave it out: a result is kept until it expires",
    "on_message": "use result.progress",
}

#: Options of Celery's periodic entries.
PERIODIC: Final = {
    "args": "give them to the signature: task.s(…)",
    "enable_utc": "use tz='UTC'",
    "kwargs": "give them to the signature: task.s(…)",
    "options": "give them to the signature: task.s(…).set(queue=…, expires=…)",
    "relative": "'@every 90s' counts from the start of the scheduler",
    "schedule": "it is the first argument: app.periodic('*/5 * * * *', signature)",
    "timezone": "use tz=",
    **dict.fromkeys(
        ("countdown", "expires", "headers", "priority", "queue"),
        "give it to the signature: task.s(…).set(queue=…, expires=…)",
    ),
}

#: Options of Celery's calls that mean nothing here, in addition to those of :data:`DECLARATION`.
CALL: Final = {
    "add_to_parent": "a state on Machinery's wire does not name the tasks that follow",
    "chord": "use gearmesh.chord(header, body)",
    "connection": "the App keeps the connections",
    "group_id": "use gearmesh.group(…)",
    "parent_id": "a message on Machinery's wire does not name its parent; headers={…} travel with it",
    "producer": "the App keeps the connections",
    "retry": "a publish is always repeated, for publish_timeout seconds; retry_count is the task's own tries",
    "retry_policy": "a publish is always repeated, for publish_timeout seconds",
    "root_id": "a message on Machinery's wire does not name its root; headers={…} travel with it",
    "shadow": "a message has one name, that of the task",
    "soft_time_limit": "limits are the task's: @app.task(soft_limit=…)",
    "stamps": "use headers={…}, which travel with the task",
    "time_limit": "limits are the task's: @app.task(hard_limit=…)",
}


def answer(table: Mapping[str, str], thing: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence about an attribute or option ``name`` that ``thing`` does not have."""
    text = f"{thing} has no {name!r}"
    if name in table:
        return f"{text}: {table[name]}"
    alike = difflib.get_close_matches(name, list(known), n=1)
    return f"{text}; did you mean {alike[0]!r}?" if alike else text


def one_of(kind: type) -> str:
    """Return the name of a class with its article: ``an AsyncResult``, ``a Chain``."""
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def refuse(table: Mapping[str, str], thing: str, owner: object, name: str) -> NoReturn:
    """Raise the AttributeError of ``owner``, which has no ``name``. Its ``__getattr__`` calls this.

    Raises:
        AttributeError: with the sentence of :func:`answer`. If ``name`` is a property, its own AttributeError.
    """
    kind = type(owner)
    if hasattr(kind, name):
        object.__getattribute__(owner, name)
    # Without obj: Python's traceback would repeat the suggestion.
    raise AttributeError(answer(table, thing, name, dir(kind)), name=name)


def refuse_keywords(table: Mapping[str, str], thing: str, given: Iterable[str]) -> None:
    """Refuse keyword arguments that ``thing`` does not have, such as Celery's.

    Raises:
        TaskError: ``given`` is not empty.
    """
    for name in given:
        hint = f": {table[name]}" if name in table else ""
        raise TaskError(f"{thing} has no argument {name!r}{hint}")


def unknown_option(
    task: str, name: str, known: Iterable[str], words: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return a sentence about an option that tasks do not have. ``words`` override answers of :data:`DECLARATION`."""
    sentence = words.get(name) or DECLARATION.get(name)
    if sentence is not None:
        return f"task {task!r} has no option {name!r}: {sentence}"
    names = sorted(known)
    alike = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {alike[0]!r}? Expected" if alike else "expected"
    return f"task {task!r} has no option {name!r}, {hint} one of {', '.join(names)}"
