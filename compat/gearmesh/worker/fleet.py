"""The processes of one worker that run tasks, and the orders that they follow, also those that start later."""

from __future__ import annotations

from collections.abc import Callable

from gearmesh.errors import ConfigError
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.orders import Order, encode_order
from gearmesh.worker.spawner import Spawner
from gearmesh.worker.worker_child import WorkerChild
from gearmesh.worker.worker_process import WorkerProcess

__all__ = ["Fleet"]


class Fleet:
    """Runs worker processes: one, or one for each slot if the pool is ``"processes"``.

    Belongs to the supervisor's thread.

    Args:
        options: the worker's options.
        spawner: starts the processes.
        manage: makes a :class:`.WorkerProcess`, given a function that starts a child.
        broker: returns the number of the broker that a process tries first.
    """

    def __init__(
        self,
        options: WorkerOptions,
        spawner: Spawner,
        manage: Callable[[Callable[[], WorkerChild]], WorkerProcess],
        broker: Callable[[], int],
    ) -> None:
        self._spawner = spawner
        self._broker = broker
        self._manage = manage
        self._order = Order()
        self._several = options.pool == "processes"
        #: tasks that run at a time
        self.slots = options.concurrency
        self._most = options.scoreboard_size
        self._processes = [manage(self._begin) for _ in range(options.processes)]
        #: processes that finish their tasks, and are not started again
        self._retiring: list[WorkerProcess] = []

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def hopeless(self) -> bool:
        """True if a process has reported that each further one would fail in the same way."""
        return any(process.hopeless for process in self._processes)

    @property
    def empty(self) -> bool:
        """True if no process runs."""
        return all(process.empty for process in (*self._processes, *self._retiring))

    def step(self, signals: int) -> float:
        """Do the work that is due, see :meth:`.ManagedProcess.step`."""
        pause = min(process.step(signals) for process in self._processes)
        for process in self._retiring:
            pause = min(pause, process.step(max(signals, 1)))
        self._retiring = [process for process in self._retiring if not process.empty]
        return pause

    def order(self, order: Order) -> None:
        """Give all processes an order. Settings that are None in it stay as an earlier order has set them."""
        said = {
            name: value for name in Order.__struct_fields__ if (value := getattr(order, name)) is not None
        }
        self._order = Order(**{**{n: getattr(self._order, n) for n in Order.__struct_fields__}, **said})
        for process in (*self._processes, *self._retiring):
            process.order(encode_order(order))

    def resize(self, slots: int) -> None:
        """Run ``slots`` tasks at a time; at least 1.

        Raises:
            ConfigError: processes of threads or coroutines cannot grow so far.
        """
        if self._several:
            while len(self._processes) < slots:
                self._processes.append(self._manage(self._begin))
            while len(self._processes) > slots:
                self._retiring.append(self._processes.pop())
        else:
            self.check_size(slots)
            self.order(Order(slots=slots))
        self.slots = slots

    def check_size(self, slots: int) -> None:
        """Raise ConfigError for a number of slots to which this worker cannot be resized."""
        if not self._several and slots > self._most:
            raise ConfigError(
                f"it would run {slots} tasks at a time, and has room for {self._most} until a restart"
            )

    def _begin(self) -> WorkerChild:
        child = self._spawner.spawn()
        child.begin(self._broker())
        if self._order != Order():
            child.order(encode_order(self._order))
        return child
