"""Send from an event loop and wait there."""

import asyncio

from app import app, fetch, join

from gearmesh import ResultTimeout, chord, group


async def main() -> None:
    result = await fetch.adelay(1)
    print("one:", await result.aget(timeout=10))

    # The pages come in the order in which they end. Meanwhile the loop can run other coroutines.
    pages = await group(fetch.s(page) for page in (6, 1, 3)).adelay()
    async for page in pages.as_completed(timeout=10):
        print("done:", await page)

    # A result can be awaited like any coroutine; without a timeout it waits without a limit.
    book = await chord([fetch.s(2), fetch.s(1)], join.s()).adelay()
    print("book:", await asyncio.wait_for(book.aget(), 10))

    slow = await fetch.adelay(8)
    try:
        await slow.aget(timeout=0.01)
    except ResultTimeout:
        print("not yet, but later:", await slow.aget(timeout=10))


if __name__ == "__main__":
    with app:
        asyncio.run(main())
