"""When periodic tasks are due, as Machinery's Go schedulers understand their specs.

Machinery gives specs to ``ParseStandard`` of robfig/cron v3. Its rules differ from crontab(5) and from croniter's in
many places, so the text is read here, by its rules, and croniter is given plain lists of numbers.
Nothing here asks a clock; :func:`local_zone` alone looks at the machine.
"""

from gearmesh.cron.schedules import Calendar, Every, Schedule, last_times
from gearmesh.cron.spec import in_zone, parse
from gearmesh.cron.zones import local_zone

__all__ = ["Calendar", "Every", "Schedule", "in_zone", "last_times", "local_zone", "parse"]
