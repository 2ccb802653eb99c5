"""Steps of a workflow that Go runs, and the group that the end of a task counts for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from gearmesh.celery.codec import from_wire
from gearmesh.celery.membership import Membership, member_of, membership
from gearmesh.celery.step_types import in_go, is_raw, raw_of, raw_step
from gearmesh.errors import RemoteProtocolError
from gearmesh.wire import types as wire
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta

SIG = Signature(UUID="1", Name="go", RoutingKey="q", Args=(wire.arg("uint8", 1),))


@pytest.mark.parametrize("immutable", [True, False])
def test_a_signature_of_go_s_survives_as_a_step_of_celery_s(immutable: bool) -> None:
    step = raw_step(SIG, immutable=immutable, count=3)
    again = json.loads(json.dumps(step))
    assert is_raw(again)
    assert not in_go(again)
    assert raw_of(again) == SIG
    assert (again["task"], again["immutable"], again["kwargs"]["count"]) == ("go", immutable, 3)


@pytest.mark.parametrize(
    "step", [None, "gearmesh.raw", {}, {"subtask_type": None}, {"subtask_type": "chain"}]
)
def test_other_steps_are_celery_s_own(step: Any) -> None:
    assert not is_raw(step)
    assert not in_go(step)


def test_a_step_that_go_runs_is_known_by_its_type() -> None:
    assert in_go({"task": "t", "subtask_type": "gearmesh.go"})


def test_a_damaged_step_is_an_error() -> None:
    step = raw_step(SIG, immutable=False)
    step["kwargs"]["signature"] = "{"
    with pytest.raises(RemoteProtocolError):
        raw_of(step)


# -- members


def request(**fields: Any) -> Any:
    usual = {"delivery_info": None, "retries": 0, "group": None, "chord": None, "headers": None}
    return SimpleNamespace(**(usual | fields))


def group_of(uuid: str) -> GroupMeta | None:
    return GroupMeta(GroupUUID=uuid, TaskUUIDs=("1", "2")) if uuid == "known" else None


MEMBER = SIG.evolve(GroupUUID="g", GroupTaskCount=3)


@pytest.mark.parametrize(
    ("sig", "expected"),
    [
        (MEMBER, Membership("g", 3, True)),
        (SIG, None),
        (SIG.evolve(GroupUUID="g"), None),
        (SIG.evolve(GroupTaskCount=3), None),
    ],
)
def test_a_signature_of_go_s_is_a_member_of_the_group_it_names(
    sig: Signature, expected: Membership | None
) -> None:
    assert member_of(sig) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"group": "known"}, None),  # a group without a chord is not counted
        ({"group": "known", "chord": {"task": "t"}}, ("known", 2)),
        ({"group": "unknown", "chord": {"task": "t"}}, None),
        ({"group": "unknown", "chord": raw_step(SIG, immutable=False, count=5)}, ("unknown", 5)),
        ({"headers": from_wire(MEMBER).headers}, ("g", 3)),
        ({"headers": from_wire(SIG).headers}, None),
        ({"headers": {"gearmesh": 1}}, None),
    ],
)
def test_a_running_task_is_a_member_of_its_chord_s_group_or_of_go_s(
    fields: dict[str, Any], expected: tuple[str, int] | None
) -> None:
    found = membership(group_of, request(**fields))
    assert found == (expected and Membership(*expected, again=False))


@pytest.mark.parametrize("again", [{"retries": 1}, {"delivery_info": {"redelivered": True}}])
@pytest.mark.parametrize(
    "fields", [{"group": "known", "chord": {"task": "t"}}, {"headers": from_wire(MEMBER).headers}]
)
def test_a_task_that_may_have_ended_before_may_have_been_counted(
    fields: dict[str, Any], again: dict[str, Any]
) -> None:
    found = membership(group_of, request(**fields, **again))
    assert found is not None
    assert found.again
