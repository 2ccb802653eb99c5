"""Result backends, which keep task states and group metas.

A backend has the methods of :class:`gearmesh.interfaces.backend.Backend`. Any backend goes with any broker; a broker's
channel may enlist a backend on the same server, and then writes states in the step that settles a delivery.

The parts, in the order in which a state passes through them:

``registry``
    Makes a backend from its URL. Other packages add schemes by entry points in the group ``gearmesh.backends``.
``null``, ``memory``, ``redis`` (and ``redis_cluster``), ``mongodb``, ``dynamodb``, ``memcache``, ``amqp``
    One module or package for each kind of store. ``null`` keeps nothing; ``memory`` keeps states in this process, in a
    ``store`` that all backends of one name share.
``documents``
    Reads the states and groups that a store keeps as Go's JSON texts.
``write_order``
    Puts the records beside a task's state before that state, for stores that keep no order within a request.
``listener``
    One subscription of a process to the announcements of a server, for any number of watches.
``announcer``
    Tells the watches of this process which tasks have ended. Each watch has its own thread.

Begin reading with ``null`` for the methods, then with ``memory`` for the rules, which hold for every backend.

A backend must never:

- let RECEIVED or STARTED replace a final state, or let two members trigger one chord;
- keep a state in a form that Machinery's backend of the same kind does not read;
- hide a server that cannot be reached: it raises one of its ``connection_errors``, and the caller repeats;
- read all members of a group whenever one of them ends.
"""
