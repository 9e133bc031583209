"""How Sphinx makes the site of tutorials/ and the docstrings: `sphinx-build -W -c .site tutorials build/site`."""

import re
from typing import Any

from sphinx.application import Sphinx

from ffnp import __version__

project, release = "ffnp", __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx-mathjax-offline"]
exclude_patterns = ["**/.ipynb_checkpoints"]
smartquotes = False  # --threads stays what it is

nb_execution_mode = "off"  # the notebooks carry their outputs
myst_enable_extensions = ["amsmath", "dollarmath"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # docstrings give shapes, which types do not; a signature is to be read at a glance
toc_object_entries_show_parents = "hide"
default_role = "code"  # of `text` in a docstring
highlight_language = "none"  # of an indented block: most are equations

html_theme = "furo"
html_title = "ffnp"
html_theme_options = {"light_css_variables": {"code-font-size": "75%"}}
html_static_path, html_css_files = ["static"], ["site.css"]
html_show_copyright = html_show_sphinx = False

# In a docstring: a session, an indented line, `code`, *emphasis*; and the characters that reST would act on elsewhere
MARKED = re.compile(r"^>>> .*?(?=\n\n|\Z)|^ [^\n]*|`[^`]*`|\B\*\w[\w ]*\*\B|[*|_\\]", re.DOTALL | re.MULTILINE)


def from_markdown(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain Markdown, Sphinx reads reST: there indented code follows a `::`, and characters are escaped."""
    def escaped(found: re.Match[str]) -> str:
        text = found[0]
        return f"\\ {text}\\ " if text[0] == "`" else f"\\{text}" if len(text) == 1 else text

    text = re.sub(r"^(\S[^\n]*)\n\n(?=    )", r"\1\n\n::\n\n", "\n".join(lines), flags=re.MULTILINE)
    lines[:] = MARKED.sub(escaped, text).split("\n")


def is_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple stand in its signature, and its docstring explains them."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def of_protocol(app: Sphinx, what: str, name: str, obj: Any, *ignored: Any) -> tuple[str, str] | None:
    """The signature of a protocol, which nobody calls: none."""
    return ("", "") if getattr(obj, "_is_protocol", False) else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", from_markdown)
    app.connect("autodoc-process-signature", of_protocol)
    app.connect("autodoc-skip-member", is_field)
