"""Send tasks through SQS: one task, ten tasks in one request, a chain, a chord and a retry."""

import tempfile
from pathlib import Path

from app import add, unsteady

from gearmesh import chain, chord, group

with add.app, tempfile.TemporaryDirectory() as folder:
    print("2 + 3 =", add.delay(2, 3).get(timeout=30))
    print("ten at once:", group(add.s(n, n) for n in range(10)).delay().get(timeout=30))
    print("chain: 1 + 2 + 3 =", chain(add.s(1, 2), add.s(3)).delay().get(timeout=30))
    print("chord: the sum of 0 to 4 =", chord([add.s(n) for n in range(5)])(add.s()).get(timeout=30))
    print("retry:", unsteady.delay(str(Path(folder) / "tried")).get(timeout=30))
