"""The death of a process counts in full only against a message that ran alone and surely brought it down."""

from __future__ import annotations

import pytest

from gearmesh.transports.crash_counts import crash_count_after


@pytest.mark.parametrize(
    ("count", "lost_before", "alone", "certain", "after"),
    [
        (None, False, False, True, 0),
        (None, False, True, True, 1),
        (None, False, True, False, None),
        (None, True, True, False, 0.25),
        (1, False, True, True, 2),
        (1, False, False, True, 1),
    ],
)
def test_a_crash_counts_in_full_only_for_a_message_that_ran_alone(
    count: float | None, lost_before: bool, alone: bool, certain: bool, after: float | None
) -> None:
    assert crash_count_after(count, lost_before=lost_before, alone=alone, certain=certain) == after
