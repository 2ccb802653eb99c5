"""Explain captured bytes of Machinery in words: messages, states, group metas, queue dumps, log lines.

``gearmesh explain`` prints these texts. Each text names the kind of a document and its workflow, describes how Go and
Python process the document, and lists the document's faults with the bytes that cause them.

The parts, in the order in which captured bytes pass through them:

``capture``
    cuts the input into documents: one JSON text, a dump of a queue, lines of redis-cli or MONITOR, lines of a log.
``envelopes``
    takes a document out of the envelope that another program put around it: kombu, RabbitMQ's management page, SQS,
    Pub/Sub, DynamoDB's and MongoDB's notations, base64, gearmesh's own ``--json``.
``spans``
    reads JSON text into nodes that know their positions, so that a finding can name its bytes.
``findings``
    a :class:`~.findings.Finding` is one fault or oddity, with its bytes; ``text`` prints it with the text around them.
``fields``
    compares a document with Go's struct, field by field: wrong types, unknown, repeated and missing fields.
``values``
    reads arguments and results as Go does, and says where Python reads them otherwise.
``signatures``, ``states``
    describe a message, a task state and a group meta, and find the faults of their fields.
``aftermath``
    describes how a Go worker goes on after it has refused a message or panicked.
``tree``
    draws the follow-up tasks of a message: chains, chords, error callbacks.
``log_lines``
    knows the lines that a Machinery worker logs.
``text``
    combines all of these; :func:`~.text.explain` is the entry point.
``lookup``, ``story``
    find a UUID in a broker and a result backend, and tell where its messages are and how far its workflow is.

Begin with ``text``, then ``signatures``. These texts make a statement about Go only if a recording,
docs/reference/protocol.md or a run of Machinery shows it. Only ``lookup`` connects to servers. Nothing here changes
anything on a server.
"""
