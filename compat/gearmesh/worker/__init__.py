"""What runs tasks: intake, executor, committer, and the supervisor above them."""

from gearmesh.worker.worker import Worker

__all__ = ["Worker"]
