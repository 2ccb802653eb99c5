"""gearmesh.cron: the due times of periodic tasks, as Machinery's Go schedulers understand their specs.

Machinery passes a spec to ``ParseStandard`` of robfig/cron v3. Its rules differ from crontab(5) and from croniter's in
many places, so this package reads the text by those rules, and passes plain lists of numbers to croniter.

The parts, in the order in which a spec passes through them:

- ``spec`` splits off the zone (``TZ=…``), which ``zones`` finds, and recognises ``@every`` and ``@daily``. ``fields``
  reads the five fields, ``durations`` reads a duration.
- ``schedules`` makes an ``Every`` or a ``Calendar`` of them, which returns the due times as unix nanoseconds.
- ``walls`` asks croniter for wall times of a clock without changes; ``Calendar`` maps them to a zone, change by change.

Begin with ``spec.parse``. The recordings in ``tests/golden/cron.jsonl`` hold Go's answers, and this package must agree
with them. Nothing here reads a clock, so each function returns the same value for the same arguments; only
:func:`local_zone` depends on the machine.
"""

from gearmesh.cron.schedules import Calendar, Every, Schedule, last_times
from gearmesh.cron.spec import in_zone, parse
from gearmesh.cron.zones import local_zone

__all__ = ["Calendar", "Every", "Schedule", "in_zone", "last_times", "local_zone", "parse"]
