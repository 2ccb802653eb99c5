"""One account of a whole run, though ``pytest -n`` runs it in several processes.

Each process notes lines for the end of the run, and which golden cases it ran. The one that prints adds them up; a
whole run that left a golden case out fails.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

__all__ = ["Account"]


class Account:
    """A plugin of pytest: one in each process, and one in the process that prints."""

    def __init__(self) -> None:
        #: lines to print, each once; a dict because it keeps their order
        self.lines: dict[str, None] = {}
        #: how many cases of a golden file there are
        self.total: dict[str, int] = {}
        #: how many of them passed
        self.ran: Counter[str] = Counter()
        #: True if the command line left out golden cases
        self.narrowed = False

    @classmethod
    def of(cls, config: pytest.Config) -> Account:
        """The account of this process, made and registered by the first that asks for it."""
        if (account := config.stash.get(_KEY, None)) is None:
            account = config.stash[_KEY] = cls()
            config.pluginmanager.register(account, "gearmesh-account")
        return account

    def say(self, line: str) -> None:
        """Have a line printed at the end of the run; the same line once only."""
        self.lines[line] = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the counts that a process of ``pytest -n`` reported at its end; a crashed one reports nothing."""
        theirs = getattr(node, "workeroutput", {}).get("account")
        if theirs is not None:
            self.lines |= dict.fromkeys(theirs["lines"])
            self.total |= theirs["total"]
            self.ran.update(theirs["ran"])
            self.narrowed |= theirs["narrowed"]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.narrowed |= any(item.get_closest_marker("golden") for item in items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        result = yield
        if marker := item.get_closest_marker("golden"):
            self.ran[marker.args[0]] += 1  # it passed
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        config = session.config
        self.narrowed |= bool(config.option.collectonly) or any("::" in arg for arg in config.args)
        if hasattr(config, "workeroutput"):
            config.workeroutput["account"] = {
                "lines": list(self.lines),
                "total": self.total,
                "ran": dict(self.ran),
                "narrowed": self.narrowed,
            }
        elif session.exitstatus == 0 and not self.narrowed and self.ran != self.total:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name, count in sorted(self.total.items()):
            terminalreporter.write_line(f"golden: {name}: {self.ran[name]} of {count} cases")
        if self.total:
            terminalreporter.write_line(
                f"golden: {sum(self.ran.values())} of {sum(self.total.values())} in all"
            )
        for line in self.lines:
            terminalreporter.write_line(line)


_KEY = pytest.StashKey[Account]()
