"""Directives of the reference: public names and wings of pnpkit from docstrings, the command line from its code."""

import inspect
import pkgutil
import re
from importlib import import_module
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.cli import get_docs_for_click

import pnpkit

SECTION = """
## `{0}`

```{{eval-rst}}
.. automodule:: {0}
   :members:
   :ignore-module-all:
```
"""


class Wing(SphinxDirective):
    """``{wing} NAME …``: every module of some folders or files of pnpkit, a section each."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        names: list[str] = []
        for name in self.arguments[0].split():
            found = pkgutil.walk_packages(getattr(import_module(name), "__path__", []), f"{name}.")
            names += [name, *(module.name for module in found)]
        public = [name for name in names if "._" not in name]
        return self.parse_text_to_nodes("".join(map(SECTION.format, public)), allow_section_headings=True)


class PublicNames(SphinxDirective):
    """``{public-names}``: what `pnpkit` exports, each with its first sentence and a link."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for name in pnpkit.__all__:
            thing = getattr(pnpkit, name)
            lines.append(f"* :py:obj:`{name} <{thing.__module__}.{name}>`: {inspect.getdoc(thing).splitlines()[0]}")
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


class CommandLine(SphinxDirective):
    """``{command-line}``: what ``--help`` says of every verb."""

    def run(self) -> list[nodes.Node]:
        command = typer.main.get_command(import_module("pnpkit.cli").app)
        for verb in command.commands.values():
            verb.short_help = re.split(r"(?<=\.)\s", verb.help)[0]  # or click cuts it where a terminal might end
        text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="pnpkit", indent=1)
        return self.parse_text_to_nodes(re.sub(r"\$(?=\w)", r"\\$", text), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("wing", Wing)
    app.add_directive("public-names", PublicNames)
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
