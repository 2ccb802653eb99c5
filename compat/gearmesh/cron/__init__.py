"""gearmesh.cron: the due times of periodic tasks, as Machinery's Go schedulers understand their specs.

Machinery gives a spec to ``ParseStandard`` of robfig/cron v3. Its rules differ from crontab(5) and from croniter's in
many places, so the text is read here by its rules, and croniter is given plain lists of numbers.

The way of a spec through the package:

- ``spec`` splits off the zone (``TZ=…``), which ``zones`` finds, and recognises ``@every`` and ``@daily``. ``fields``
  reads the five fields, ``durations`` a duration.
- ``schedules`` makes an ``Every`` or a ``Calendar`` of them, which gives the due times as unix nanoseconds.
- ``walls`` asks croniter for wall times of a clock without changes; ``Calendar`` maps them to a zone, change by change.

Begin with ``spec.parse``. The recordings in ``tests/golden/cron.jsonl`` hold Go's answers, and all of this must agree
with them. Nothing here reads a clock, so each function gives the same answer to the same arguments; only
:func:`local_zone` looks at the machine.
"""

from gearmesh.cron.schedules import Calendar, Every, Schedule, last_times
from gearmesh.cron.spec import in_zone, parse
from gearmesh.cron.zones import local_zone

__all__ = ["Calendar", "Every", "Schedule", "in_zone", "last_times", "local_zone", "parse"]
