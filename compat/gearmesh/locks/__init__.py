"""Lets only one of several schedulers, Go's among them, send each firing of a periodic task.

A lock has the methods of :class:`gearmesh.interfaces.lock.Lock`. A scheduler makes a
:class:`~gearmesh.interfaces.lock.Claim` for each firing that is due and sends the task if the lock gives it the right.

The parts, in the order in which a claim passes through them:

``registry``
    Makes a lock from its URL, and refuses a lock that a Go program could not share. A package of yours adds a scheme
    here by an entry point in the group ``gearmesh.locks``.
``memory``
    For schedulers inside this process: ``memory://NAME``, ``eager``, and apps without a lock.
``redis``
    For schedulers of several machines, under the key that Machinery's schedulers use.

Begin with :meth:`.memory.MemoryLock.take`, which shows the rules; ``redis_client/lua/lock.lua`` has the same rules.

A lock must never:

- give two holders the right to one firing, or refuse it to the holder that asks again after a lost reply;
- compare the clocks of two schedulers: a claim carries the moments of its own firing, and these are compared;
- leave a key without an expiry in a server.
"""
