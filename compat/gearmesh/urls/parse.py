"""Reads broker, backend and lock URLs: finds the reader for a scheme."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from gearmesh.errors import ConfigError
from gearmesh.urls.amqp import AMQP_SCHEMES, AMQPTarget, parse_amqp
from gearmesh.urls.dynamodb import DynamoDBTarget, parse_dynamodb
from gearmesh.urls.given import GivenURL
from gearmesh.urls.hiding import SCHEME, WORDS, redact
from gearmesh.urls.pubsub import PubSubTarget, parse_pubsub
from gearmesh.urls.redis import REDIS_SCHEMES, RedisTarget, parse_redis
from gearmesh.urls.sqs import SQSTarget, parse_sqs
from gearmesh.urls.stores import MemcacheTarget, MongoTarget, parse_memcache, parse_mongodb

__all__ = ["PlainTarget", "Role", "Target", "known_schemes", "parse", "scheme_of"]

Role = Literal["broker", "backend", "lock"]


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """A URL of a scheme and perhaps a name: ``memory://tests``, ``eager``, ``null``.

    ``rest`` is the text behind ``://``. In the URL of a plugin it may hold a password.
    """

    scheme: str
    rest: str = field(default="", repr=False)


Target = (
    RedisTarget
    | AMQPTarget
    | MemcacheTarget
    | MongoTarget
    | DynamoDBTarget
    | SQSTarget
    | PubSubTarget
    | PlainTarget
)

_READERS: dict[str, Callable[[GivenURL], Target]] = {
    **dict.fromkeys(REDIS_SCHEMES, parse_redis),
    **dict.fromkeys(AMQP_SCHEMES, parse_amqp),
    "memcache": parse_memcache,
    **dict.fromkeys(("mongodb", "mongodb+srv"), parse_mongodb),
}
#: Schemes of servers that are brokers only.
_BROKER_READERS: Final[dict[str, Callable[[GivenURL], Target]]] = {"gcppubsub": parse_pubsub}
#: Schemes whose kind of server depends on the role of the URL.
_HTTP_SCHEMES: Final = ("https", "http")
_HTTP_READERS: dict[Role, Callable[[GivenURL], Target]] = {"broker": parse_sqs, "backend": parse_dynamodb}
_BUILT_IN: dict[Role, tuple[str, ...]] = {
    "broker": (*REDIS_SCHEMES, *AMQP_SCHEMES, *_BROKER_READERS, "memory", "eager", *_HTTP_SCHEMES),
    "backend": (*_READERS, "memory", "null", "eager", *_HTTP_SCHEMES),
    "lock": (*REDIS_SCHEMES, "memory", "eager"),
}
_ENTRY_POINTS: dict[Role, str] = {
    "broker": "gearmesh.transports",
    "backend": "gearmesh.backends",
    "lock": "gearmesh.locks",
}


#: A URL within a URL, behind a separator.
_SECOND_URL = re.compile(
    r"([;,|\s]+)(?:rediss?|redis\+socket|amqps?|memcache|mongodb(?:\+srv)?|gcppubsub)://", re.IGNORECASE
)
#: Schemes by which other libraries call servers that gearmesh knows, with the advice for the error.
_ALIASES: Final = {
    **dict.fromkeys(("pyamqp", "librabbitmq", "rabbitmq", "rpc"), "for RabbitMQ write amqp://"),
    **dict.fromkeys(
        ("sentinel", "redis+sentinel", "rediss+sentinel"),
        "for sentinels write redis://host:port,host:port and set redis.master_name",
    ),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), "for a cluster write redis://host:port,host:port"),
    **dict.fromkeys(
        ("unix", "redis+unix", "socket"), "for a Unix socket write redis+socket:///path/of.sock:/0"
    ),
    **dict.fromkeys(("valkey", "keydb", "dragonfly"), "write redis://"),
    **dict.fromkeys(("memcached", "cache+memcached"), "write memcache://"),
    "mongo": "write mongodb://",
    **dict.fromkeys(("pubsub", "gcpubsub"), "for Google Pub/Sub write gcppubsub://PROJECT/SUBSCRIPTION"),
}


def known_schemes(role: Role) -> tuple[str, ...]:
    """Return the schemes that a URL of this role may have: the built-in ones, then those of plugins."""
    from importlib.metadata import (
        entry_points,
    )  # this import would take a tenth of the time of importing gearmesh

    plugins = sorted({point.name for point in entry_points(group=_ENTRY_POINTS[role])})
    return (*_BUILT_IN[role], *(name for name in plugins if name not in _BUILT_IN[role]))


def scheme_of(url: str, role: Role = "broker") -> str:
    """Return the scheme, in lower case. Raises ConfigError if the URL has none."""
    if url in WORDS:
        return url
    if match := SCHEME.match(url):
        return match[1].lower()
    raise ConfigError(
        f"{role}: {redact(url)!r} has no scheme, expected a URL such as redis://localhost:6379/0"
    )


def parse(url: str, role: Role = "broker") -> Target:
    """Read a URL as Machinery does.

    Forms: ``redis[s]://[[user:]password@]host[:port][/db]`` (``redis://x@h`` means the password x,
    percent-decoded), ``redis[s]://[[user:]password@]host[:port],host[:port]…[/db]`` (a cluster, or sentinels;
    user and password literal), ``redis+socket://[[user:]password@]/path.sock[:/db]`` (all literal),
    ``amqp[s]://[user[:password]@]host[:port][/virtual-host]`` (guest:guest by default),
    ``memcache://host:port[,host:port…]``, ``mongodb[+srv]://…`` as its drivers read it, for a backend
    ``https://dynamodb[.REGION.amazonaws.com]`` or ``http://host:port`` (an emulator of DynamoDB),
    for a broker ``https://sqs.REGION.amazonaws.com/ACCOUNT`` or ``gcppubsub://project/subscription``,
    ``memory[://name]``, ``eager[://]``, ``null[://]``.

    gearmesh is stricter than Go on purpose: a database that is not a number, options after ``?`` and a
    second ``@`` in the socket form are errors. Go would use another server or database than the user meant.

    Raises:
        ConfigError: the message names the role, the URL without its password, and the expected form.
    """
    if url != url.strip():
        raise ConfigError(
            f"{role}: {redact(url.strip())!r} has white space around it, expected the URL alone"
        )
    scheme = scheme_of(url, role)
    rest = url.partition("://")[2]
    if (second := _SECOND_URL.search(rest)) is not None:
        several = f"; for several brokers, set multiple_broker_separator to {second[1]!r}" * (
            role == "broker"
        )
        raise ConfigError(f"{role}: {redact(url)!r} holds a second URL, expected one{several}")
    if scheme not in _BUILT_IN[role]:
        known = known_schemes(role)
        if scheme not in known:
            hint = f" ({_ALIASES[scheme]})" if scheme in _ALIASES else ""
            raise ConfigError(
                f"{role}: unknown URL scheme {scheme!r}{hint}, expected one of {', '.join(known)}"
            )
        return PlainTarget(scheme, rest)
    given = GivenURL(url, role, scheme)
    if scheme in _HTTP_SCHEMES:
        return _HTTP_READERS[role](given)
    reader = _READERS.get(scheme) or _BROKER_READERS.get(scheme)
    if reader is not None:
        return reader(given)
    if rest and scheme != "memory":
        raise given.wrong(f"expected nothing after {scheme}://")
    return PlainTarget(scheme, rest)
