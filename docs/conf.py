"""Configuration of ``sphinx-build -W docs build/site``; formulas are MathML, so pages need no network."""

import re
from typing import Any, NewType, NoReturn

import jax.typing
from docutils import nodes
from latex2mathml.converter import convert

import mmnet_jax

jax.typing.DTypeLike = NewType("DTypeLike", object)  # printed by its name, not as the union that it stands for

project = "mmnet_jax"
author = "the mmnet_jax authors"
release = mmnet_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["conftest.py"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "mmnet_jax"
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "setup, name, parent, scope, replace, BACKBONES, DAMAGE"}


def draw_formula(translator: Any, node: nodes.Element) -> NoReturn:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def shorten_types(app: Any, page: nodes.document) -> None:
    for text in list(page.findall(nodes.Text)):
        if "jaxlib._jax.Array" in text:
            text.parent.replace(text, nodes.Text(text.replace("jaxlib._jax.Array", "Array")))


def shorten_signature(app: Any, what: str, name: str, obj: Any, options: Any, text: str | None, returns: Any) -> Any:
    """Leaves out Flax's ``parent`` and ``name``, and makes defaults that are classes or functions valid Python."""
    text = re.sub(r", parent: .*, name: str \| None = None", "", text or "")
    text = re.sub(r"<(?:class|function) '?(?:\w+\.)*(\w+)'?>", r"\1", text)
    text = re.sub(r"<(?:function [\w.]*<lambda>|factory)>", "...", text)
    return (text, returns) if text else None


plain: dict[str, list[str]] = {}  # docstrings of attributes, in which napoleon takes words before a colon for a type


def keep_plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in ("attribute", "data", "property"):
        lines[:] = plain.setdefault(name, list(lines))


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (draw_formula, None), (draw_formula, None))
    app.connect("doctree-read", shorten_types)
    app.connect("autodoc-process-signature", shorten_signature)
    for priority in (400, 600):  # before and after napoleon
        app.connect("autodoc-process-docstring", keep_plain, priority)
