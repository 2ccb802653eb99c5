"""The matrix of scenarios that CI prints: broker and results × scenario × direction."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

__all__ = ["matrix"]

_TEST = re.compile(
    r"tests/interop/(?P<module>test_\w+)\.py::test_scenario\[(?:(?P<place>\w+)-)?"
    r"client-(?P<client>go|python)-worker-(?P<worker>go|python)-(?:(?P<backend>amqp|redis)-)?(?P<scenario>.+)\]"
)
#: Columns: broker, and where results are.
_PLACES = {
    ("test_scenarios", None): "Redis",
    ("test_redis_topologies", "cluster"): "cluster",
    ("test_redis_topologies", "sentinel"): "sentinels",
    ("test_redis_topologies", "tls"): "TLS",
    ("test_redis_topologies", "socket"): "socket",
    ("test_redis_topologies", "user"): "ACL user",
    ("test_amqp", "amqp"): "RabbitMQ",
    ("test_amqp", "redis"): "RabbitMQ+Redis",
    ("test_stores", "memcache"): "Redis+Memcache",
    ("test_stores", "mongodb"): "Redis+MongoDB",
    ("test_cloud_sqs", None): "SQS",
    ("test_cloud_pubsub", None): "Pub/Sub",
    ("test_cloud_dynamodb", None): "Redis+DynamoDB",
}
_DIRECTIONS = (("go", "go"), ("go", "python"), ("python", "go"), ("python", "python"))
_MARKS = {"passed": "✓", "failed": "✗", "error": "✗"}
_NOT_AVAILABLE = "·"


def matrix(reports: Iterable[tuple[str, str, str]]) -> list[str]:
    """The lines of the matrix.

    Args:
        reports: node id, outcome (passed, failed, error, skipped) and reason of each test; others are passed over.
    """
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
    reasons: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    for node, outcome, reason in reports:
        found = _TEST.fullmatch(node)
        place = found and _PLACES.get((found["module"], found["place"] or found["backend"]))
        if not found or not place:
            continue
        counts[outcome] += 1
        if outcome == "skipped":
            reasons[reason] += 1
        cells[found["scenario"].replace("_", " "), place][found["client"], found["worker"]] = outcome
    if not cells:
        return []
    places = [place for place in _PLACES.values() if any(at == place for _, at in cells)]
    ways = [way for way in _DIRECTIONS if any(way in cell for cell in cells.values())]
    scenarios = sorted({scenario for scenario, _ in cells})
    lines = [
        f"scenarios: {len(scenarios)} in {len(places)} places; in each cell: "
        + ", ".join(f"{client}→{worker}" for client, worker in ways)
        + "; ✓ passed, ✗ failed, · not available",
        *_table(scenarios, places, ways, cells),
        f"scenarios: {counts['passed']} passed, {counts['failed'] + counts['error']} failed, "
        f"{counts['skipped']} not available",
    ]
    lines += [f"  not available: {count} × {reason}" for reason, count in sorted(reasons.items())]
    if len(ways) < len(_DIRECTIONS):
        lines.append("  not available: directions with Go, since GEARMESH_PEER names no Go program")
    return lines


def _table(
    scenarios: Sequence[str],
    places: Sequence[str],
    ways: Sequence[tuple[str, str]],
    cells: dict[tuple[str, str], dict[tuple[str, str], str]],
) -> list[str]:
    width = max(map(len, scenarios))
    widths = [max(len(place), len(ways)) for place in places]
    header = " " * width + "".join(f"  {place:{size}}" for place, size in zip(places, widths, strict=True))
    rows = [header.rstrip()]
    for scenario in scenarios:
        row = f"{scenario:{width}}"
        for place, size in zip(places, widths, strict=True):
            cell = cells.get((scenario, place), {})
            marks = "".join(_MARKS.get(cell.get(way, ""), _NOT_AVAILABLE) for way in ways)
            row += f"  {marks:{size}}"
        rows.append(row.rstrip())
    return rows
