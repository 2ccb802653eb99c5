"""``gearmesh dashboard``: serve pages about queues, tasks and workers."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Any, Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, need_server, servers
from gearmesh.cli.options import logging_options
from gearmesh.cli.output import note
from gearmesh.errors import ConfigError
from gearmesh.logs import set_up_logging

__all__ = ["dashboard"]

log = logging.getLogger("gearmesh.dashboard")

#: The environment variable with the token. There is no option for it, because all users of the machine can read the
#: command lines of its processes.
TOKEN_VARIABLE: Final = "GEARMESH_DASHBOARD_TOKEN"
#: Random bytes of a token that the command makes.
TOKEN_BYTES: Final = 24


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0: any free port.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Path at which a reverse proxy serves the pages, such as /ops.",
)
@click.option("--allow-actions", is_flag=True, help="Allow retries, deletions, revocations and 'run now'.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help=f"File with the token to sign in with; default: {TOKEN_VARIABLE}, else a new one is printed.",
)
@click.option(
    "--auth-header", default="", metavar="NAME", help="Header in which a reverse proxy names the user."
)
@click.option(
    "--trusted-proxy",
    "trusted",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy whose header the dashboard believes; may be repeated.",
)
@click.option(
    "--mask",
    default="",
    metavar="WORDS",
    help="Hide values whose names contain one of these words; adds to the usual words.",
)
@click.option("--allow-http", is_flag=True, help="Let users of other machines sign in without TLS.")
@click.option(
    "--queues",
    "more",
    default="",
    metavar="NAMES",
    help="Further queues to show, besides those that the dashboard finds.",
)
@logging_options
@words(None, most=0)
@servers
def dashboard(place: Place, **given: Any) -> None:
    """Serve pages about queues, tasks, dead letters, groups, workers and the periodic plan, for Go's tasks as well.

    The command needs the extra 'web': pip install 'gearmesh[web]'. Without --allow-actions the pages change nothing.
    Users sign in with a token, or a reverse proxy names them. Each sign-in and each action is a line of the log.
    """
    try:
        from gearmesh.web import Dashboard, DashboardSettings
        from gearmesh.web.server import serve
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"the dashboard needs the package {exc.name!r}: pip install 'gearmesh[web]'"
        ) from None
    from gearmesh.web.settings import DEFAULT_MASK

    set_up_logging(given["log_level"] or "INFO", given["log_format"])
    app = place.app()
    need_server(app, "dashboard")
    token = _token(given["token_file"])
    if not token and not given["auth_header"]:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        note(f"sign in with this token, which is valid until the dashboard stops: {token}")
    settings = DashboardSettings(
        token=token,
        auth_header=given["auth_header"],
        trusted_proxies=given["trusted"],
        allow_actions=given["allow_actions"],
        mask=(*DEFAULT_MASK, *_listed(given["mask"])),
        allow_http=given["allow_http"],
        queues=(*_listed(given["more"]), *filter(None, [place.queue])),
    )
    root = given["root_path"].strip("/")
    announce = log.info if given["log_format"] == "json" else note
    with app:
        pages = Dashboard(app, settings, root_path=f"/{root}" if root else "")
        serve(pages, given["host"], given["port"], announce)


def _token(file: str | None) -> str:
    """The token in a file, or in the environment; ``""`` if neither has one. Raises ConfigError."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        token = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"token file {file} cannot be read: {exc}") from None
    if not token:
        raise ConfigError(f"token file {file} is empty")
    return token


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
