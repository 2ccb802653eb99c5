"""Reads the contents of brokers and backends, for the command line and the dashboard.

The command line prints them, and the dashboard draws them. The parts, from the server to the words:

- ``broker``: opens a channel to an app's broker, and knows the queues of its tasks.
- ``messages``: takes a message apart for people and for scripts.
- ``message_search``: finds a task's message by its UUID, with bounded work.
- ``dead_letters``: walks through a queue's dead letters in parts, and makes the states of those that run again PENDING.
- ``consumers``: describes a consumer by its heartbeats.
- ``times``: writes times for people and for scripts.

Begin with ``broker``. Nothing here may print, ask a question, know a terminal or a browser, or change a server without
a name that says so.
"""
