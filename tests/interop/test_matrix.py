"""The matrix that CI prints says of each scenario where it passed, failed or could not run."""

from __future__ import annotations

from .matrix import matrix

AT = "tests/interop/"
BOTH = "client-python-worker-python"


def test_a_cell_has_a_mark_for_each_direction() -> None:
    lines = matrix(
        [
            (f"{AT}test_scenarios.py::test_scenario[{BOTH}-echo_bool]", "passed", ""),
            (f"{AT}test_scenarios.py::test_scenario[client-go-worker-python-echo_bool]", "failed", ""),
            (f"{AT}test_amqp.py::test_scenario[{BOTH}-redis-echo_bool]", "passed", ""),
            (f"{AT}test_amqp.py::test_scenario[{BOTH}-amqp-custom_queue]", "skipped", "no RabbitMQ"),
            (f"{AT}test_stores.py::test_scenario[mongodb-{BOTH}-chord_of_ten]", "passed", ""),
            ("tests/unit/test_urls.py::test_scenario[x]", "passed", ""),
        ]
    )
    assert lines == [
        "scenarios: 3 in 4 places; in each cell: go→python, python→python; ✓ passed, ✗ failed, · not available",
        "              Redis  RabbitMQ  RabbitMQ+Redis  Redis+MongoDB",
        "chord of ten  ··     ··        ··              ·✓",
        "custom queue  ··     ··        ··              ··",
        "echo bool     ✗✓     ··        ·✓              ··",
        "scenarios: 3 passed, 1 failed, 1 not available",
        "  not available: 1 × no RabbitMQ",
        "  not available: directions with Go, since GEARMESH_PEER names no Go program",
    ]


def test_without_scenarios_there_is_no_matrix() -> None:
    assert matrix([("tests/unit/test_urls.py::test_a", "passed", "")]) == []
