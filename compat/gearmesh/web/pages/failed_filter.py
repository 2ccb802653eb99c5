"""The conditions by which the page of failed tasks searches tasks and retries them."""

from __future__ import annotations

from typing import NamedTuple

from gearmesh.inspection.times import ns_of
from gearmesh.results.failures import FailureDetails
from gearmesh.web.forms import Fields
from gearmesh.web.masking import Masker
from gearmesh.web.messages import MAX_ARGUMENT_CHARS, message_row
from gearmesh.web.pages.ages import age_of, fits_age
from gearmesh.web.state_walk import reason_of
from gearmesh.wire.state import FAILURE, TaskState

__all__ = ["FailedFilter"]


class FailedFilter(NamedTuple):
    """Chooses tasks by their states, and failed tasks by the messages that their workers kept.

    Hidden values never fit a condition.

    Attributes:
        state: the state, ``FAILURE`` unless another one is chosen.
        task: a part of the task's name.
        text: a part of the error, or a whole UUID.
        args: a part of the arguments, of failed tasks only.
        reason: the whole reason, as the page groups failures.
        age: the time at which the task was sent, a choice of :data:`~.ages.AGE_TEXTS`.
    """

    state: str = FAILURE
    task: str = ""
    text: str = ""
    args: str = ""
    reason: str = ""
    age: str = ""

    @classmethod
    def of(cls, fields: Fields) -> FailedFilter:
        """Read the conditions from a query or a form."""
        return cls(
            fields.text("state") or FAILURE,
            fields.text("task"),
            fields.text("text"),
            fields.text("args"),
            fields.text("reason"),
            age_of(fields),
        )

    def fits(self, state: TaskState, masker: Masker) -> bool:
        """True if a state meets all conditions except the one on arguments."""
        return (
            state.State == self.state
            and fits_age(self.age, ns_of(state.CreatedAt))
            and (not self.task or self.task.lower() in state.TaskName.lower())
            and (not self.reason or masker.text(reason_of(state.Error)) == self.reason)
            and (
                not self.text
                or self.text.lower() in masker.text(state.Error).lower()
                or self.text == state.TaskUUID
            )
        )

    def fits_message(self, details: FailureDetails | None, masker: Masker) -> bool:
        """True if the message that a worker kept meets the condition on arguments."""
        if not self.args:
            return True
        if details is None or not details.message:
            return False
        row = message_row(details.message.encode(), masker, MAX_ARGUMENT_CHARS)
        return self.args.lower() in row.arguments.lower()
