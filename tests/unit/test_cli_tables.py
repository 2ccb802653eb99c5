"""Tables on terminals of several widths and in a pipe; times for people and for scripts."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from gearmesh.cli.tables import Cell, Column, Table, shown
from gearmesh.inspection.times import age, exact, ns_of, ns_of_unix
from gearmesh.units import counted

FIRST, SECOND = "task_3c9e3a7d-1e09-43cc-8cc1-e8dae1096fe6", "task_04bfe5e9-4708-4273-bd8b-bdfbb91faa53"
LONG = 'int64:1, string:"a picture of a mountain with snow on it"'
NOW = 1_764_363_924 * 10**9


def table(*, wide: bool = False) -> Table:
    found = Table(
        [
            Column("uuid", identifier=True),
            Column("task", least=8),
            Column("retries", right=True, drop=1),
            Column("created", drop=2),
            Column("arguments", least=16),
        ],
        wide=wide,
    )
    found.add(FIRST, "resize", "3", Cell("3 min ago", "2025-11-28T21:02:24Z"), LONG)
    found.add(SECOND, "thumbnail", "0", Cell("now", "2025-11-28T21:05:24Z"), "")
    return found


def lines(width: int | None, *, wide: bool = False, blocks: bool = False) -> list[str]:
    return [line.plain for line in table(wide=wide).render(width, blocks=blocks)[0]]


def test_a_terminal_with_room_shows_everything() -> None:
    assert lines(140) == [
        "uuid                                       task       retries  created    arguments",
        f"{FIRST}  resize           3  3 min ago  {LONG}",
        f"{SECOND}  thumbnail        0  now",
    ]
    assert not table().render(140)[1]


def test_at_80_columns_ids_are_short_and_free_text_is_cut() -> None:
    assert lines(80) == [
        "uuid           task       retries  created    arguments",
        'task_3c9e3a7d  resize           3  3 min ago  int64:1, string:"a picture of a m…',
        "task_04bfe5e9  thumbnail        0  now",
    ]
    assert table().render(80)[1], "something was cut"


def test_columns_are_left_out_before_rows_become_blocks() -> None:
    assert lines(48) == [
        "uuid           task       arguments",
        'task_3c9e3a7d  resize     int64:1, string:"a pi…',
        "task_04bfe5e9  thumbnail",
    ]
    assert lines(30) == [
        "uuid       task_3c9e3a7d-1e09-",
        "           43cc-8cc1-e8dae1096",
        "           fe6",
        "task       resize",
        "retries    3",
        "created    3 min ago",
        "           (2025-11-28T21:02:2",
        "           4Z)",
        'arguments  int64:1, string:"a',
        "           picture of a",
        "           mountain with snow",
        '           on it"',
        "",
        "uuid       task_04bfe5e9-4708-",
        "           4273-bd8b-bdfbb91fa",
        "           a53",
        "task       thumbnail",
        "retries    0",
        "created    now",
        "           (2025-11-28T21:05:2",
        "           4Z)",
    ]


@pytest.mark.parametrize("width", [20, 30, 37, 48, 60, 80, 100, 140])
@pytest.mark.parametrize("blocks", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, blocks: bool) -> None:
    assert max(map(cell_len, lines(width, blocks=blocks))) <= width


def test_a_row_is_one_line_of_as_many_words_in_a_pipe() -> None:
    head, first, second = lines(None)
    assert second.split() == [SECOND, "thumbnail", "0", "2025-11-28T21:05:24Z", "-"]
    assert first.split()[:4] == [FIRST, "resize", "3", "2025-11-28T21:02:24Z"]
    assert first.endswith(LONG)
    assert head.split() == ["uuid", "task", "retries", "created", "arguments"]
    assert not any(line.endswith(" ") for line in (head, first, second))


def test_wide_shows_whole_values_on_any_terminal() -> None:
    assert lines(20, wide=True) == [line.removesuffix("  -") for line in lines(None)]


def test_ids_are_as_long_as_they_must_be_to_differ() -> None:
    found = Table([Column("uuid", identifier=True), Column("task", least=8)])
    for end in ("a1", "a2", "b1"):
        found.add(f"task_3c9e3a7d-{end}", "a name that is much too long")
    assert [line.plain.split()[0] for line in found.render(30)[0][1:]] == [
        "task_3c9e3a7d-a1",
        "task_3c9e3a7d-a2",
        "task_3c9e3a7d-b1",
    ]


def test_several_lines_in_a_cell() -> None:
    found = Table([Column("name"), Column("next", lines=True), Column("n", right=True)])
    found.add("a", Cell("one\ntwo", "one, two"), "1")
    assert [line.plain for line in found.render(40)[0]] == ["name  next  n", "a     one   1", "      two"]
    assert found.render(None)[0][1].plain.split(maxsplit=1)[1].startswith("one, two")


def test_wide_characters_count_double() -> None:
    found = Table([Column("task", least=6), Column("n")])
    found.add("画像のリサイズ", "1")
    (row,) = (line.plain for line in found.render(11)[0][1:])
    assert row == "画像の…   1", "two columns a character, and a gap of two"
    assert cell_len(row) <= 11


def test_data_cannot_steer_the_terminal() -> None:
    assert shown("a\x1b[31mb\r\nc\u202ed\ud800") == "a\\x1b[31mb\\r\\nc\\u202ed\\ud800"
    assert shown("a\nb\tc", lines=True) == "a\nb\\tc"
    assert shown("é 画 👍") == "é 画 👍"


@pytest.mark.parametrize(
    ("seconds", "people", "scripts"),
    [
        (0.2, "now", "2025-11-28T21:05:24Z"),
        (3, "in 3 s", "2025-11-28T21:05:27Z"),
        (-90.9, "90 s ago", "2025-11-28T21:03:53Z"),
        (-180, "3 min ago", "2025-11-28T21:02:24Z"),
        (7200, "in 2 h", "2025-11-28T23:05:24Z"),
        (-86_400 * 3, "3 d ago", "2025-11-25T21:05:24Z"),
        (86_400 * 800, "in 2 y", "2028-02-06T21:05:24Z"),
        (1e13, "in 317097 y", "after the year 9999"),
        (-1e13, "317097 y ago", "before the year 0"),
    ],
)
def test_times(seconds: float, people: str, scripts: str) -> None:
    moment = NOW + ns_of_unix(seconds)
    assert (age(moment, NOW), exact(moment)) == (people, scripts)


def test_times_of_others() -> None:
    assert ns_of("2025-11-28T21:05:24.207600344Z") == NOW + 207_600_344
    assert ns_of("0001-01-01T00:00:00Z") is None
    assert ns_of("yesterday") is None
    assert exact(ns_of_unix(float("inf"))) == "after the year 9999"


def test_plurals() -> None:
    assert [counted(n, "message") for n in (0, 1, 2000)] == ["0 messages", "1 message", "2,000 messages"]
    assert counted(2, "query", "queries") == "2 queries"
