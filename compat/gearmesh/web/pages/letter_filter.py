"""The conditions by which the page of dead letters shows, retries and deletes dead letters of a queue."""

from __future__ import annotations

from typing import NamedTuple

from gearmesh.inspection.times import ns_of_unix
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.web.forms import Fields
from gearmesh.web.masking import Masker
from gearmesh.web.messages import MAX_ARGUMENT_CHARS, message_row
from gearmesh.web.pages.ages import age_of, fits_age

__all__ = ["LetterFilter"]


class LetterFilter(NamedTuple):
    """Chooses dead letters by the values that a page shows; an empty condition fits all. Hidden values fit none.

    Attributes:
        reason: a part of the reason.
        task: a part of the task's name.
        text: a part of the arguments, or a whole UUID.
        age: the time at which it was last dead-lettered, a choice of :data:`~.ages.AGE_TEXTS`.
    """

    reason: str = ""
    task: str = ""
    text: str = ""
    age: str = ""

    @classmethod
    def of(cls, fields: Fields) -> LetterFilter:
        """Read the conditions from a query or a form."""
        return cls(fields.text("reason"), fields.text("task"), fields.text("text"), age_of(fields))

    def fits(self, letter: DeadLetter, masker: Masker) -> bool:
        """True if a dead letter meets all conditions."""
        if self.reason and self.reason.lower() not in masker.text(letter.reason).lower():
            return False
        if not fits_age(self.age, ns_of_unix(letter.last)):
            return False
        if not self.task and not self.text:
            return True
        row = message_row(letter.body, masker, MAX_ARGUMENT_CHARS)
        return (not self.task or self.task.lower() in row.task.lower()) and (
            not self.text or self.text.lower() in row.arguments.lower() or self.text == row.uuid
        )

    def words(self) -> list[tuple[str, str]]:
        """The conditions in words, each with its value; without the age."""
        found = (
            ("the reason contains", self.reason),
            ("the task's name contains", self.task),
            ("the arguments contain, or the UUID is", self.text),
        )
        return [(what, value) for what, value in found if value]
