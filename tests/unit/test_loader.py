from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearmesh.errors import ConfigError
from gearmesh.worker.loader import AppImportError, load_app

MODULE = """
from gearmesh import App
app = App(broker="memory://loader")
other = App(broker="memory://loader")
class inner:
    app = app
text = "x"
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "loaded_shop.py").write_text(MODULE)
    (tmp_path / "loaded_broken.py").write_text("import loaded_nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name in ("loaded_shop", "loaded_broken"):
        sys.modules.pop(name, None)


def test_it_finds_the_app() -> None:
    app = load_app("loaded_shop:app")
    assert load_app("loaded_shop") is app
    assert load_app("loaded_shop:inner.app") is app
    assert load_app("loaded_shop:other") is not app


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("", "expected MODULE:APP"),
        (":app", "expected MODULE:APP"),
        ("loaded_shop.py", "there is no module 'loaded_shop.py' in .*; do you mean loaded_shop:app"),
        ("loaded_shop:text.x", "has no 'x'"),
        ("loaded/shop:app", "expected MODULE:APP"),
        ("loaded_absent:app", "there is no module 'loaded_absent'"),
        ("loaded_shop:nope", "has no 'nope'; it has app, other"),
        ("loaded_shop:text", "is of the type str, expected a gearmesh App"),
    ],
)
def test_load_app_says_why_a_spec_names_no_app(spec: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_app(spec)


def test_the_app_s_own_errors_are_shown() -> None:
    with pytest.raises(AppImportError, match="ModuleNotFoundError: No module named 'loaded_nowhere'"):
        load_app("loaded_broken:app")


@pytest.fixture
def _loggers_as_before() -> Iterator[None]:
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, each.disabled) for each in loggers]
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    for each, disabled in before:
        each.disabled = disabled


@pytest.mark.usefixtures("_loggers_as_before")
def test_gearmesh_logs_after_the_module_has_configured_logging(tmp_path: Path) -> None:
    (tmp_path / "loaded_shop.py").write_text(
        f"import logging.config\nlogging.config.dictConfig({{'version': 1}})\n{MODULE}"
    )
    log = logging.getLogger("gearmesh.worker")
    others = logging.getLogger("somebody.else")
    load_app("loaded_shop")
    assert not log.disabled
    assert others.disabled, "the module decides about its own loggers"


@pytest.mark.parametrize(
    ("code", "line", "text"),
    [
        ("app = App(leese=3)", 3, "unknown setting 'leese'"),
        ("app = App()\n@app.task\ndef f(a: object) -> None: ...", 4, "task 'f', parameter 'a'"),
    ],
)
def test_an_error_of_gearmesh_s_in_the_module_has_its_place(
    tmp_path: Path, code: str, line: int, text: str
) -> None:
    (tmp_path / "loaded_broken.py").write_text(f"from gearmesh import App\n\n{code}\n")
    with pytest.raises(AppImportError, match=text) as caught:
        load_app("loaded_broken")
    assert str(caught.value).startswith(f"loaded_broken.py line {line}: ")
    assert "\n" not in str(caught.value)


def test_frames_of_libraries_are_not_shown(tmp_path: Path) -> None:
    """The traceback has only frames of the app's package, none of Python's own modules or installed packages."""
    installed = tmp_path / "lib" / "site-packages"
    (installed / "loaded_library").mkdir(parents=True)
    (installed / "loaded_library" / "__init__.py").write_text("import json\njson.loads('{')\n")
    (tmp_path / "loaded_broken.py").write_text("import loaded_library\n")
    sys.path.insert(0, str(installed))
    with pytest.raises(AppImportError) as caught:
        load_app("loaded_broken")
    files = re.findall(r'File "(.*?)"', str(caught.value))
    assert [Path(file).name for file in files] == ["loaded_broken.py"]
    assert str(caught.value).splitlines()[-1].startswith("json.decoder.JSONDecodeError: ")
    with pytest.raises(AppImportError) as caught:
        load_app("loaded_library:app")
    files = re.findall(r'File "(.*?)"', str(caught.value))
    assert [Path(file).parent.name for file in files] == ["loaded_library"]


def test_a_module_that_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "loaded_broken.py").write_text("import sys\nsys.exit('no database')\n")
    with pytest.raises(AppImportError, match=r"(?s)line 2.*SystemExit: no database$"):
        load_app("loaded_broken")


@pytest.mark.usefixtures("_loggers_as_before")
def test_gearmesh_logs_why_a_module_that_has_configured_logging_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "loaded_broken.py").write_text(
        "import logging.config\nlogging.config.dictConfig({'version': 1})\nimport loaded_nowhere"
    )
    log = logging.getLogger("gearmesh.worker")
    with pytest.raises(AppImportError):
        load_app("loaded_broken:app")
    assert not log.disabled
