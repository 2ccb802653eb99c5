"""Oracles: small Go programs that read and write Machinery's documents.

``main.go``, standard library only, has structs that are written from docs/reference/protocol.md, so the bytes that Go's
``encoding/json`` reads and writes are the reference. ``stores`` does the same for MongoDB's documents, with MongoDB's
driver for Go, and for DynamoDB's items. ``items`` reads DynamoDB's items with attributes of any type, with the AWS SDK.
``cron`` asks robfig/cron when a spec is due. All share ``frames`` and ``protocol``.

``process`` builds and runs them; ``documents``, ``stored``, ``made_items`` and ``specs`` make inputs from a seed; and
``fuzz`` gives the same inputs to both languages and compares. ``tox -e fuzz`` is the long form, with 2,000,000 cases.
"""
