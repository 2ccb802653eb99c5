"""gearmesh.web: the dashboard, pages about the messages in the broker and the states in the result backend.

A request passes through the package like this:

- ``application`` is the ASGI app: it has the routes, and mounts below any path. ``server`` runs it with uvicorn for the
  command ``gearmesh dashboard``.
- ``guard`` stands before every route. It signs users in (``sessions``), refuses a form without its CSRF token, refuses
  any change while the dashboard is read-only, and sends the security headers. ``settings`` has the permissions, and
  ``forms`` reads the fields of queries and forms.
- ``pages/`` has one module for each page. A page is a function that asks the ``desk`` and returns the values of its
  template in ``templates/``. An action is a function that changes something and names the page to show next.
- The ``desk`` holds the readers. ``broker_reader`` and ``state_reader`` ask the servers, and keep each answer for a
  second (``cache``). ``queue_directory`` and ``state_walk`` walk through all keys, a part at each page view.
- ``masking`` hides secret values before a template or a search gets them. ``messages`` makes rows of messages.
- ``workflow`` lays out a task's workflow, which a template draws as SVG.

Begin with ``application``, then read ``pages/overview``.

The package must never

- be imported by a program that does not use the dashboard: a worker needs no Starlette;
- show a value that did not go through the ``Masker``, or write HTML outside of a template, which escapes everything;
- read without a limit: each question to a server has one, and ``KEYS`` is never sent;
- change anything in answer to a GET.
"""

from gearmesh.web.application import Dashboard
from gearmesh.web.settings import DashboardSettings

__all__ = ["Dashboard", "DashboardSettings"]
