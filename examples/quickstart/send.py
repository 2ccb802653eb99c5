"""Send the tasks of ``app.py`` and wait for their results."""

from app import add, app, shout

from gearmesh import LocalProtocolError


def main() -> None:
    result = add.delay(20, 22)
    print("add:", result.get(timeout=10))
    print("state:", result.state)
    print("typed:", ", ".join(f"{one.type} {one.value}" for one in result.results or ()))

    print("shout:", shout.delay("hello", times=3).get(timeout=10))

    try:
        shout.delay("hello", 300)  # 300 is not a uint8, so gearmesh sends nothing
    except LocalProtocolError as error:
        print("refused:", error)

    many = app.publish_many(add.s(n, n) for n in range(1000))
    print("a thousand:", sum(each.get(timeout=30) for each in many))


if __name__ == "__main__":
    with app:
        main()
