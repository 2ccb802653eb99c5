"""Python calls Go, alone and in a chain that comes back."""

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

    # Go's result is appended to what the next step was given: describe(<bytes>).
    both = chain(resize.s(IMAGE, 10), describe.s()).delay()
    print("Go, then Python:", both.get(timeout=10))


if __name__ == "__main__":
    with app:
        main()
