"""``https://dynamodb…``: states in DynamoDB, in Machinery's two tables.

The parts, in the order in which a state passes through them:

``backend``
    :class:`DynamoDBBackend`, the methods that every backend has.
``items``
    States and groups as items, as Go and gearmesh write them; ``values`` has results as attribute values. Each of them
    reads what Go has written.
``requests``
    Many items in few requests: batches of 25 and of 100, several requests at a time, and once more the items that
    DynamoDB left unprocessed. ``changes`` has the writes that must not replace a result.
``connection``
    One process's client of boto3, its threads, and which errors mean that a call is to be repeated.
``tables``
    The two tables: checking them, making them, and the command lines that would make them.
``keep_alive``
    Lets the states of a chord live for as long as the chord takes.
``revocations`` and ``side_items``
    Revoked tasks, progress reports and claims: items of the table of states whose keys Go never asks for.

Begin reading with ``items``, then ``backend``.

This package must never:

- write an item that Go does not read where another form exists that it does;
- write RECEIVED, STARTED or a chord trigger without a condition: DynamoDB decides between two writers, no clock does;
- scan a table, but for a person who looks for something: a scan is paid by what it reads;
- import boto3 for a URL of another backend.
"""

from gearmesh.backends.dynamodb.backend import DynamoDBBackend

__all__ = ["DynamoDBBackend"]
