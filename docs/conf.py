"""Configure Sphinx, which builds the site from the Markdown pages of the whole repository: ``make docs``.

The source directory is the root of the repository and not ``docs/``, so that a link works in both places: from one
file to another, as editors and hosts of repositories show them, and on the site. A page that no table of contents
names is no error: each part of the navigation ends with a pattern that takes it.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING

from sphinx.util.matching import patfilter

import gearmesh

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# A build ends soon and makes few cycles: to look for them takes a quarter of its time.
gc.disable()

project = "gearmesh"
author = "the gearmesh authors"
project_copyright = "the gearmesh authors, MIT licence"
version = release = gearmesh.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "examples/README.md",
    "examples/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "dist", "compat", "tests", "scripts", "docs/_site"]
source_suffix = {".md": "markdown"}
# A new page lands without an edit of the navigation; tests/unit/test_site.py finds one that no page leads to.
# An example may leave something out ("…"), which no lexer knows.
suppress_warnings = ["toc.not_included", "misc.highlighting_failure"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 5  # the anchors that a host of repositories makes, so one link works in both places
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_rtype = False

highlight_language = "text"  # of blocks that name no language

# The tests build without the theme, which takes as long as everything else.
html_theme = os.environ.get("GEARMESH_DOCS_THEME", "furo")
html_title = f"gearmesh {release}"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_extra_path = ["_site/root"]  # index.html at the root of the site leads to the first page
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_baseurl = ""
html_theme_options = {
    # System fonts: the site loads nothing from elsewhere.
    "light_css_variables": {
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
        "color-brand-primary": "#00607a",
        "color-brand-content": "#00607a",
    },
    "dark_css_variables": {"color-brand-primary": "#62c6de", "color-brand-content": "#62c6de"},
    "top_of_page_buttons": [],
    "navigation_with_keys": False,
}
if html_theme != "furo":
    html_theme_options = {}


def drop_empty_patterns(app: Sphinx, page: str, source: list[str]) -> None:
    """Take those patterns out of the navigation that find no page which is not named there: Sphinx warns of each."""
    if page != root_doc:
        return
    folder = root_doc.rpartition("/")[0]
    unnamed = {
        name for name in app.env.found_docs if name.removeprefix(f"{folder}/") not in source[0].splitlines()
    }

    def wanted(line: str) -> bool:
        return not line.endswith("*") or bool(patfilter(unnamed - {page}, f"{folder}/{line}"))

    source[0] = "\n".join(line for line in source[0].split("\n") if wanted(line))


def list_classes(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the list of all classes where a page asks for it."""
    if "<!-- classes -->" in source[0]:
        script = run_path(str(Path(__file__).parents[1] / "scripts" / "class_list.py"))
        source[0] = source[0].replace("<!-- classes -->", script["class_list"]())


def setup(app: Sphinx) -> None:
    """Adjust the navigation, and list the classes."""
    app.connect("source-read", drop_empty_patterns)
    app.connect("source-read", list_classes)
