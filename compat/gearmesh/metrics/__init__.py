"""Counts the tasks of a worker's processes, and serves the counts to Prometheus.

The counts of one task pass through these parts:

1. ``tally.py``: a :class:`~.tally.Tally` in each worker process counts the committer's Commits, a batch at a time.
2. ``report.py``: a :class:`~.report.Report` has the counts of a process since its last report, and its running tasks.
   The process sends one a second to its supervisor, through a pipe (``worker/report_pipe.py``).
3. ``totals.py``: the :class:`~.totals.Totals` of the supervisor add the reports of all its processes up, those of dead
   ones included, so no count ever falls.
4. ``exporter.py``: the :class:`~.exporter.Exporter` gives them to prometheus_client as metric families. ``series.py``
   is the list of all series, with the bounds of the histograms (``histogram.py``).
5. ``server.py``: the :class:`~.server.MetricsServer` answers ``GET /metrics``.

Begin reading with ``series.py``, then ``tally.py``.

The labels are names of registered tasks, of queues that the worker reads, and words of a fixed list. A UUID, an error's
text or a name that a sender chose never becomes a label, so the number of series is bounded.

Never: import prometheus_client outside of ``exporter.py`` and ``server.py`` (it is the extra ``metrics``); take a lock
for each task; ask a server.
"""
