"""The bytes of Machinery's protocol and their meaning: signatures, states, Go's types, names in servers.

The package is pure: it does no I/O, reads no clock and makes no random value; its callers pass in times and ids. Its
functions raise LocalProtocolError for a value that Go could not read if gearmesh sent it, and RemoteProtocolError for a
received document that Go could not read.

The parts, in the order in which a message passes through them:

- ``codec``: turns bytes into frozen values and back. msgspec reads ordinary documents. ``gojson`` reads the documents
  that Go accepts and msgspec would read otherwise: it reads JSON exactly as Go's ``encoding/json`` does.
- ``signature``, ``state``: the values, namely ``Signature``, ``Arg``, ``TaskState``, ``GroupMeta``, ``TaskResult``.
  Values of arguments stay raw JSON until their Go type is known.
- ``typenames``, ``types``: the Go types that Machinery knows, and how Python values travel as each of them.
  ``loading`` and ``dumping`` are the two directions.
- ``workflow``: the signatures to send after an outcome. ``retry``: the delay before a retry. ``expiry``: the time after
  which a worker does not start a task.
- ``template``: a task's signature encoded once, with gaps for the UUID and the argument values.
- ``releases``: refuses values that older releases of Machinery cannot take.
- ``gotime``: times as Go writes and reads them, in nanoseconds. ``deep``: documents nested too deep for the stack.
- ``names``: every key, queue, channel and header that gearmesh or Machinery has in a server. They never change, since
  servers hold data under them (tests/unit/test_server_side_names.py freezes them).

Begin with ``signature`` and ``codec``. The rules come from recordings of a running Machinery (tests/golden); a
comment that begins ``Go:`` marks a quirk that is kept on purpose.
"""
