"""Translates a function's annotations to Machinery's Go types, and values between Python and the wire.

- ``annotations``: reads a function, or types by name, into a declaration.
- ``declaration``: the parameters and results of a task; dumps the arguments of a call and loads those of a signature.
- ``value_codec``: one annotation: its Go type, and the conversion of its values in both directions.

Begin with ``annotations.of_function``. An argument that Go could not read, or would change silently, must be refused
here, before anything is sent.
"""
