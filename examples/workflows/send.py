"""Chains, groups and chords of the tasks of ``app.py``."""

from app import add_tax, app, pack, price, report, ship, tidy_up

from gearmesh import ChordMemberFailed, chain, chord, group


def main() -> None:
    # Each step gets the results of the step before, after its own arguments: add_tax(20, 1500).
    total = chain(price.s(500, 3), add_tax.s(20)).delay()
    print("chain:", total.get(timeout=10))

    # | makes a chain, too. tidy_up takes no results, so its signature is made with si.
    print("si:", (price.s(500, 3) | tidy_up.si("the shop")).delay().get(timeout=10))

    # Members run at the same time. get() returns their values in the order of the members.
    boxes = group(pack.s(item) for item in ("cup", "pan", "plate")).delay()
    print("group:", boxes.get(timeout=10))

    # The body runs when all members have succeeded. `group | body` is the same.
    parcel = chord([pack.s("cup"), pack.s("pan")], ship.s("Main Street 1")).delay()
    print("chord:", parcel.get(timeout=10))

    # A member may be a chain, whose last step counts. Another step may follow the body.
    order = chord([price.s(500, 3) | add_tax.s(20), price.s(100, 1)], price.s()) | add_tax.s(10)
    print("nested:", order.delay().get(timeout=10))

    # If a member fails, the body is never sent, but its on_error is.
    caught = report.s(7).set(uuid=f"task_report_of_{parcel.uuid}")
    broken = chord([pack.s("cup"), pack.s("").on_error(caught)], ship.s("Main Street 1")).delay()
    try:
        broken.get(timeout=10)
    except ChordMemberFailed as failed:
        print("failed:", failed.name, "-", failed.error)
    print("on_error:", app.result(f"task_report_of_{parcel.uuid}").get(timeout=10))


if __name__ == "__main__":
    with app:
        main()
