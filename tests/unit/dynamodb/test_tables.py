"""The tables: made by a command, looked at by the doctor and before the first request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer

from gearmesh import App
from gearmesh.backends.registry import open_backend
from gearmesh.cli import main
from gearmesh.cli.checks import Case, Finding
from gearmesh.cli.checks.dynamodb import dynamodb_permissions, dynamodb_tables
from gearmesh.errors import BackendError
from gearmesh.wire.state import SUCCESS, TaskState


@pytest.fixture
def unmade(dynamodb_local: DynamoDBServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two tables that are not there, whose names are in the environment."""
    tables = Tables.named(dynamodb_local)
    for name, value in tables.environment.items():
        monkeypatch.setenv(name, value)
    yield tables
    tables.delete()


def gearmesh(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(args))
    return done.exit_code, done.output


def keys(tables: Tables) -> list[list[str]]:
    names = (tables.config.task_states_table, tables.config.group_metas_table)
    described = [tables.client.describe_table(TableName=name)["Table"] for name in names]
    return [[each["AttributeName"] for each in table["KeySchema"]] for table in described]


def ttl(tables: Tables, name: str) -> str:
    about = tables.client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return str(about.get("AttributeName", ""))


def test_the_command_makes_them_once(unmade: Tables) -> None:
    code, output = gearmesh("dynamodb", "init", "--backend", unmade.url)
    assert (code, output.count("made, time to live enabled")) == (0, 2)
    assert keys(unmade) == [["TaskUUID"], ["GroupUUID"]]
    assert (
        ttl(unmade, unmade.config.task_states_table) == ttl(unmade, unmade.config.group_metas_table) == "TTL"
    )
    unmade.put_state(TaskUUID={"S": "task_x"}, State={"S": SUCCESS})
    code, output = gearmesh("dynamodb", "init", "--json", "--backend", unmade.url)
    assert code == 0
    assert [row["done"] for row in json.loads(output)] == [[], []]
    assert unmade.state("task_x")
    assert gearmesh("doctor", "--broker", "memory://x", "--backend", unmade.url)[1].count("PROBLEM") == 0


def test_a_dry_run_changes_nothing(unmade: Tables) -> None:
    code, output = gearmesh("dynamodb", "init", "--dry-run", "--backend", unmade.url)
    assert code == 0
    lines = [shlex.split(line) for line in output.splitlines()]
    assert [line[:3] for line in lines] == [
        ["aws", "dynamodb", "create-table"],
        ["aws", "dynamodb", "wait"],
        ["aws", "dynamodb", "update-time-to-live"],
    ] * 2
    assert all(line[-2:] == ["--endpoint-url", unmade.url] for line in lines)
    with pytest.raises(unmade.client.exceptions.ResourceNotFoundException):
        keys(unmade)
    code, output = gearmesh(
        "dynamodb", "init", "--dry-run", "--backend", "https://dynamodb.eu-west-1.amazonaws.com"
    )
    assert output.count("--region eu-west-1\n") == 6


def test_tables_that_are_others(unmade: Tables) -> None:
    states, groups = unmade.config.task_states_table, unmade.config.group_metas_table
    for name, attributes in ((states, ("id",)), (groups, ("GroupUUID",))):
        unmade.client.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in attributes],
            KeySchema=[{"AttributeName": attributes[0], "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    code, output = gearmesh("dynamodb", "init", "--backend", unmade.url)
    assert code == 2
    assert f"the key of table '{states}' is id (S), expected TaskUUID (S)" in output
    findings = doctor(unmade, dynamodb_tables)
    assert [(each.level, each.about) for each in findings] == [
        ("problem", f"table {states}"),
        ("note", f"table {groups}"),
    ]
    assert "its key is id (S), expected TaskUUID (S)" in findings[0].text
    assert "deletes nothing" in findings[1].text
    assert "gearmesh dynamodb init" in findings[1].advice
    backend = open_backend(unmade.url, expire=60, options={"dynamodb": unmade.config})
    with pytest.raises(backend.connection_errors, match=r"key of table .* is id \(S\)"):
        backend.read(["task_x"])
    backend.close()


def test_another_backend_is_refused() -> None:
    code, output = gearmesh("dynamodb", "init", "--backend", "redis://127.0.0.1:1")
    assert (code, "expected a DynamoDB" in output) == (2, True)


def test_missing_tables_name_the_command(unmade: Tables) -> None:
    with App("memory://x", unmade.url, dynamodb=unmade.config) as app:
        with pytest.raises(BackendError) as missing:
            app.check_backend()
        states, groups = unmade.config.task_states_table, unmade.config.group_metas_table
        assert f"table '{states}' does not exist" in str(missing.value)
        command = f"TASK_STATES_TABLE={states} GROUP_METAS_TABLE={groups} gearmesh dynamodb init --backend {unmade.url}"
        assert command in str(missing.value)
        unmade.make()
        app.check_backend()
    findings = doctor(unmade, dynamodb_tables)
    assert [each.level for each in findings] == ["note", "note"], "neither table deletes expired items"


# --- permissions ---------------------------------------------------------------------------------


def doctor(tables: Tables, check: Callable[[Case], Any], client: Any = None) -> list[Finding]:
    section = {
        "task_states_table": tables.config.task_states_table,
        "group_metas_table": tables.config.group_metas_table,
        "client": client,
    }
    with App("memory://x", tables.url, dynamodb=section) as app:
        return list(check(Case(app)))


def deny(client: Any, *operations: str) -> None:
    """Have a client answer as one that has no permission for these. (DynamoDB Local has no permissions.)"""
    refused = {
        "Error": {"Code": "AccessDeniedException", "Message": "not authorized"},
        "ResponseMetadata": {},
    }
    for operation in operations:
        client.meta.events.register(
            f"before-call.dynamodb.{operation}", lambda **event: (SimpleNamespace(status_code=400), refused)
        )


def test_all_permissions_are_there(dynamodb: Tables) -> None:
    dynamodb.put_state(TaskUUID={"S": "nobody"}, State={"S": SUCCESS})
    before = dynamodb.state("nobody")
    dynamodb.client.delete_item(
        TableName=dynamodb.config.task_states_table, Key={"TaskUUID": {"S": "nobody"}}
    )
    assert doctor(dynamodb, dynamodb_permissions) == []
    assert before
    assert dynamodb.client.scan(TableName=dynamodb.config.task_states_table)["Items"] == []


def test_missing_permissions_are_named(dynamodb: Tables) -> None:
    deny(dynamodb.client, "UpdateItem", "Scan", "BatchExecuteStatement", "DescribeTable")
    findings = doctor(dynamodb, dynamodb_permissions, dynamodb.client)
    assert {each.text.partition(" ")[0]: each.level for each in findings} == {
        "dynamodb:UpdateItem": "problem",
        "dynamodb:Scan": "note",
        "dynamodb:PartiQLUpdate": "note",
        "dynamodb:DescribeTable": "note",
    }


def test_a_client_without_partiql_writes_each_state_by_itself(dynamodb: Tables) -> None:
    deny(dynamodb.client, "BatchExecuteStatement", "DescribeTable")
    config = {"task_states_table": dynamodb.config.task_states_table, "client": lambda: dynamodb.client}
    with App(
        "memory://x",
        dynamodb.url,
        dynamodb={**config, "group_metas_table": dynamodb.config.group_metas_table},
    ) as app:
        uuids = [f"task_{number}" for number in range(60)]
        app.backend.write([TaskState(TaskUUID=uuid, State=SUCCESS, Results=()) for uuid in uuids])
        assert [state and state.State for state in app.states(uuids)] == [SUCCESS] * 60
