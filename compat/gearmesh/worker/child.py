"""The process that runs the tasks, under its supervisor: ``python -m gearmesh.worker.child SETUP``."""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    # Modules are never garbage: the collector would search them again and again, and free nothing.
    gc.disable()
    from gearmesh.worker.supervised_worker import main

    raise SystemExit(main(sys.argv))
