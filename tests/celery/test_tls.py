"""A Redis that speaks TLS only and wants a client's certificate, as Celery's own settings name them."""

from __future__ import annotations

import json

import pytest
from celery import chord
from tests.support.servers import RedisServer
from tests.support.servers.certificates import Certificates

from gearmesh.celery.checks import redis_of
from gearmesh.celery.setup import bridge_of
from gearmesh.errors import ConfigError
from gearmesh.testing.waiting import eventually

from .processes import CeleryProcess
from .project import make_app


def files_of(certificates: Certificates) -> dict[str, str]:
    return {
        "ssl_ca_certs": str(certificates.ca),
        "ssl_certfile": str(certificates.client),
        "ssl_keyfile": str(certificates.client_key),
    }


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_tasks_and_results_over_tls(tls_server: RedisServer, certificates: Certificates, pool: str) -> None:
    url = tls_server.url
    assert url.startswith("rediss://")
    ssl = {"broker_use_ssl": files_of(certificates)}
    env = {"PROJECT_SETTINGS": json.dumps(ssl)}
    app = make_app(url, **ssl)
    with CeleryProcess("worker", "-P", pool, "-c", "2", "-l", "info", broker=url, env=env):
        add, total = app.tasks["add"], app.tasks["total"]
        assert add.delay(1, 2).get(timeout=20) == 3
        assert chord([add.s(n, n) for n in range(5)], total.s()).delay().get(timeout=20) == 20
        assert [*eventually(app.control.inspect(timeout=5.0).ping).values()] == [{"ok": "pong"}]
    app.close()


def test_the_backend_may_have_files_of_its_own(certificates: Certificates) -> None:
    files = files_of(certificates)
    app = make_app("redis://localhost:6379/0", "rediss://localhost:6380/0", redis_backend_use_ssl=files)
    config = bridge_of(app).gear.config.redis
    assert [config.ca, config.cert, config.key] == list(files.values())
    app.close()


def test_a_certificate_that_nobody_looks_at_is_an_error() -> None:
    app = make_app("redis://localhost:6379/0")
    app.conf.redis_backend_use_ssl = {"ssl_cert_reqs": "none"}
    with pytest.raises(ConfigError, match="redis_backend_use_ssl: ssl_cert_reqs"):
        redis_of(app.conf)
    app.close()
