"""Connections to Redis, and the Lua scripts that its transport and its result backend share.

From the address to the outcome, in the order in which a Commit passes through:

- ``connection_settings``: combines a URL and the settings, and makes connections, pools and clients from them.
- ``connections``: redis-py's connections. They raise a server's condition (a replica, full, loading, busy) as a
  connection error, so every caller repeats after it as after an outage.
- ``sentinels``: asks sentinels where the master is.
- ``cluster``: a client that sends each command to the node that has its key.
- ``wrong_type``: names the key when Redis complains of its type.
- ``kept_clients``: lends clients that each own one connection, for calls whose answer a thread waits for.
- ``runner``: runs a script of ``lua/`` by its SHA-1, and loads it where the server does not know it.
- ``plain_commits``: carries out the ordinary Commits (calls of tasks, and tasks that have succeeded) by
  ``lua/call.lua``, ``lua/publish.lua`` and ``lua/settle.lua``, which cost the server much less than ``commit.lua``.
- ``state_text``: cuts a state's document into the texts that the scripts put together.
- ``chunks``: divides many entries into calls of bounded size.
- ``commit_script``: packs all other Commits for ``lua/commit.lua`` and reads the outcomes.
- ``cluster_commits``: does the same in a cluster, where messages to other slots go through an outbox.
- ``scanning``: walks through the keys one SCAN at a time.
- ``replicas``: waits until enough replicas have the writes.

Begin with the header of ``lua/commit.lua``: it describes the payload, the codes that it answers, and why it is a
script. ``commit_script.Packed`` points there from Python's side.

The package must never

- repeat a command by itself: a fetch that is repeated under the same numbers overwrites the deliveries of the first;
- let a script fail in the middle: each checks the types of its keys before it writes;
- parse the JSON of states with Lua's cjson, which turns ``[]`` into ``{}`` and damages large integers;
- use a key that ``wire/names.py`` does not name.
"""
