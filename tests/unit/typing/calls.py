"""Calls as users write them, for type checkers only: nothing here is run. A line with ``# wrong`` must be an error."""

import asyncio

from remotes_gen import Remotes
from typing_extensions import assert_type

import gearmesh
from gearmesh import (
    App,
    AsyncResult,
    ChainResult,
    ChordResult,
    GroupResult,
    Json,
    Task,
    TaskFailed,
    Uint16,
    chain,
    chord,
    group,
)

app = App("redis://localhost", "redis://localhost")


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="text", queue="texts", max_retries=3)
def text(number: int, unit: str = "m", *more: bytes) -> str:
    return f"{number} {unit} {more}"


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True, autoretry_for=(OSError,))
def bound(self: Task[[str], Json[dict[str, int]], object], key: str) -> Json[dict[str, int]]:
    return {key: self.request.retries}


@gearmesh.task(bind=True, queue="late")
def late(self: Task[[str, int], None, None], key: str, number: int = 0) -> None: ...


@app.remote
def resize(image: bytes, width: Uint16, height: Uint16 = 480) -> bytes:
    raise NotImplementedError


unknown = app.remote("unknown", "int64", results="int64")

assert_type(add.delay(1, b=2), AsyncResult[int])
assert_type(add.delay(1, 2).get(timeout=5), int)
assert_type(add.apply_async((1, 2), countdown=5, task_id="task_1").result, int | TaskFailed | None)
assert_type(bound.delay("x").get(), dict[str, int])
assert_type(resize.delay(b"", width=640), AsyncResult[bytes])
assert_type(app.result("task_1", add), AsyncResult[int])
assert_type(add.AsyncResult("task_1").get(), int)
assert_type(add.apply((1, 2)), AsyncResult[int])
assert_type(asyncio.run(fetch("x")), bytes)
assert_type((add.s(1, 2) | text.s()).delay(), ChainResult[str])
assert_type(chain(add.s(1, 2), add.si(1, 2), text.s()).delay().get(), str)
assert_type(chain(add.s(1, 2), add.s(3))().get(), int)
assert_type(group(add.s(n, n) for n in range(3)).delay(), GroupResult[int])
assert_type(group(add.s(1, 1), add.s(2, 2))().get(), list[int])
assert_type([member.get() for member in add.starmap([(1, 2)])().as_completed()], list[int])
assert_type(chord([add.s(1, 1)], text.s())(), ChordResult[str])
assert_type(chord([add.s(1, 1)])(text.s()).get(), str)
assert_type((group(add.s(1, 1)) | text.s()).apply_async(countdown=1).get(), str)
assert_type(app.publish_many([add.s(1, 2)]), list[AsyncResult[int]])
assert_type(add.delay(1, 2).get(propagate=False), int | TaskFailed)
fine = [text.s(), text.s(1), text.s(1, "km"), text.s(1, "km", b"", b"", b""), unknown.s("x", n=1)]
fine += [late.s(), late.s("x"), resize.s(b""), text.s(1, unit="km")]

go = Remotes(app)
assert_type(go.go_resize.delay(b"x", 5, "c", 1.5, 2.5).get(), tuple[bytes, list[int]])
assert_type(go.none.delay().get(), None)
go.go_resize.delay(b"x", width=7)
go.any.delay(object())


async def waits() -> int:
    result = await add.adelay(1, 2)
    return await result + await result.aget(timeout=5)


add.delay(1)  # wrong
add.delay(1, "x")  # wrong
add.delay(1, c=2)  # wrong
add.s("x")  # wrong
add.s(1, "x")  # wrong
add.s(1, 2, 3)  # wrong
add.s(1, c=2)  # wrong
add.si(1)  # wrong: nothing is appended
text.s(1, 2)  # wrong
resize.delay("x", 640)  # wrong
bound.delay(1)  # wrong
late.delay("x", "y")  # wrong
asyncio.run(fetch(1))  # wrong
app.result("task_1", add).get().upper()  # wrong
chain(add.s(1, 2), text.s()).delay().get().bit_length()  # wrong
group([add.s(1, 2)])().get().upper()  # wrong
add.apply_async((1, 2), countdwon=5)  # wrong
app.task(retrys=3)  # wrong
app.resutl("task_1")  # wrong
add.dleay(1, 2)  # wrong
print(add.delay(1, 2).statsu)  # wrong
add.s(1, 2).link(text.s())  # wrong: it is never changed
number: str = add.delay(1, 2).get()  # wrong
go.go_resize.delay("x")  # wrong
go.go_resize.delay(b"x", "y")  # wrong
go.none.delay(1)  # wrong
print(go.missing)  # wrong
