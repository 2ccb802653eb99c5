"""Say in words what captured bytes of Machinery are: messages, states, group metas, queue dumps, log lines.

``gearmesh explain`` prints these texts. They tell what a document is, which workflow it belongs to and where that
stands, what Go does with it, what Python does, and what is wrong with it, by the byte.

The parts, in the order in which captured bytes pass through them:

``capture``
    cuts the input into documents: one JSON text, a dump of a queue, lines of redis-cli or MONITOR, lines of a log.
``envelopes``
    takes a document out of what other programs put around it: kombu, RabbitMQ's management page, SQS, Pub/Sub,
    DynamoDB's and MongoDB's notations, base64, our own ``--json``.
``spans``
    reads JSON text into nodes that know their bytes, so that a finding can name them.
``findings``
    a :class:`~.findings.Finding` is one fault or oddity, with its bytes; it is printed with the text around them.
``fields``
    compares a document with Go's struct, field by field: wrong types, unknown, repeated and missing fields.
``values``
    reads arguments and results as Go does, and says where Python reads them otherwise.
``signatures``, ``states``
    say what a message, a task state and a group meta are, and find what their fields do not allow.
``aftermath``
    says what becomes of a Go worker that refuses a message, or panics.
``tree``
    draws what follows a message: chains, chords, error callbacks.
``log_lines``
    knows the lines that a Machinery worker logs.
``text``
    puts it all together; :func:`~.text.explain` is the entrance. ``story`` does so for a UUID, from what a broker
    and a result backend have.

Begin with ``text``, then ``signatures``. What Go does is said here only if a recording, docs/reference/protocol.md or a
run of Machinery shows it. Nothing here connects to a server, reads a clock or changes anything;
``cli/explain.py`` does the looking up.
"""
