"""Python calls Go, first by one call, and then in a chain that returns to Python."""

from app import app, describe, resize

from gearmesh import LocalProtocolError, chain

IMAGE = b"GIF89a" + bytes(94)


def main() -> None:
    small = resize.delay(IMAGE, 50).get(timeout=10)
    print("Go resized it to", len(small), "bytes")

    try:
        resize.delay(IMAGE, 70_000)
    except LocalProtocolError as error:
        print("refused here, where Go would wrap it:", error)

    # The result of Go is appended to the arguments of the next step: describe(<bytes>).
    both = chain(resize.s(IMAGE, 10), describe.s()).delay()
    print("Go, then Python:", both.get(timeout=10))


if __name__ == "__main__":
    with app:
        main()
