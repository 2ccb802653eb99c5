"""Protocols by which a type checker checks the first arguments of a task.

In a workflow, a user gives ``task.s(…)`` the first arguments, and the step before appends the others. Python's type
system cannot express "the first parameters of". So each number of given arguments has a protocol, which a task matches
by ``delay``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

__all__ = ["Takes1", "Takes2", "Takes3", "Takes4"]

A = TypeVar("A", contravariant=True)
B = TypeVar("B", contravariant=True)
C = TypeVar("C", contravariant=True)
D = TypeVar("D", contravariant=True)


class Takes1(Protocol[A]):
    """A task of one or more parameters."""

    def delay(self, a: A, /, *args: Any, **kwargs: Any) -> Any: ...


class Takes2(Protocol[A, B]):
    """A task of two or more parameters."""

    def delay(self, a: A, b: B, /, *args: Any, **kwargs: Any) -> Any: ...


class Takes3(Protocol[A, B, C]):
    """A task of three or more parameters."""

    def delay(self, a: A, b: B, c: C, /, *args: Any, **kwargs: Any) -> Any: ...


class Takes4(Protocol[A, B, C, D]):
    """A task of four or more parameters."""

    def delay(self, a: A, b: B, c: C, d: D, /, *args: Any, **kwargs: Any) -> Any: ...
