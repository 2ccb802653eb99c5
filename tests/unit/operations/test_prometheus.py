"""A real Prometheus scrapes a worker and a dashboard, and answers every expression of ``deploy/``."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from tests.conftest import missing
from tests.support.servers import ServerMissing
from tests.unit.operations.conftest import Launch, get
from tests.unit.operations.test_deploy_metrics import PROMETHEUS, grafana, rules

from gearmesh import App
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import encode
from gearmesh.wire.names import DEFAULT_QUEUE as QUEUE
from gearmesh.wire.signature import Signature

#: Signs Prometheus in at the dashboard.
TOKEN = "a token of the tests"
#: The values that Grafana would fill in.
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m", "$queue": ".*", "$task": ".*"}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(ServerMissing(f"no {name} on PATH: apt-get install prometheus"))
    return found


def panels() -> Iterator[tuple[str, str]]:
    """The title of each panel with each of its expressions, as Grafana sends them."""
    for panel in grafana()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, expression
            yield panel["title"], expression


def told(*words: str) -> str:
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_reads_the_files_and_every_expression(tmp_path: Path) -> None:
    told("check", "rules", str(PROMETHEUS / "alerts.yml"))
    told("check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))
    records = [{"record": f"panel:{at}", "expr": each} for at, (_, each) in enumerate(panels())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "grafana", "rules": records}]}))
    assert f"{len(records)} rules found" in told("check", "rules", str(path))


#: Alert -> series with their values, one a minute, and labels of the alert that they raise after 20 minutes.
ALARMS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "GearmeshNoWorker": ({'gearmesh_worker_processes{state="consuming"}': "0x30"}, {}),
    "GearmeshQueueIsLate": (
        {'gearmesh_queue_oldest_message_seconds{queue="a"}': "100+60x30"},
        {"queue": "a"},
    ),
    "GearmeshQueueIsNotRead": (
        {
            'gearmesh_queue_messages{queue="a",state="waiting"}': "3x30",
            'gearmesh_queue_consumers{queue="a"}': "0x30",
        },
        {"queue": "a", "state": "waiting"},
    ),
    "GearmeshTasksFail": (
        {
            'gearmesh_tasks_total{task="t",queue="a",outcome="failed"}': "0+10x30",
            'gearmesh_tasks_total{task="t",queue="a",outcome="succeeded"}': "0+90x30",
        },
        {"task": "t"},
    ),
    "GearmeshDeadLetters": ({'gearmesh_dead_letters_total{queue="a"}': "0+1x30"}, {"queue": "a"}),
    "GearmeshUnregisteredTasks": ({'gearmesh_parked_messages_total{queue="a"}': "0+1x60"}, {"queue": "a"}),
    "GearmeshProcessesDie": (
        {
            'gearmesh_process_restarts_total{instance="w"}': "0+1x30",
            'gearmesh_recovered_deliveries_total{instance="w"}': "0+2x30",
        },
        {"instance": "w"},
    ),
    "GearmeshLeasesAreLost": ({'gearmesh_lost_deliveries_total{queue="a"}': "0+1x30"}, {"queue": "a"}),
    "GearmeshWorkersFellSilent": ({'gearmesh_reaped_deliveries_total{queue="a"}': "0+1x30"}, {"queue": "a"}),
    "GearmeshServersAreSlow": (
        {'gearmesh_commit_stalls_total{instance="w"}': "0+1x30"},
        {"instance": "w"},
    ),
    "GearmeshSlotsAreUsedUp": (
        {
            'gearmesh_tasks_running{instance="w"}': "10x30",
            'gearmesh_task_slots{instance="w"}': "10x30",
        },
        {"instance": "w"},
    ),
}


def test_each_alert_fires_for_its_own_cause_only(tmp_path: Path) -> None:
    assert ALARMS.keys() == {rule["alert"] for rule in rules()}
    quiet = {'gearmesh_worker_processes{state="consuming"}': "1x60"}
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    tests = []
    for alert, (series, labels) in ALARMS.items():
        tests.append(
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in {**quiet, **series}.items()
                ],
                "promql_expr_test": [
                    {
                        # The alerts that are on after 20 minutes; a summary has numbers, so it is not compared.
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "20m",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}],
                    },
                    {
                        "expr": f'ALERTS{{alertname="{alert}"}}',
                        "eval_time": "20m",
                        "exp_samples": [
                            {
                                "labels": "ALERTS"
                                + json_labels(
                                    {
                                        "alertname": alert,
                                        "alertstate": "firing",
                                        "severity": severity[alert],
                                        **labels,
                                    }
                                ),
                                "value": 1,
                            }
                        ],
                    },
                ],
            }
        )
    path = tmp_path / "tests.yml"
    path.write_text(
        yaml.safe_dump(
            {"rule_files": [str(PROMETHEUS / "alerts.yml")], "evaluation_interval": "1m", "tests": tests}
        )
    )
    told("test", "rules", str(path))


def json_labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


@contextmanager
def prometheus(folder: Path, port: int, workers: int, dashboard: int) -> Iterator[Any]:
    """Prometheus with the configuration of ``deploy/``, but quick and for these two ports; a function that asks it."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    (folder / "token").write_text(TOKEN)
    for job, target in zip(config["scrape_configs"], (workers, dashboard), strict=True):
        job["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "token")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )

    def ask(path: str, **query: str) -> Any:
        try:
            return json.loads(get(port, f"/api/v1/{path}?{urlencode(query)}"))["data"]
        except ConnectionError:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            return {}
        except OSError:  # it has begun to listen, and is not ready
            return {}

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def dashboard_port(launch: Launch, folder: Path, url: str) -> int:
    (folder / "dashboard-token").write_text(TOKEN)
    served = launch(
        "dashboard", "--broker", url, "--backend", url, "--queues", "lonely", "--port", "0",
        "--token-file", str(folder / "dashboard-token"), "--log-format", "json",
    )  # fmt: skip

    def address() -> re.Match[str] | None:
        return re.search(r"http://127\.0\.0\.1:(\d+)", served.output)

    eventually(lambda: address() is not None, what="the dashboard")
    for line in served.output.splitlines():
        json.loads(line)
    found = address()
    assert found is not None
    return int(found[1])


def value(ask: Any, query: str) -> str:
    """The value of the one series that a query finds; "": it finds none."""
    found = ask("query", query=query).get("result", [])
    return str(found[0]["value"][1]) if len(found) == 1 else ""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in taken]


def test_a_real_prometheus_answers_every_panel_and_every_rule(
    launch: Launch, project: Path, redis_url: str, tmp_path: Path
) -> None:
    own, worker_port = free_ports(2)
    silent = Tap(open_connection(redis_url), (QUEUE,), 1)
    silent.publish(QUEUE, encode(Signature(UUID="task_silent", Name="unknown", RoutingKey=QUEUE)))
    silent.take(1)
    worker = launch("worker", "shop:app", "--metrics-port", str(worker_port), GEARMESH_LEASE="1")
    port = dashboard_port(launch, tmp_path, redis_url)
    with App(redis_url, redis_url) as app, prometheus(tmp_path, own, worker_port, port) as ask:
        eventually(lambda: ask("query", query="sum(up)").get("result", [{}])[0:1] != [], what="a scrape")
        add, fail = app.remote("add", "int64", "int64"), app.remote("fail", "string")
        app.publish_many([add.s(i, 1) for i in range(50)] + [fail.s(f"no {i}") for i in range(5)])
        add.s(1, 1).apply_async(countdown=0.1)
        app.send_task("hello", queue="lonely")

        def unanswered() -> list[tuple[str, str]]:
            return [
                (title, expression)
                for title, expression in panels()
                if not ask("query", query=expression).get("result")
            ]

        eventually(lambda: unanswered() == [], what="a series for every panel", timeout=60)
        # A scrape may take too long on a machine that does much else; the next one is in time.
        for job in ("gearmesh-workers", "gearmesh-queues"):
            eventually(lambda: value(ask, f'up{{job="{job}"}}') == "1", what=job, timeout=60)  # noqa: B023
        eventually(lambda: value(ask, 'gearmesh_tasks_total{task="add"}') == "51", timeout=60)

        def found() -> dict[str, dict[str, Any]]:
            return {rule["name"]: rule for group in ask("rules").get("groups", []) for rule in group["rules"]}

        eventually(
            lambda: all(rule["health"] == "ok" for rule in found().values()) and len(found()) == len(rules()),
            what="an evaluation of all rules",
        )
        # No worker reads this queue: the alert waits for its five minutes.
        eventually(
            lambda: (
                [each["labels"]["queue"] for each in found()["GearmeshQueueIsNotRead"]["alerts"]]
                == ["lonely"]
            ),
            what="the alert about a queue without a consumer",
        )
    silent.close()
    assert worker.end() == 0
