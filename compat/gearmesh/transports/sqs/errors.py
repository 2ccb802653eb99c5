"""The two kinds of errors that a request to SQS can end with."""

from __future__ import annotations

from typing import Any, Final

from gearmesh.errors import GearmeshError

__all__ = ["QueueMissing", "SQSRefused", "SQSUnavailable", "error_of"]

#: Codes of errors that go away without an operator, though their status is 400 or 403.
_PASSING: Final = (
    "RequestThrottled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "KmsThrottled",
    "OverLimit",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "RequestTimeout",
)
_MISSING: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class SQSUnavailable(ConnectionError):
    """SQS did not answer, or is too busy. The same request may succeed later."""


class SQSRefused(GearmeshError):
    """SQS refuses a request, for example because a permission is missing, and would refuse it again.

    Attributes:
        code: SQS's code of the error; ``""``: it has none.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    @property
    def denied(self) -> bool:
        """True if a permission is missing."""
        return "AccessDenied" in self.code or "NotAuthorized" in self.code


class QueueMissing(SQSRefused):
    """SQS has no queue of this name."""


def error_of(action: str, exc: Exception) -> Exception:
    """Convert an error of boto3 to SQSUnavailable, SQSRefused or QueueMissing.

    Args:
        action: the request, by the name of its permission, such as ``sqs:SendMessage``.
        exc: botocore's ClientError, or another error of botocore.
    """
    response: Any = getattr(exc, "response", None)
    if not isinstance(response, dict):
        kind = type(exc).__name__
        if "Credentials" in kind or kind in ("NoRegionError", "ProfileNotFound", "TokenRetrievalError"):
            return SQSRefused(f"{action} was not sent: {exc}", kind)
        return SQSUnavailable(f"{action}: {exc}")
    error = response.get("Error") or {}
    code = str(error.get("Code") or "")
    status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 500
    text = f"{action}: {error.get('Message') or exc} ({code})"
    if code in _MISSING or code.endswith("NonExistentQueue"):
        return QueueMissing(text, code)
    if status >= 500 or status == 429 or code in _PASSING:
        return SQSUnavailable(text)
    return SQSRefused(text, code)
