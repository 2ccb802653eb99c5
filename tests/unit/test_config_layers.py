"""Settings from files, the environment and keywords, and where each came from."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import pickle
import socket
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.pages import page_path

from gearmesh import App, Config, ConfigError
from gearmesh.config import RedisConfig
from gearmesh.config.file import from_yaml, using_file
from gearmesh.config.local import local_url, socket_of
from gearmesh.config.table import SECTIONS, SETTINGS, Setting
from gearmesh.config.watch import Watch
from gearmesh.worker import Worker
from gearmesh.worker.loader import load_for
from gearmesh.worker.options import WorkerOptions

URL = "redis://localhost:6379/0"

#: Machinery's own example with real URLs, and longer than the part that Go reads.
MACHINERY = """\
---
broker: redis://:hunter2@localhost:6379/0
default_queue: default_queue
result_backend: redis://:hunter2@localhost:6379/1
results_expire_in: 123456
multiple_broker_separator: ";"
amqp:
  binding_key: binding_key
  exchange: exchange
  exchange_type: exchange_type
  prefetch_count: 123
  queue_declare_args:
    x-max-priority: 10
  queue_binding_args:
    image-type: png
    x-match: any
sqs:
  receive_wait_time_seconds: 123
  receive_visibility_timeout: 456
  visibility_hearth_beat: true
redis:
  max_idle: 12
  max_active: 123
  max_idle_timeout: 456
  wait: false
  read_timeout: 17
  write_timeout: 19
  connect_timeout: 21
  normal_tasks_poll_period: 1001
  delayed_tasks_poll_period: 23
  delayed_tasks_key: delayed_tasks_key
  master_name: master_name
  cluster_mode: true
  sentinel_password: hunter2
no_unix_signals: true
dynamodb:
  task_states_table: states
  group_metas_table: metas
gcppubsub:
"""


#: Pieces of YAML files.
BITS = (
    *("broker", "redis:", "amqp:", "lease:", "lock:", "read_timeout:", "queue_declare_args:", "wait:"),
    *(
        "\n",
        "\n  ",
        "-",
        ":",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&",
        "*",
        "!",
        "|",
        ">",
        "'",
        ": ",
        "- ",
        "? ",
        "<<: ",
    ),
    *("&a ", "*a ", "!!binary ", "!!timestamp ", "!!set ", "1", "0x", "~", ".inf", "1_0", "2001-01-01"),
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, nothing in the folder."""
    for setting in SETTINGS.values():
        for name in setting.names:
            monkeypatch.delenv(name.env or "-", raising=False)
    monkeypatch.delenv("GEARMESH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file in the working directory; its name."""

    def write(text: str) -> str:
        (tmp_path / "c.yml").write_text(textwrap.dedent(text))
        return "c.yml"

    return write


def load(text: str, write: Callable[[str], str], **more: Any) -> Config:
    return Config.load(write(text), {}, **more)


class TestTable:
    def test_every_setting_is_in_it(self) -> None:
        config = Config(broker=URL)
        paths = set()
        for each in dataclasses.fields(Config):
            if each.name in SECTIONS:
                paths |= {f"{each.name}.{one.name}" for one in dataclasses.fields(getattr(config, each.name))}
            elif each.name != "source":
                paths.add(each.name)
        assert paths == set(SETTINGS)

    def test_names_are_unique(self) -> None:
        for kind in ("env", "file"):
            names = [getattr(name, kind) for setting in SETTINGS.values() for name in setting.names]
            names = [name for name in names if name]
            assert sorted(names) == sorted(set(names))

    @pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
    def test_it_is_documented(self, setting: Setting) -> None:
        file = ", ".join(dict.fromkeys(f"`{name.file}`" for name in setting.names))
        env = ", ".join(f"`{name.env}`" for name in setting.names if name.env)
        default = "" if setting.path == "broker" else Config(broker=URL).value(setting.path)
        shown = "" if default in ("", None, {}) else default
        names = f"| `{setting.path}` | {file} | {env} | {shown} | "
        rows = [
            row
            for row in page_path("configuration.md").read_text("utf-8").splitlines()
            if row.startswith(names)
        ]
        assert len(rows) == 1, f"one row of configuration.md should begin with: {names}"
        means = rows[0].removeprefix(names).removesuffix(" |")
        assert means
        assert means.startswith("no effect here: ") == bool(setting.idle)
        assert not setting.idle or means == f"no effect here: {setting.idle}"
        assert means.endswith(" (changes while running)") == setting.live


class TestFile:
    def test_machinery_s_own(self, write: Callable[[str], str]) -> None:
        config = load(MACHINERY, write)
        assert config.broker == "redis://:hunter2@localhost:6379/0"
        assert config.backend == "redis://:hunter2@localhost:6379/1"
        assert (config.default_queue, config.expire) == ("default_queue", 123456)
        assert config.amqp.queue_declare_args == {"x-max-priority": 10}
        assert config.amqp.queue_binding_args == {"image-type": "png", "x-match": "any"}
        assert config.amqp.prefetch_count == 123
        assert (config.delayed_tasks_key, config.delayed_poll) == ("delayed_tasks_key", 0.023)
        assert config.redis == RedisConfig(
            read_timeout=17,
            write_timeout=19,
            connect_timeout=21,
            master_name="master_name",
            cluster_enabled=True,
            sentinel_password="hunter2",
            max_idle=12,
            max_active=123,
            max_idle_timeout=456,
            normal_tasks_poll_period=1001,
        )
        assert (config.redis.socket_timeout, config.redis.socket_connect_timeout) == (19, 21)
        assert config.sqs.receive_wait_time_seconds == 123
        assert (config.sqs.receive_visibility_timeout, config.sqs.visibility_heartbeat) == (456, True)
        assert config.dynamodb.task_states_table == "states"
        assert config.no_unix_signals is True
        assert "hunter2" not in repr(config)

    def test_all_of_it_is_read(self, write: Callable[[str], str]) -> None:
        text = f"broker: {URL}\n" + "# x\n" * 5000 + "default_queue: last\n"
        assert load(text, write).default_queue == "last"

    def test_origins(self, write: Callable[[str], str]) -> None:
        name = write(MACHINERY)
        env = {"DEFAULT_QUEUE": "e", "REDIS_MAX_IDLE": "7"}
        config = Config.load(name, env, lease=5, redis={"max_idle": 9})
        assert config.origin("broker") == "c.yml line 2"
        assert config.origin("redis.cluster_enabled") == "c.yml line 33"
        assert (config.default_queue, config.origin("default_queue")) == ("e", "environment DEFAULT_QUEUE")
        assert (config.redis.max_idle, config.origin("redis.max_idle")) == (9, "code")
        assert (config.lease, config.origin("lease")) == (5, "code")
        assert config.origin("publish_timeout") == "default"
        changed = dataclasses.replace(config, lease=6, publish_timeout=1)
        assert (changed.origin("lease"), changed.origin("publish_timeout")) == ("code", "code")
        assert changed.origin("broker") == "c.yml line 2"
        assert Config(broker=URL).origin("broker") == "code"

    def test_origins_are_no_part_of_the_value(self, write: Callable[[str], str]) -> None:
        loaded = load(f"broker: {URL}", write)
        assert loaded == Config(broker=URL)
        assert hash(loaded) == hash(Config(broker=URL))
        assert pickle.loads(pickle.dumps(loaded)) == copy.deepcopy(loaded) == loaded

    def test_load_logs_settings_that_have_no_effect(
        self, write: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "gearmesh.config"):
            load(MACHINERY, write)
        line = MACHINERY.splitlines().index("  wait: false") + 1
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert f", redis.wait (c.yml line {line}), " in said[0]
        assert said[0].count(" line ") == 8

    @pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "null", "redis:\n", "broker:\n"])
    def test_nothing_said(self, text: str, write: Callable[[str], str]) -> None:
        assert load(text, write, broker=URL) == Config(broker=URL)

    def test_text_is_taken_as_written(self, write: Callable[[str], str]) -> None:
        config = load("broker: 'null://'\ndefault_queue: 007", write, broker=URL)
        assert config.default_queue == "007"

    def test_anchors_and_merges(self, write: Callable[[str], str]) -> None:
        text = """
            amqp: &both
              exchange: e
              queue_declare_args: &args {x-max-priority: 10}
              queue_binding_args: *args
            broker: memory://x
            lease: 5.0
            """
        config = load(text, write)
        assert config.amqp.queue_binding_args == {"x-max-priority": 10}
        merged = load("<<: {default_queue: a, lease: 3}\nbroker: memory://x\nlease: 4", write)
        assert (merged.default_queue, merged.lease) == ("a", 4)

    @pytest.mark.parametrize(
        "quiet", ["lock: ''", "redis: {delayed_tasks_key: '', delayed_tasks_poll_period: 0}"]
    )
    def test_nothing_is_go_s_default(self, quiet: str, write: Callable[[str], str]) -> None:
        assert load(f"broker: {URL}\n{quiet}", write) == Config(broker=URL)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("redis: {read_timeout: soon}", "c.yml line 1: redis.read_timeout is 'soon', expected seconds, 0 or more"),
            ("\nresults_expire_in: -1", "c.yml line 2: results_expire_in is -1, expected a whole number, 0 or more"),
            ("results_expire_in: 1.5", "results_expire_in is 1.5"),
            ("no_unix_signals: 'yes'", "no_unix_signals is 'yes', expected true or false"),
            ("default_queue: [a]", "default_queue is ['a'], expected text that is not empty"),
            ("brokr: redis://u:hunter2@h", "setting 'brokr' ('redis://***@h'); did you mean 'broker'?"),
            ("\nborker: x", "c.yml line 2: unknown setting 'borker' ('x'); did you mean 'broker'?"),
            ("Broker: x", "did you mean 'broker'?"),
            ("default-queue: x", "did you mean 'default_queue'?"),
            ("resultBackend: x", "did you mean 'result_backend'?"),
            ("redis_: {}", "unknown setting 'redis_' ({}); did you mean 'redis'?"),
            ("redis: {read_timout: 1}", "setting 'redis.read_timout' (1); did you mean 'redis.read_timeout'?"),
            ("redis: {sentinel_pasword: hunter2}", "unknown setting 'redis.sentinel_pasword' ('***')"),
            ("amqp: [1]", "c.yml line 1: amqp is a sequence, expected names and values"),
            ("amqp: {queue_declare_args: {1: 2}}", "amqp.queue_declare_args is {1: 2}, expected names and values"),
            ("- broker", "c.yml line 1: the file is a sequence, expected names and values"),
            ("broker: [", "c.yml line 1: invalid YAML: "),
            ("a: b: c", "c.yml line 1: invalid YAML: "),
            ("broker: kafka://u:hunter2@h", "c.yml line 1: broker: unknown URL scheme 'kafka'"),
            ("lease: 2026-99-99", "c.yml line 1: this value cannot be read: month"),
            ("lease: !!python/object/apply:os.system ['touch pwned']", "invalid YAML: could not determine"),
            ("redis: {cluster_mode: on, cluster_enabled: on}", "was already set by another name (c.yml line 1)"),
            ("backend: null://\nresult_backend: null://", "c.yml line 2: result_backend was already set"),
            ("log_level: loud", "log_level is 'LOUD', expected one of DEBUG, INFO"),
        ],
    )  # fmt: skip
    def test_the_error_names_the_wrong_setting_of_a_file(
        self, text: str, problem: str, write: Callable[[str], str]
    ) -> None:
        with pytest.raises(ConfigError) as error:
            load(text, write)
        assert problem in str(error.value)
        assert "hunter2" not in str(error.value)
        assert not Path("pwned").exists()

    def test_a_file_shared_with_a_service(
        self, write: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Settings of the service are named once, without their values, and change nothing."""
        text = f"""
            service_name: shop
            broker: {URL}
            release: 1.2
            clock: 7
            mongo: {{password: hunter2}}
            redis2: {{read_timeout: 1}}
            database: shop
            redis: {{colour: hunter2}}
            secret: !!python/object/apply:os.system ['touch pwned']
            """
        loaded = load(text, write)
        assert loaded == Config(broker=URL)
        assert not Path("pwned").exists()
        (said,) = caplog.messages
        assert said == (
            "gearmesh ignores these names, which are not settings: service_name (c.yml line 2), "
            "release (c.yml line 4), clock (c.yml line 5), mongo (c.yml line 6), redis2 (c.yml line 7), "
            "database (c.yml line 8; do you mean mongodb.database?), redis.colour (c.yml line 9), "
            "secret (c.yml line 10)"
        )
        loaded.reload()
        assert len(caplog.messages) == 1

    @given(st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=30))
    def test_any_text_is_read_or_is_a_config_error(self, words: list[str]) -> None:
        with suppress(ConfigError):
            from_yaml("".join(words), "f.yml")

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config file 'nope.yml' cannot be read: No such file"):
            Config.load("nope.yml", {})
        (tmp_path / "bad.yml").write_bytes(b"broker: \xff")
        with pytest.raises(ConfigError, match="it is not UTF-8"):
            Config.load(tmp_path / "bad.yml", {})


class TestEnvironment:
    def test_machinery_s_names(self) -> None:
        config = Config.load(
            env={
                "BROKER": "redis://a:1;redis://b:1",
                "LOCK": "redis://l:1",
                "MULTIPLE_BROKEN_SEPARATOR": ";",
                "DEFAULT_QUEUE": "q",
                "RESULT_BACKEND": "null",
                "RESULTS_EXPIRE_IN": "60",
                "NO_UNIX_SIGNALS": "T",
                "AMQP_QUEUE_DECLARE_ARGS": "x-max-priority:10,x-queue-mode:lazy,x-single-active-consumer:true",
                "AMQP_QUEUE_BINDING_ARGS": "image-type:png,n:1",
                "AMQP_AUTO_DELETE": "false",
                "SQS_VISIBILITY_TIMEOUT": "30",
                "REDIS_IDLE_TIMEOUT": "7",
                "REDIS_DELAYED_TASKS_POLL_PERIOD": "20",
                "REDIS_DELAYED_TASKS_KEY": "later",
                "REDIS_CLUSTER_MODE": "1",
                "REDIS_CLIENT_NAME": "",
                "GEARMESH_LEASE": "2.5",
                "GEARMESH_REDIS_REPLICAS_ACK": "1",
                "GEARMESH_LOG_LEVEL": "debug",
                "UNRELATED": "x",
            }
        )
        assert config.brokers == ("redis://a:1", "redis://b:1")
        assert (config.lock, config.default_queue, config.backend) == ("redis://l:1", "q", "null")
        assert (config.results_expire_in, config.no_unix_signals) == (60, True)
        assert config.amqp.queue_declare_args == {
            "x-max-priority": 10,
            "x-queue-mode": "lazy",
            "x-single-active-consumer": True,
        }
        assert config.amqp.queue_binding_args == {"image-type": "png", "n": "1"}
        assert config.sqs.receive_visibility_timeout == 30
        assert (config.delayed_poll, config.delayed_tasks_key) == (0.02, "later")
        assert (config.redis.cluster_enabled, config.redis.max_idle_timeout) == (True, 7)
        assert (config.lease, config.redis.replicas_ack, config.log_level) == (2.5, 1, "DEBUG")

    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            (
                "RESULTS_EXPIRE_IN",
                "soon",
                "environment: RESULTS_EXPIRE_IN is 'soon', expected a whole number",
            ),
            ("RESULTS_EXPIRE_IN", "-1", "RESULTS_EXPIRE_IN is '-1', expected a whole number, 0 or more"),
            ("GEARMESH_LEASE", "nan", "GEARMESH_LEASE is 'nan', expected seconds above 0"),
            ("REDIS_WAIT", "yes", "REDIS_WAIT is 'yes', expected true or false"),
            ("AMQP_QUEUE_BINDING_ARGS", "a", "AMQP_QUEUE_BINDING_ARGS is 'a', expected names and values"),
            (
                "RESULT_BACKEND",
                "kafka://u:hunter2@h",
                "environment RESULT_BACKEND: backend: unknown URL scheme",
            ),
            (
                "REDIS_CLUSTER_MODE",
                "1",
                "environment REDIS_CLUSTER_MODE: REDIS_CLUSTER_MODE was already set by another name",
            ),
        ],
    )
    def test_the_error_names_the_wrong_environment_variable(self, name: str, text: str, problem: str) -> None:
        with pytest.raises(ConfigError) as error:
            Config.load(env={"BROKER": URL, "REDIS_CLUSTER_ENABLED": "1", name: text})
        assert str(error.value).startswith(problem) or problem in str(error.value)
        assert "hunter2" not in str(error.value)

    def test_typos(self, caplog: pytest.LogCaptureFixture) -> None:
        env = {
            "BROKER": URL,
            "GEARMESH_LEASES": "3",
            "GEARMESH_BROKER": "redis://u:hunter2@h",
            "GEARMESH_REDIS_READ_TIMEOUT": "3",
            "GEARMESH_CONFG": "c.yml",
            # Kubernetes sets such for a service of the name gearmesh.
            "GEARMESH_PORT": "tcp://10.0.0.1:80",
            "GEARMESH_SERVICE_HOST": "10.0.0.1",
            "GEARMESH_PORT_80_TCP_PORT": "80",
            "GEARMESH_LOG_LEVEL": "INFO",
            "GEARMESH_CONFIG": "",
        }
        assert Config.load(env=env).lease == Config(broker=URL).lease
        (said,) = caplog.messages
        assert said == (
            "gearmesh ignores these names, which are not settings: "
            "GEARMESH_BROKER (environment; do you mean BROKER?), "
            "GEARMESH_CONFG (environment; do you mean GEARMESH_CONFIG?), "
            "GEARMESH_LEASES (environment; do you mean GEARMESH_LEASE?), "
            "GEARMESH_REDIS_READ_TIMEOUT (environment; do you mean REDIS_READ_TIMEOUT?)"
        )


class TestApp:
    def test_nothing_given_is_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match="broker is missing"):
            _ = App().config
        monkeypatch.setenv("BROKER", "memory://env")
        monkeypatch.setenv("DEFAULT_QUEUE", "env")
        assert (App().config.broker, App().default_queue) == ("memory://env", "env")
        assert App(default_queue="code").default_queue == "code"
        assert App("memory://code").default_queue == "machinery_tasks", "only settings in code count"

    def test_names_that_are_ignored_are_told_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An app without a broker looks for one at each use: the error names the likely variable, the log does not."""
        monkeypatch.setenv("GEARMESH_BROKER", "redis://u:hunter2@h")
        app = App()
        for _ in range(2):
            with pytest.raises(
                ConfigError, match=r"folder; gearmesh ignores these names, .* mean BROKER\?\)$"
            ):
                _ = app.config
        assert caplog.messages == []
        monkeypatch.setenv("BROKER", "memory://env")
        for _ in range(2):
            assert app.config.broker == "memory://env"
        assert [said.partition(":")[2] for said in caplog.messages] == [
            " GEARMESH_BROKER (environment; do you mean BROKER?)"
        ]

    def test_the_file_of_the_command(
        self, write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = write("broker: memory://file\ndefault_queue: file")
        with using_file(name):
            assert App().config.broker == "memory://file"
            assert App("memory://code").config.broker == "memory://code"
        monkeypatch.setenv("GEARMESH_CONFIG", name)
        monkeypatch.setenv("DEFAULT_QUEUE", "env")
        assert (App().config.broker, App().default_queue) == ("memory://file", "env")

    def test_sections_as_mappings(self) -> None:
        app = App("memory://x", redis={"client_name": "me"}, amqp={"exchange": "e"})
        assert (app.config.redis.client_name, app.config.amqp.exchange) == ("me", "e")
        config = Config(broker=URL, redis=RedisConfig(read_timeout=1))
        assert App(config=config, redis={"client_name": "me"}).config.redis.read_timeout == 1
        with pytest.raises(ConfigError, match="redis is a int, expected a mapping"):
            App("memory://x", redis=1)
        with pytest.raises(ConfigError, match=r"unknown setting 'redis\.x'"):
            App("memory://x", redis={"x": 1})
        with pytest.raises(ConfigError, match="redis is a dict, expected a RedisConfig"):
            Config(broker=URL, redis={})  # type: ignore[arg-type]

    def test_a_file_over_an_app_s_own(self, write: Callable[[str], str]) -> None:
        code = Config(broker="memory://code", lease=5, default_queue="code")
        name = write("default_queue: file")
        config = code.under(name)
        assert (config.broker, config.lease, config.default_queue) == ("memory://code", 5, "file")
        assert (config.origin("default_queue"), config.origin("lease")) == ("c.yml line 1", "code")
        assert config.under(name) is config
        assert code.under(None) is code
        env = Config.load(env={"BROKER": "memory://env", "DEFAULT_QUEUE": "env"})
        assert env.under(name).default_queue == "env", "the environment is nearer than a file"


class TestLocal:
    def test_the_project_s_redis(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = socket_of(tmp_path)
        path.parent.mkdir(exist_ok=True)
        assert local_url() is None
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            assert local_url() is None, "nobody listens"
            server.listen()
            url = f"redis+socket://{path}:/0"
            assert local_url() == url
            app = App()
            assert (app.config.broker, app.config.backend) == (url, url)
            assert app.config.origin("broker") == "gearmesh dev"
            assert App(backend="null").config.backend == "null"
            monkeypatch.setenv("BROKER", "memory://env")
            assert App().config.broker == "memory://env"
            monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
            assert local_url() is None, "somebody else's"
        assert local_url() is None

    @pytest.mark.parametrize("name", ["x" * 90, "a:b", "a@b"])
    def test_a_path_that_no_url_can_have(self, tmp_path: Path, name: str) -> None:
        project = tmp_path / name
        project.mkdir()
        path = socket_of(project)
        assert project not in path.parents
        assert path == socket_of(project)
        assert path != socket_of(tmp_path / f"{name}2")
        assert len(str(path)) < 100
        assert not set(str(path)) & set(":@")


class TestWatch:
    @pytest.fixture
    def app(self, write: Callable[[str], str]) -> App:
        return App(config=Config.load(write("broker: memory://x"), {}, watch=True))

    def watch(self, app: App) -> Watch:
        return Watch(lambda: app.config, lambda config: setattr(app, "config", config), 0.02)

    def test_a_changed_file_changes_the_live_settings(
        self, app: App, write: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        watch = self.watch(app)
        write("broker: memory://y\ndefault_queue: other\npublish_timeout: 1\nlease: 3\nredis: {wait: true}")
        with caplog.at_level(logging.INFO, "gearmesh.config"):
            watch.look()
            watch.look()
        assert (app.default_queue, app.config.publish_timeout) == ("other", 1)
        assert (app.config.broker, app.config.lease) == ("memory://x", 30)
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", "broker is 'memory://y' now (c.yml line 1): this takes effect at the next start"),
            ("INFO", "default_queue is 'other' now (c.yml line 2)"),
            ("WARNING", "lease is 3 now (c.yml line 4): this takes effect at the next start"),
            ("INFO", "publish_timeout is 1 now (c.yml line 3)"),
        ]
        write("broker: memory://x")
        watch.look()
        assert app.default_queue == "machinery_tasks"

    def test_a_bad_file_changes_nothing(
        self, app: App, write: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        watch = self.watch(app)
        write("broker: memory://x\ndefault_queue: [")
        for _ in range(3):
            watch.look()
        assert app.default_queue == "machinery_tasks"
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "the settings do not change: c.yml line 2" in record.getMessage()
        write("broker: memory://x\ndefault_queue: good")
        watch.look()
        assert app.default_queue == "good"

    def test_the_thread(self, app: App, write: Callable[[str], str]) -> None:
        from gearmesh.testing.waiting import eventually

        watch = self.watch(app)
        watch.stop()
        for queue in ("one", "two"):
            watch.start()
            watch.start()
            write(f"broker: memory://x\ndefault_queue: {queue}")
            eventually(lambda queue=queue: app.default_queue == queue)  # type: ignore[misc]
            watch.stop()
            watch.stop()

    @pytest.mark.parametrize("use", ["send", "work"])
    def test_an_app_watches_when_it_is_used(self, app: App, use: str) -> None:
        def watches() -> bool:
            return any(thread.name == "gearmesh-config" for thread in threading.enumerate())

        def do(app: App) -> None:
            if use == "send":
                app.remote("x").delay()
            else:
                with Worker(app):
                    pass

        with App(config=Config(broker="memory://x")) as quiet:
            do(quiet)
            assert not watches()
        with app:
            assert not watches(), "not before it is used"
            do(app)
            assert watches()
        assert not watches()

    def test_a_worker_s_options(
        self, write: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "watched_shop.py").write_text(
            "from gearmesh import App\napp = App()\nfixed = App('memory://code')\n"
        )
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        name = write("broker: memory://file\nlog_level: ERROR")
        root = logging.getLogger()
        level = root.level
        try:
            app = load_for("watched_shop:app", WorkerOptions(config=name, watch=True, lease=4))
            assert (app.config.broker, app.config.lease, root.level) == ("memory://file", 4, logging.ERROR)
            fixed = load_for("watched_shop:fixed", WorkerOptions(config=name, log_level="INFO"))
            assert (fixed.config.broker, root.level) == ("memory://file", logging.ERROR)
            write("broker: memory://file\nlog_level: warning\ndefault_queue: new")
            app._config_watch.get().look()
            assert (root.level, app.default_queue, app.config.lease) == (logging.WARNING, "new", 4)
            app.close()
        finally:
            root.setLevel(level)
            sys.modules.pop("watched_shop")
