"""``{shown} LABEL``: a figure of a chapter once more, in a page that is a talk, a section a slide."""

import copy
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

PAGE = "book/slides"


class shown(nodes.General, nodes.Element):
    """The place of a figure, until the chapters are read."""


class Shown(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [shown(label=self.arguments[0])]


class Fetch(SphinxPostTransform):
    """Puts the chapter's image there, and a link to where it is explained; before outputs are chosen."""

    default_priority = 1

    def run(self, **options: Any) -> None:
        for node in list(self.document.findall(shown)):
            label = node["label"]
            try:
                docname, at, _ = self.env.get_domain("std").labels[label]
            except KeyError:
                raise ValueError(f"slides: no chapter has a figure {label!r}") from None
            tree = self.env.get_doctree(docname)
            (figure,) = (n for n in tree.findall(nodes.figure) if at in n["ids"])
            image = copy.deepcopy(next(figure.findall(nodes.image)))
            image.attributes |= {"classes": [], "ids": [], "names": []}
            image.attributes.pop("width", None)
            uri = self.app.builder.get_relative_uri(self.env.docname, docname) + f"#{at}"
            source = nodes.reference(
                "", f"What it shows: {self.env.titles[docname].astext()}", refuri=uri, internal=True
            )
            node.replace_self([image, nodes.paragraph("", "", source, classes=["source"])])


def template(app: Sphinx, name: str, _: str, context: dict[str, Any], tree: nodes.document | None) -> str | None:
    """The talk has a page of its own kind, without the theme; what stands before its first section is a slide too."""
    if name != PAGE:
        return None
    body = context["body"].rpartition("</section>")[0]  # the page's own section goes, which would hold them all
    first, *others = re.split(r'<section[^>]* id="([^"]*)">', body)[1:][1::2]
    context["body"] = "".join(f'<section class="slide">{part}' for part in (f"{first}</section>", *others))
    return "slides.html"


def rename(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """What leads there says what it is; its own title is that of the talk."""
    env.titles[PAGE] = nodes.title("", "Ten slides")
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(shown)
    app.add_directive("shown", Shown)
    app.add_post_transform(Fetch)
    app.connect("env-updated", rename)
    app.connect("html-page-context", template)
    app.connect(
        "config-inited", lambda _, config: config.templates_path.append(str(Path(__file__).parent / "templates"))
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
