"""A workflow with any nesting gives the same results as a plain evaluation."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gearmesh import App, TaskError, chain, chord, group

#: ("task", number, wants results) | ("chain", parts) | ("group", parts) | ("chord", parts, body)
Tree = tuple[Any, ...]

leaves = st.tuples(st.just("task"), st.integers(-9, 9), st.sampled_from([True, True, True, False]))
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("group"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("chord"), st.lists(inner, min_size=1, max_size=3), inner),
    ),
    max_leaves=8,
)

UNSAYABLE = ("put a task between", "on the wire", "chord's body")


def evaluate(tree: Tree, before: list[int]) -> list[int]:
    """Compute the result of this step from the result before it."""
    kind = tree[0]
    if kind == "task":
        return [tree[1] + (sum(before) if tree[2] else 0)]
    if kind == "chain":
        for part in tree[1]:
            before = evaluate(part, before)
        return before
    ends = [value for part in tree[1] for value in evaluate(part, before)]
    return ends if kind == "group" else evaluate(tree[2], ends)


def flat(value: Any) -> list[int]:
    return [each for part in value for each in flat(part)] if isinstance(value, list) else [value]


@settings(max_examples=300, deadline=None)
@given(trees)
def test_eager_results_equal_those_of_a_plain_evaluation(tree: Tree) -> None:
    with App("eager") as app:
        check(app, tree)


def check(app: App, tree: Tree) -> None:
    @app.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    def build(part: Tree) -> Any:
        if part[0] == "task":
            return (add.s if part[2] else add.si)(part[1])
        if part[0] == "chord":
            return chord(map(build, part[1]), build(part[2]))
        return {"chain": chain, "group": group}[part[0]](map(build, part[1]))

    try:
        result = build(tree).delay()
    except TaskError as exc:
        if not any(text in str(exc) for text in UNSAYABLE):
            raise
        event("cannot be said")
        return
    assert flat(result.get(0)) == evaluate(tree, [])
    assert result.successful()
    assert all(task.successful() for task in result.tasks)
