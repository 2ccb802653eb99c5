"""Runs the Python version of a task that Go still serves, on copies of real calls, and compares the outcomes.

The parts, in the order in which a call passes through them:

- ``copies``: a hook in the producer. It copies a sample of the calls to a queue of their own, in a thread, so that the
  producer does not wait.
- ``trial``: runs the Python version of one copy. Meanwhile the app uses a broker inside the process, so all messages,
  results and reports of the task end there.
- ``comparison``: compares the outcome with the state that the Go worker stores.
- ``report``: the counts, the first differences, and whether the task is ready to be switched.
- ``run``: consumes copies until there are enough of them.
- ``cutover``: the steps by which a task moves to Python, and those by which it goes back.

Begin with ``run``. Nothing here may write a state, settle or publish a message of the deployment, other than the copies
in their own queue. The model is GitHub's scientist, which runs both versions in one process.
"""

from __future__ import annotations

from gearmesh.shadow.copies import SHADOW_QUEUE, ShadowCopies, copy_calls

__all__ = ["SHADOW_QUEUE", "ShadowCopies", "copy_calls"]
