"""A shop whose tests need only gearmesh's pytest plugin: they use no server and no mocks, and never sleep."""

from __future__ import annotations

from gearmesh import App, Retry, chain

app = App("redis://localhost:6379/0", "redis://localhost:6379/0")
#: Stands for the shop's database.
ORDERS: dict[str, str] = {}
MAILS: list[str] = []


class PaymentDown(Exception):
    """The payment service does not answer."""


@app.task(retry=Retry(max=3, first=60, jitter=False, on=PaymentDown))
def charge(order: str, cents: int) -> str:
    """Charge an order; if the payment service is down, try again after minutes."""
    if ORDERS.get(order) == "payment is down":
        ORDERS[order] = "new"
        raise PaymentDown(order)
    ORDERS[order] = "paid"
    return order


@app.task(queue="mail")
def send_receipt(order: str) -> None:
    """Mail a receipt, once for each order."""
    if order not in MAILS:
        MAILS.append(order)


@app.task
def remind(order: str) -> None:
    """Mail a reminder of an order that is not paid."""
    if ORDERS.get(order) != "paid":
        MAILS.append(f"reminder of {order}")


def buy(order: str, cents: int) -> None:
    """Charge an order now and then mail a receipt; remind in a day if the order is not paid by then."""
    ORDERS.setdefault(order, "new")
    chain(charge.s(order, cents), send_receipt.s()).delay()
    remind.apply_async((order,), countdown=86_400)
