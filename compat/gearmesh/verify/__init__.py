"""Shows on a live deployment that Python and the workers, above all those in Go, understand each other.

The parts, in the order in which a run passes through them:

- ``echo``: the echo tasks, in Python. A Go service registers the same ones (docs/howto/verify.md has the code).
- ``binding``: asks RabbitMQ, before anything is declared, if the queue exists, is consumed and is bound.
- ``values``: the values that a run sends, by Go type.
- ``exchange``: sends the signatures of a run, collects their states, and removes every trace of them.
- ``conformance``: the conformance set: for each row the signatures to send and the results that must come back.
- ``report``: the rows with their verdicts, as JSON and as JUnit XML.
- ``run``: makes one run, from the first question to the report.

Begin with ``run``. A run uses a queue of its own. It must never change a message or a state that it has not made, so it
refuses a queue in which messages wait, and it must leave nothing behind.
"""
