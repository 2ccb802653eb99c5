"""The backend contract for DynamoDB, on Amazon's own emulator, and what is DynamoDB's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.dynamodb_tables import Tables

from gearmesh.backends.registry import open_backend as open_url
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract


class TestDynamoDBBackend(BackendContract):
    lacks = frozenset({"announcements"})
    large = 1_000
    each = 4
    largest = 390_000

    @pytest.fixture
    def open_backend(self, dynamodb: Tables) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(
            dynamodb.url, expire=expire, options={"dynamodb": dynamodb.config}
        )
