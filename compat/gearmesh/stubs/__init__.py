"""Writes typed stubs, so that one language's compiler checks the calls of the other's tasks.

``gearmesh stubs go`` writes Go code for a Python app's tasks, ``gearmesh stubs python`` typed remotes for Go's. The
parts, in the order in which a task passes through them:

``manifest``
    A :class:`~.manifest.TaskSpec` is a task as both languages know it: a name, Go types, a queue. It is read from an
    app, or from the JSON that ``gearmesh tasks --json`` prints.
``go_scan``
    has Go read the ``RegisterTask`` calls of a Go program with its own parser (``scan/main.go``), as a manifest.
``names``
    makes identifiers of both languages from names of tasks and parameters.
``go_code``
    writes Go: a struct of arguments, a constructor and a reader of results for each task. ``go_runtime`` has what they
    share, either with Machinery's types or with types of its own, which need the standard library only.
``python_code``
    writes Python: a function that has a task's types for each, and a class that makes them remote tasks of an app.
``drift``
    compares what is written now with a file that was written before (``--check``).

Begin with ``manifest``. The same tasks always give the same text, whatever the order in which they were registered:
the text is checked in, and a difference means that a task has changed. Nothing here sends or runs a task.
"""
