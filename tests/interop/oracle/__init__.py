"""An oracle: a small Go program, standard library only, that reads and writes Machinery's documents.

``main.go`` has structs that are written from docs/reference/protocol.md, so what Go's ``encoding/json`` does with them
is the truth about bytes. ``process`` builds and runs it, ``documents`` makes inputs from a seed, and ``fuzz`` gives the
same inputs to both languages and compares. ``python -m tests.interop.oracle --cases 2000000`` (``tox -e fuzz``) is the
long form.
"""
