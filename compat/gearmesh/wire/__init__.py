"""The bytes of Machinery's protocol and their meaning: signatures, states, Go's types, names in servers.

The package is pure: it does no I/O, reads no clock and makes no random value; its callers pass in times and ids. A
value that we are about to send and that Go could not read raises LocalProtocolError; a document that came in and that
Go could not read raises RemoteProtocolError.

The parts, in the order in which a message passes through them:

- ``codec``: bytes to frozen values and back. Ordinary documents go through msgspec; a document that Go accepts and
  msgspec would read otherwise goes through ``gojson``, which reads JSON exactly as Go's ``encoding/json`` does.
- ``signature``, ``state``: the values, namely ``Signature``, ``Arg``, ``TaskState``, ``GroupMeta``, ``TaskResult``.
  Values of arguments stay raw JSON until their Go type is known.
- ``typenames``, ``types``: the Go types that Machinery knows, and how Python values travel as each of them.
  ``loading`` and ``dumping`` are the two directions.
- ``workflow``: the signatures that follow an outcome. ``retry`` and ``expiry``: when a task is tried again or given up.
- ``template``: a task's signature encoded once, with gaps for the UUID and the argument values.
- ``releases``: what older releases of Machinery cannot take.
- ``gotime``: times as Go writes and reads them, in nanoseconds. ``deep``: documents nested too deep for the stack.
- ``names``: every key, queue, channel and header that gearmesh or Machinery has in a server. They never change, since
  servers hold data under them (tests/unit/test_server_side_names.py freezes them).

Begin with ``signature`` and ``codec``. The rules come from recordings of a running Machinery (tests/golden); a
comment that begins ``Go:`` marks a quirk that is kept on purpose.
"""
