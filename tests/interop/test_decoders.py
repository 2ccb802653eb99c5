"""Everything that reads bytes from outside gives a value or the error that it promises, and bounds its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .oracle.decoders import DECODERS, check_one

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    json.loads(line)["text"].encode()
    for line in (ROOT / "tests" / "golden" / "releases.jsonl").read_text().splitlines()
]
#: Megabytes of memory that a decoder may take for such an input.
MAX_MB = 700
#: Inputs of 10 MB of nesting and of digits; of texts and many small things, which are read slowly, of 2 MB.
LARGE = {
    "brackets": 'b"[" * 10_000_000',
    "objects": "b'{\"OnSuccess\":[' * 600_000",
    "digits": 'b\'{"Priority":\' + b"1" * 10_000_000 + b"}"',
    "fraction": 'b\'{"ETA":"2026-01-01T00:00:00.\' + b"1" * 10_000_000 + b\'Z"}\'',
    "text": 'b\'{"Name":"\' + b"\\\\u0000" * 300_000 + b\'"}\'',
    "nulls": 'b\'{"OnSuccess":[\' + b"null," * 200_000 + b"null]}"',
}


@settings(max_examples=300)
@given(st.integers(0, len(DECODERS) - 1), st.binary(max_size=200))
def test_any_bytes(decoder: int, data: bytes) -> None:
    check_one(bytes([decoder]) + data)


@settings(max_examples=300)
@given(st.sampled_from(DOCUMENTS), st.sampled_from([0, 1, 2, 9]), st.data())
def test_recordings_with_one_change(text: bytes, decoder: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    changed = text[:at] + data.draw(st.binary(max_size=4)) + text[at + cut :]
    check_one(bytes([decoder]) + changed)


@pytest.mark.parametrize("what", LARGE)
def test_large_inputs_take_bounded_memory(what: str) -> None:
    """A process of its own, since a high-water mark never sinks.

    The kernel's VmHWM belongs to this program; getrusage's ru_maxrss is inherited from the process that starts it.
    """
    script = (
        "import re\n"
        "from tests.interop.oracle.decoders import check_one\n"
        f"data = {LARGE[what]}\n"
        "for decoder in range(3):\n"
        "    check_one(bytes([decoder]) + data)\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'compat'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < MAX_MB
