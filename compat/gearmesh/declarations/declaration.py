"""The parameters and results of a task, which convert the values of a call between Python and the wire."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from gearmesh.declarations.value_codec import ANY, ValueCodec
from gearmesh.errors import LocalProtocolError, RemoteProtocolError, TaskError
from gearmesh.wire import types as wire
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult

__all__ = ["MISSING", "ArgumentUnreadable", "CallMismatch", "Declaration", "Parameter"]

#: The ``default`` of a parameter that has none.
MISSING: Any = inspect.Parameter.empty


class ArgumentUnreadable(RemoteProtocolError):
    """An argument's value does not fit its Type. The task fails without a retry."""


class CallMismatch(TaskError):
    """The arguments are readable but do not fit the function. The task is retried, as after an error of its own."""


class Parameter(msgspec.Struct, frozen=True):
    """One positional parameter; ``default`` is ``inspect.Parameter.empty`` if it has none."""

    name: str
    slot: ValueCodec
    default: Any = MISSING
    named: bool = True


class Declaration(msgspec.Struct, frozen=True):
    """The parameters of a task and its results, with their Go types.

    Attributes:
        name: the task's name, for messages.
        parameters: the positional parameters, in order.
        rest: the parameter ``*args``; None: the task has none.
        results: the slot of each result; None: the results are unknown.
        local: False for a remote task.
        required: the smallest number of arguments; it follows from the parameters.
        exact: the slots of ``parameters``; they follow from the parameters.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    rest: Parameter | None = None
    results: tuple[ValueCodec, ...] | None = None
    local: bool = True
    required: int = 0
    exact: tuple[ValueCodec, ...] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "required", sum(p.default is MISSING for p in self.parameters))
        force_setattr(self, "exact", tuple(p.slot for p in self.parameters))

    # --- a caller's side -----------------------------------------------------------------------

    def dump_args(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        before: Sequence[ValueCodec] = (),
        after: Sequence[ValueCodec] | None = (),
    ) -> tuple[Arg, ...]:
        """Check a caller's arguments, and return them as they go into a signature.

        ``before``: the types of arguments that a worker will put in front (an error's text). ``after``: the types of
        arguments that it will append (the results of the step before); None: their number and types are unknown.

        Raises:
            TaskError: number or names of the arguments are wrong.
            LocalProtocolError: a value does not fit its Go type.
        """
        start = len(before)
        if kwargs:
            args = self._bound(args, kwargs, start)
        if not self.local and after is not None and not after:
            args = self._with_defaults(args, start)
        self._check_count(start + len(args), 0 if after is None else len(after), open_end=after is None)
        if before or after:
            self._check_given([slot.go for slot in before], 0, "the error's text")
            self._check_given([slot.go for slot in after or ()], start + len(args), "the result before it")
        dumped = []
        for i, value in enumerate(args, start):
            parameter = self._at(i)
            try:
                dumped.append(parameter.slot.dump_arg(value))
            except LocalProtocolError as exc:
                # The traceback then ends at the caller's own line. The text already says all that the causes say.
                raise LocalProtocolError(
                    f"task {self.name!r}, argument {_label(parameter, i)}: {exc}"
                ) from None
        return tuple(dumped)

    def dump_values(self, args: Sequence[Any]) -> list[msgspec.Raw] | None:
        """Dump positional arguments as values alone: each has the Go type of its slot in :attr:`exact`.

        None: the number of arguments is another one, or an argument is wrong; call :meth:`dump_args` then.
        """
        exact = self.exact
        if len(args) != len(exact):
            return None
        try:
            return [slot.write(value) for slot, value in zip(exact, args)]  # noqa: B905 - the lengths are the same
        except LocalProtocolError:
            return None

    def check_types(self, types: Sequence[str]) -> None:
        """Check that the task takes arguments of these Go types.

        Raises:
            TaskError: their number is wrong, or one of them is not its parameter's type.
        """
        self._check_count(len(types), 0, open_end=False)
        for i, go in enumerate(types):
            parameter = self._at(i)
            wanted = parameter.slot
            if wanted.go and go not in wanted.accepts:
                raise TaskError(
                    f"task {self.name!r}, argument {_label(parameter, i)}: it is given as {go}, expected {wanted.go}"
                )

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any], start: int) -> list[Any]:
        if not self.local and not any(p.named for p in self.parameters):
            raise TaskError(
                f"task {self.name!r}: keyword arguments {sorted(kwargs)}, but arguments are sent by position, "
                "and the names of a remote task's parameters are not known here"
            )
        bound = list(args)
        places = {p.name: i for i, p in enumerate(self.parameters) if p.named}
        given: dict[int, Any] = {}
        for name, value in kwargs.items():
            place = places.get(name)
            if place is None:
                raise TaskError(
                    f"task {self.name!r} has no parameter {name!r} that can be sent, "
                    f"expected one of {list(places)}"
                )
            if place < start + len(args):
                raise TaskError(f"task {self.name!r}: more than one value for parameter {name!r}")
            given[place] = value
        for place in range(start + len(args), max(given) + 1):
            parameter = self.parameters[place]
            value = given.get(place, parameter.default)
            if value is MISSING:
                raise TaskError(
                    f"task {self.name!r}: no value for parameter {parameter.name!r}, which stands before "
                    f"{self.parameters[max(given)].name!r}: arguments are sent by position, so put those "
                    "that are always given first"
                )
            bound.append(value)
        return bound

    def _with_defaults(self, args: Sequence[Any], start: int) -> Sequence[Any]:
        """Append the defaults of the arguments that were left out: a remote task, above all in Go, may have none."""
        left_out = [p.default for p in self.parameters[start + len(args) :]]
        return args if MISSING in left_out else (*args, *left_out)

    def _check_count(self, sure: int, appended: int, *, open_end: bool) -> None:
        count = sure + appended
        most = None if self.rest is not None else len(self.parameters)
        if most is not None and count > most:
            problem = (
                f"{count} arguments, expected at most {most}"
                if most != self.required
                else f"{count} arguments"
            )
        elif count < self.required and not open_end:
            missing = [repr(p.name) for p in self.parameters[count : self.required]]
            problem = f"{count} argument{'s' * (count != 1)}, no value for {', '.join(missing)}"
        else:
            return
        expected = f"{self.required}" + (f" to {most}" if most else " or more") * (most != self.required)
        grown = f" ({appended} of them results of the step before)" if appended else ""
        hint = _VARIADIC_HINT if appended > 1 and most is not None and count > most else ""
        raise TaskError(f"task {self.name!r} was given {problem}{grown}; it takes {expected}{hint}")

    def _check_given(self, types: Sequence[str], start: int, what: str) -> None:
        """Check Go types against the parameters from index ``start`` on; ``""`` is an unknown type."""
        for i, go in enumerate(types, start):
            parameter = self._at(i)
            wanted = parameter.slot
            if wanted.go and go and go not in wanted.accepts:
                raise TaskError(
                    f"task {self.name!r}, argument {_label(parameter, i)}: {what} is a Go {go}, "
                    f"the parameter a {wanted.go}{_VARIADIC_HINT if wanted.go == f'[]{go}' else ''}"
                )

    def _at(self, i: int) -> Parameter:
        if i < len(self.parameters):
            return self.parameters[i]
        assert self.rest is not None  # the count was checked
        return self.rest

    # --- a worker's side -----------------------------------------------------------------------

    def read_args(self, sig: Signature) -> list[Any]:
        """The arguments of a received signature as Python values.

        Raises:
            ArgumentUnreadable: an argument's value does not fit its Type.
            CallMismatch: the number or the types of the arguments do not fit the function. Both errors have Go's texts.
        """
        args = sig.Args or ()
        if len(args) == len(self.exact):
            values = []
            try:
                for arg, slot in zip(args, self.exact):  # noqa: B905 - the lengths are the same
                    if arg.Type != slot.go:
                        break
                    values.append(slot.read(arg.Value))
                else:
                    return values
            except RemoteProtocolError:
                pass
        return self._read_carefully(args)

    def _read_carefully(self, args: Sequence[Arg]) -> list[Any]:
        slots_here: Sequence[ValueCodec] = self.exact
        values: list[Any] = []
        try:
            if len(args) != len(slots_here):
                slots_here = self._slots_for(len(args))
            for arg, slot in zip(args, slots_here, strict=True):
                accepts = slot.accepts
                if accepts and arg.Type not in accepts:
                    break
                values.append(slot.load(arg.Type, arg.Value))
            else:
                return values
        except RemoteProtocolError as exc:
            self._refuse_unreadable(args)
            # Go could read the value, but its content does not fit the annotation.
            i = len(values)
            where = _label(self._at(i), i).partition(" as ")[0]  # the error names the annotation
            raise ArgumentUnreadable(f"task {self.name!r}, argument {where}: {exc}") from exc
        except CallMismatch:
            self._refuse_unreadable(args)
            raise
        self._refuse_unreadable(args)
        raise self._mismatch(args, slots_here)

    def _slots_for(self, count: int) -> list[ValueCodec]:
        if count < self.required:
            raise CallMismatch("reflect: Call with too few input arguments")
        here = [p.slot for p in self.parameters[:count]]
        if count > len(here):
            if self.rest is None:
                raise CallMismatch("reflect: Call with too many input arguments")
            here += [self.rest.slot] * (count - len(here))
        return here

    def _refuse_unreadable(self, args: Sequence[Arg]) -> None:
        for arg in args:  # Go: every argument is read before the call is tried
            try:
                wire.load(arg.Type, arg.Value)
            except RemoteProtocolError as exc:
                raise ArgumentUnreadable(f"Reflect task args error: {exc}") from exc

    def _mismatch(self, args: Sequence[Arg], slots_here: Sequence[ValueCodec]) -> CallMismatch:
        for i, (arg, slot) in enumerate(zip(args, slots_here, strict=True)):
            if slot.accepts and arg.Type not in slot.accepts:
                got, wanted = _reflected(arg.Type), _reflected(slot.go)
                if i < len(self.parameters):
                    return CallMismatch(f"reflect: Call using {got} as type {wanted}")
                return CallMismatch(f"reflect: cannot use {got} as type {wanted} in Call")
        raise AssertionError("no mismatch")

    def dump_results(self, value: Any) -> tuple[TaskResult, ...]:
        """The returned value as typed results; ``()`` for None.

        Raises:
            LocalProtocolError: the value has no Go type, or does not fit the annotation.
        """
        declared = self.results
        try:
            if declared is None:
                if value is None:
                    return ()
                return tuple(map(ANY.dump_result, value if type(value) is tuple else (value,)))
            if len(declared) == 1:
                return (declared[0].dump_result(value),)
            if not declared and value is None:
                return ()
            if not declared or not isinstance(value, tuple) or len(value) != len(declared):
                expected = f"a tuple of {len(declared)}" if declared else "None, as annotated"
                raise LocalProtocolError(f"{value!r:.80}, expected {expected}")
            return tuple(slot.dump_result(each) for slot, each in zip(declared, value, strict=True))
        except LocalProtocolError as exc:
            raise LocalProtocolError(
                f"task {self.name!r} returned a value that cannot be sent: {exc}"
            ) from exc

    def load_results(self, results: Sequence[TaskResult] | None) -> Any:
        """The value of a stored SUCCESS: None for no result, the value of one result, or a tuple of several.

        Raises:
            RemoteProtocolError: a result's value does not fit its Type.
        """
        found = results or ()
        declared = self.results
        if declared is None or len(declared) != len(found):
            declared = (ANY,) * len(found)
        values = tuple(slot.load(r.Type, r.Value) for slot, r in zip(declared, found, strict=True))
        return values[0] if len(values) == 1 else (values or None)


#: The hint for a chord's body that takes one list, as in Celery.
_VARIADIC_HINT = ". Each result is an argument of its own: declare the task with *args, such as *numbers: int"


def _label(parameter: Parameter, index: int) -> str:
    where = f"{index + 1}" if parameter.name.startswith("#") else f"{index + 1} ({parameter.name!r})"
    return f"{where} as {parameter.slot.shown}" if parameter.slot.shown else where


def _reflected(go: str) -> str:
    return "[]uint8" if go == "[]byte" else go  # Go: reflection's name of it
