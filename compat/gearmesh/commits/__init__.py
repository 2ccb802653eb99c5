"""Carries out Commits over a channel and a backend, and finds out which groups are complete.

- ``flusher``: carries out the Commits of one batch. If the channel has enlisted the backend (one Redis), the batch is
  one step of the channel. Otherwise the flusher writes states first, then takes the triggers of complete groups, then
  publishes and settles, so that each step finds the data that it needs. After a flush that broke off, it returns the
  Commits that remain.
- ``group_completion``: decides if a group is complete, and reads the states with which its chord fires. Most backends
  list a group's members; RabbitMQ counts their final states.
- ``group_cache``: the metas of groups, and how many leading members are known to be final, so that a completion
  costs O(1) and not O(members). All backends and the Celery bridge remember groups in it.

Begin with ``Flusher.flush``. A flush may be repeated after any error: nothing here may rely on having run once.
"""
