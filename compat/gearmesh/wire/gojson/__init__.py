"""Go's encoding/json in Python: slow, exact, and without recursion.

``read`` turns bytes into a tree, ``write`` a tree into bytes; ``canonical`` does both, and ``decode`` turns a tree into
signatures and states by their ``shape``. Ordinary documents never come here, see :mod:`gearmesh.wire.codec`.

Begin with ``read``. Nothing here may recurse: Go reads documents that are nested deeper than Python's stack.
"""
