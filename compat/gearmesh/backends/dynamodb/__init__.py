"""``https://dynamodb…``: states in DynamoDB, in Machinery's two tables.

The parts, in the order in which a state passes through them:

``backend``
    :class:`DynamoDBBackend`, the methods that every backend has.
``items``
    States and groups as items, as Go and gearmesh write them; ``values`` has results as attribute values. Both also
    read Go's forms.
``requests``
    Reads and writes many items in few requests: in batches of 25 and of 100, with several requests at a time. It
    repeats the items that DynamoDB left unprocessed. ``changes`` has the writes that must not replace a result.
``connection``
    One process's client of boto3, its threads, and the errors after which a caller repeats a call.
``tables``
    Checks and makes the two tables, and shows the command lines that would make them.
``keep_alive``
    Lets the states of a chord live for as long as the chord takes.
``revocations`` and ``side_items``
    Revoked tasks, progress reports and claims: items in the table of states under keys that Go never reads.

Begin reading with ``items``, then ``backend``.

This package must never:

- write an item in a form that Go cannot read, if there is another form that it can;
- write RECEIVED, STARTED or a chord trigger without a condition: DynamoDB decides between two writers, no clock does;
- scan a table, except for a person who searches in it: AWS charges a scan by the items that it reads;
- import boto3 for a URL of another backend.
"""

from gearmesh.backends.dynamodb.backend import DynamoDBBackend

__all__ = ["DynamoDBBackend"]
