"""The objects that a page uses: the app, the readers of its servers, and the masker."""

from __future__ import annotations

from dataclasses import dataclass, field

from gearmesh.app.app import App
from gearmesh.web.broker_reader import BrokerReader
from gearmesh.web.cache import AnswerCache
from gearmesh.web.live_workers import LiveWorkers
from gearmesh.web.masking import Masker
from gearmesh.web.queue_directory import QueueDirectory
from gearmesh.web.settings import DashboardSettings
from gearmesh.web.state_reader import StateReader
from gearmesh.web.state_walk import StateWalk

__all__ = ["Desk"]


@dataclass
class Desk:
    """Holds the readers and settings that the pages of one dashboard use. Everything here is safe in threads.

    Attributes:
        app: the app whose servers are shown.
        settings: the settings of the dashboard.
    """

    app: App
    settings: DashboardSettings
    broker: BrokerReader = field(init=False)
    directory: QueueDirectory = field(init=False)
    states: StateReader = field(init=False)
    walk: StateWalk = field(init=False)
    masker: Masker = field(init=False)
    live_workers: LiveWorkers = field(init=False)
    #: answers of other servers, such as the schedulers' lock
    answers: AnswerCache = field(init=False, default_factory=AnswerCache)

    def __post_init__(self) -> None:
        self.broker = BrokerReader(self.app)
        self.directory = QueueDirectory(self.app, self.broker, self.settings.queues)
        self.states = StateReader(self.app)
        self.walk = StateWalk(self.states)
        self.live_workers = LiveWorkers(self.app)
        parameters = {
            name: [each.name for each in task.declaration.parameters] for name, task in self.app.tasks.items()
        }
        self.masker = Masker(self.settings.mask, parameters)

    def changed(self) -> None:
        """Forget the answers of the last second, so that the next page shows the effect of an action."""
        self.states.clear()
        self.answers.clear()

    def close(self) -> None:
        """Close the connections."""
        self.broker.close()
