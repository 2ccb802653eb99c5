"""Measure the codec, in µs on one core: ``python tests/benchmarks/bench_wire.py``.

The best of several runs, so that a busy machine shows as little as possible. Aim: an ordinary
signature decoded and encoded in under 5 µs together.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import msgspec

from gearmesh.wire.codec import decode, decode_state, encode, encode_state
from gearmesh.wire.gojson.decode import decode_signature
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskState
from gearmesh.wire.types import arg, load, result
from gearmesh.wire.workflow import after_success, prepare

UUID = "task_2ae8dab2-5699-4e6e-87c7-7d3ea5e4c69a"


def measure(what: str, function: Callable[[], object], repeat: int = 300) -> float:
    timer = timeit.Timer(function)
    number = max(1, int(0.001 / max(timer.timeit(1), 1e-7)))
    best = min(timer.repeat(repeat, number)) / number * 1e6
    print(f"{best:12.2f}  {what}")
    return best


def main() -> None:
    args = (arg("int64", 1), arg("int64", 2))
    ordinary = prepare(
        Signature(UUID=UUID, Name="add", Args=args), queue="machinery_tasks", new_id=lambda: "unused"
    )
    data = encode(ordinary)
    print(f"{'µs':>12}  an ordinary signature has {len(data)} bytes")
    total = measure("decode", lambda: decode(data)) + measure("encode", lambda: encode(ordinary))
    print(f"{total:12.2f}  decode + encode (aim: under 5)")

    text = ordinary.evolve(Args=(arg("string", 'a <b> "é"\n'), arg("[]int64", [1, 2, 3])))
    texts = encode(text)
    measure("decode with escapes and a slice", lambda: decode(texts))
    measure("encode with escapes and a slice", lambda: encode(text))
    delayed = encode(ordinary.evolve(ETA="2026-11-21T13:04:00.645040466Z"))
    measure("decode with an ETA", lambda: decode(delayed))
    foreign = data.replace(b'"UUID"', b'"uuid"')
    measure("decode by the slow path", lambda: decode(foreign))
    assert decode(foreign) == ordinary

    state = TaskState(
        TaskUUID=UUID,
        TaskName="add",
        State="SUCCESS",
        Results=(result("int64", 3),),
        CreatedAt="2026-11-21T13:04:00.645040466Z",
    )
    stored = encode_state(state)
    measure("decode_state", lambda: decode_state(stored))
    measure("encode_state", lambda: encode_state(state))
    measure("load int64", lambda: load("int64", args[0].Value))
    measure("dump int64", lambda: result("int64", 3))
    parent = ordinary.evolve(OnSuccess=(ordinary,))
    measure("after_success", lambda: after_success(parent, state.Results or ()))

    chain = ordinary
    for _ in range(10):
        chain = ordinary.evolve(OnSuccess=(chain,))
    ten = encode(chain)
    measure("decode a chain of 10", lambda: decode(ten))
    measure("encode a chain of 10", lambda: encode(chain))
    for _ in range(3990):
        chain = ordinary.evolve(OnSuccess=(chain,))
    long = encode(chain)
    measure("decode a chain of 4,000", lambda: decode(long), 3)
    measure("decode it by the slow path", lambda: decode_signature(long), 1)
    measure("encode a chain of 4,000", lambda: encode(chain), 3)

    many = arg("[]int64", list(range(10_000)))
    measure("load 10,000 int64", lambda: load("[]int64", many.Value), 3)
    measure("dump 10,000 int64", lambda: arg("[]int64", list(range(10_000))), 3)
    floats = [float(number) / 7 for number in range(10_000)]
    dumped = arg("[]float64", floats)
    measure("load 10,000 float64", lambda: load("[]float64", dumped.Value), 3)
    measure("dump 10,000 float64", lambda: arg("[]float64", floats), 3)
    blob = bytes(range(256)) * 4096
    large = arg("[]byte", blob)
    measure("load 1 MB []byte", lambda: load("[]byte", large.Value), 3)
    measure("dump 1 MB []byte", lambda: arg("[]byte", blob), 3)
    sig = ordinary.evolve(Args=(large, many))
    sent = encode(sig)
    measure(f"decode {len(sent):,} bytes", lambda: decode(sent), 3)
    measure(f"encode {len(sent):,} bytes", lambda: encode(sig), 3)
    assert isinstance(large.Value, msgspec.Raw)


if __name__ == "__main__":
    main()
