"""Go's encoding/json in Python: slow, exact, and without recursion.

``read`` bytes to a tree, ``write`` a tree to bytes, ``canonical`` the two together, ``decode``
a tree into signatures and states. What is ordinary never comes here, see :mod:`..codec`.
"""
