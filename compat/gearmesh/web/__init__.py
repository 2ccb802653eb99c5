"""gearmesh.web: the dashboard, pages about what is in the broker and in the result backend.

The way of a request through the package:

- ``application`` is the ASGI app: it has the routes, and mounts below any path. ``server`` runs it with uvicorn for the
  command ``gearmesh dashboard``.
- ``guard`` stands before every route: it signs users in (``sessions``), refuses a form without its CSRF token, and
  any change while the dashboard is read-only; it sends the security headers. ``settings`` says what is allowed, and
  ``forms`` reads the fields of queries and forms.
- ``pages/`` has one module a page. A page is a function that asks the ``desk`` and returns the values of its template
  in ``templates/``; an action is a function that changes something and says where to go on.
- The ``desk`` holds the readers. ``broker_reader`` and ``state_reader`` ask the servers, and keep each answer for a
  second (``cache``). ``queue_directory`` and ``state_walk`` walk through all keys, a slice a page view.
- ``masking`` hides secret values before a template, or a search, sees them. ``messages`` makes rows of messages.
- ``workflow`` lays out a task's workflow, which a template draws as SVG.

Begin with ``application``, then read ``pages/overview``.

The package must never

- be imported unless somebody uses the dashboard: a worker needs no Starlette;
- show a value that did not go through the ``Masker``, or write HTML outside of a template, which escapes everything;
- read all of anything: each question to a server has a limit, and ``KEYS`` is never sent;
- change anything in answer to a GET.
"""

from gearmesh.web.application import Dashboard
from gearmesh.web.settings import DashboardSettings

__all__ = ["Dashboard", "DashboardSettings"]
