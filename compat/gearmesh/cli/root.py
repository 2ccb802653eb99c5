"""The ``gearmesh`` command: finds subcommands by name, and prints errors as one line."""

from __future__ import annotations

import difflib
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from gearmesh.cli.apps import app_option
from gearmesh.cli.exit_codes import EXIT_ERROR, EXIT_INTERRUPTED
from gearmesh.errors import GearmeshError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["main"]

#: The commands by heading, in the order in which help lists them. The short texts are here, because help and completion
#: would take half a second if they imported the module of each command.
GROUPS: Final = {
    "Run": {
        "dev": "Run an app's worker and scheduler, with their own Redis.",
        "worker": "Run the tasks of an app.",
        "scheduler": "Send the periodic tasks of an app when they are due.",
    },
    "Look": {
        "queues": "Count the messages of queues.",
        "pending": "Show the messages that wait in queues.",
        "delayed": "Show the messages that wait for their time.",
        "parked": "List the parked messages of queues.",
        "result": "Show the state of tasks and their results.",
        "groups": "Show the states of the members of groups and chords.",
        "tasks": "List an app's tasks with types, queues and limits.",
        "periodic": "List an app's periodic tasks with their next times.",
        "explain": "Describe a message, a state or a log line in words.",
        "doctor": "Find problems of the servers in use, with advice.",
        "verify": "Show that Go's and Python's workers understand each other.",
        "shadow": "Compare the Python version of a task with Go's.",
        "cutover": "Print the steps that move a task from Go to Python.",
        "dashboard": "Serve pages about queues, tasks and workers.",
        "workers": "List running workers, and control them.",
        "healthcheck": "Probe the workers and schedulers of this machine.",
    },
    "Change": {
        "send": "Send a task and print its UUID.",
        "revoke": "Revoke tasks: workers do not run them, or interrupt them.",
        "dead": "List, retry or delete dead letters.",
        "purge": "Delete the waiting messages of a queue.",
    },
    "Set up": {
        "config": "Show the settings in use and their origins.",
        "dynamodb": "Make the tables of results in DynamoDB.",
        "stubs": "Write typed code to call tasks of the other language.",
        "demo": "Run recorded Go tasks through a real worker.",
    },
}
#: The commands with their short texts.
COMMANDS: Final = {name: text for group in GROUPS.values() for name, text in group.items()}
#: The modules of commands that do not have the command's name. A module is imported when its command is used, so a
#: supervisor, which starts again after each crash, imports no tables, no doctor and no demo.
_MODULES: Final = dict.fromkeys(("queues", "pending", "delayed", "groups"), "inspect")

EPILOG: Final = """\b
An option on the command line wins over the app's code, the code over
the environment (BROKER, …), the environment over a file. A file that
you name with --config wins over the app's code.
'gearmesh config show' shows the origin of each setting.

\b
Exit codes:
    0  done
    1  a task failed, a UUID was not found, doctor found a problem, or you
       answered no to a question
    2  the command line or a setting is wrong, the app cannot be imported,
       or a server is unreachable or refuses
    3  with --wait: a task has not ended in time
  130  Ctrl-C (worker, scheduler and dev stop cleanly: 0)

Shell completion: see docs/reference/cli.md, or for bash:
eval "$(_GEARMESH_COMPLETE=bash_source gearmesh)"
"""


#: Old names of commands, which still work in this release.
ALIASES: Final = {"aside": "parked"}

#: Celery's commands, and gearmesh's way to do the same.
CELERY_COMMANDS: Final = {
    "beat": "'gearmesh scheduler', or 'gearmesh worker --with-scheduler'",
    "call": "'gearmesh send'",
    "control": "'gearmesh workers', or 'gearmesh revoke'",
    "events": "the worker's log: it has a line for each task",
    "flower": "'gearmesh dashboard'",
    "inspect": "'gearmesh workers', 'queues', 'pending', 'tasks' or 'doctor'",
    "multi": "a service manager such as systemd, one 'gearmesh worker' a service",
    "report": "'gearmesh doctor' or 'gearmesh config show'",
    "shell": "python",
    "status": "'gearmesh workers', 'gearmesh queues' or 'gearmesh doctor'",
}


_SERVICE: Final = "use a service manager such as systemd"
_NO_EVENTS: Final = "a worker sends no events; 'gearmesh workers --tasks' shows the tasks that run"
_NO_PREFETCH: Final = "leave it out: a worker holds one message a slot"
_NO_STATE: Final = "leave it out: the result backend keeps revocations"
_NO_FILE: Final = "leave it out: a scheduler keeps no file"
_NO_GOSSIP: Final = "leave it out: workers send each other no messages"
_LOG: Final = "redirect the log, which is written to stderr"
_ENTRIES: Final = "make entries by app.periodic(spec, signature)"
#: Options of Celery's commands, by command, and gearmesh's way to do the same.
CELERY_OPTIONS: Final = {
    "worker": {
        "-P": "use --pool threads, asyncio or processes (Celery's prefork)",
        **dict.fromkeys(("-B", "--beat"), "use --with-scheduler"),
        **dict.fromkeys(("-n", "--hostname"), "use --name"),
        **dict.fromkeys(("-E", "--events", "--task-events"), _NO_EVENTS),
        **dict.fromkeys(("-O", "--optimization", "--prefetch-multiplier"), _NO_PREFETCH),
        **dict.fromkeys(("-I", "--include"), "use App(include=[…])"),
        **dict.fromkeys(("-X", "--exclude-queues"), "use -Q with the queues to read"),
        **dict.fromkeys(("-D", "--detach", "--pidfile"), _SERVICE),
        **dict.fromkeys(("-f", "--logfile"), _LOG),
        **dict.fromkeys(("-S", "--statedb"), _NO_STATE),
        **dict.fromkeys(("-s", "--schedule"), _NO_FILE),
        **dict.fromkeys(("--without-gossip", "--without-mingle"), _NO_GOSSIP),
        "--autoscale": "use -c for the number of slots; 'gearmesh workers grow N' adds slots to running workers",
        "--purge": "use the command 'gearmesh purge'",
        "--soft-time-limit": "use --soft-limit",
        "--time-limit": "use --hard-limit, with --pool processes",
        "--without-heartbeat": "leave it out: without heartbeats, other workers would take a worker's tasks",
    },
    "purge": {
        **dict.fromkeys(("-f", "--force"), "use --yes"),
        **dict.fromkeys(("-Q", "--queues"), "name the queue as the last argument"),
    },
    "scheduler": {
        **dict.fromkeys(("-S", "--scheduler"), _ENTRIES),
        **dict.fromkeys(("-s", "--schedule"), _NO_FILE),
        **dict.fromkeys(("-D", "--detach", "--pidfile"), _SERVICE),
        **dict.fromkeys(("-f", "--logfile"), _LOG),
        "--max-interval": "leave it out: a scheduler sleeps until an entry is due",
    },
}


class _Commands(click.Group):
    """Shows gearmesh's errors as one red line, with exit code 2; with --debug, as a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"gearmesh.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a command with a similar name, or the one that replaces a command of Celery's."""
        name = args[0] if args else ""
        if name and name not in COMMANDS and name not in ALIASES and not name.startswith("-"):
            alike = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {alike[0]!r}?" if alike else ""
            hint = f" Use {CELERY_COMMANDS[name]}." if name in CELERY_COMMANDS else hint
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        if name in ALIASES:
            text = f"note: 'gearmesh {name}' is now 'gearmesh {ALIASES[name]}'; the next release drops the old name"
            click.secho(text, fg="yellow", err=True)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # click imports it as late, too

        found = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False  # click ignores the variable
        try:
            return super().invoke(ctx)
        except GearmeshError as error:
            if ctx.params.get("debug"):
                raise
            from gearmesh.urls import redact_text  # help and completion are faster without this import

            click.secho(f"error: {redact_text(str(error))}", fg="red", err=True)
            ctx.exit(EXIT_ERROR)
        except click.NoSuchOption as error:
            command = error.ctx.info_name if error.ctx is not None else None
            hint = CELERY_OPTIONS.get(command or "", {}).get(error.option_name)
            if hint is None:
                raise
            raise click.UsageError(f"No such option {error.option_name!r}: {hint}.", error.ctx) from None
        except KeyboardInterrupt:
            click.echo(err=True)  # the terminal shows ^C
            ctx.exit(EXIT_INTERRUPTED)
        except click.Abort as error:  # the user answered no, or pressed Ctrl-C at a question
            if isinstance(error.__context__, KeyboardInterrupt):
                click.echo(err=True)
                ctx.exit(EXIT_INTERRUPTED)
            raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(package_name="gearmesh", prog_name="gearmesh")
@app_option("The app for the command that follows.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(spec: str | None, debug: bool) -> None:
    """Python for Machinery task queues: send and run the tasks of Go services."""
