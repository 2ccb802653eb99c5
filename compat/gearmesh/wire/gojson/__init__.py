"""Go's encoding/json in Python: slow, exact, and without recursion.

``read`` turns bytes into a tree, ``write`` a tree into bytes; ``canonical`` does both, and ``decode`` turns a tree into
signatures and states by their ``shape``. Ordinary documents never come here, see :mod:`gearmesh.wire.codec`.

Begin with ``read``. A document nested deeper than Python's stack must be read all the same.
"""
