"""Writes typed stubs, so that one language's compiler checks the calls of the other's tasks.

``gearmesh stubs go`` writes Go code for the tasks of a Python app, and ``gearmesh stubs python`` writes typed remotes
for the tasks of a Go program. The parts, in the order in which a task passes through them:

``manifest``
    reads tasks from an app, or from the JSON that ``gearmesh tasks --json`` prints. A :class:`~.manifest.TaskSpec` is a
    task as both languages know it: a name, Go types, a queue.
``go_scan``
    makes a manifest from the ``RegisterTask`` calls of a Go program, with Go's own parser (``scan/main.go``).
``names``
    makes identifiers of both languages from names of tasks and parameters.
``go_code``
    writes Go: a struct of arguments, a constructor and a reader of results for each task. ``go_runtime`` has the code
    that they share, either with Machinery's types or with types of its own, which need the standard library only.
``python_code``
    writes Python: for each task a function with the task's types, and a class that makes them remote tasks of an app.
``drift``
    compares the generated code with a file that was written before (``--check``).

Begin with ``manifest``. The same tasks always give the same text, and the order of registration does not matter: users
check the text in, and a difference means that a task has changed. Nothing here sends or runs a task.
"""
