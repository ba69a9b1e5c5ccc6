"""What every page gets: links to the glossary, a description and a picture for whoever links to it, mended markup."""

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

PICTURE = (
    "https://raw.githubusercontent.com/pnpkit/pnpkit/main/book/_static/headline.png"  # an address, or nobody shows it
)
ELSEWHERE = {"run", "fold", "heard", "atlas"}  # words that mostly mean something else: linked by hand
BARE = re.compile(r"book/(reference/.*|slides|bibliography)")
SILENT = (nodes.reference, nodes.literal, nodes.math, nodes.caption, nodes.problematic)
MENDED = (
    # a link inside what unfolds, by sphinx-codeautolink: one control in another
    (re.compile(r"(<summary>[^<]*)<a [^>]*>(.*?)</a>(?=</summary>)", re.S), r"\1\2"),
    # docutils' roles for citations: the list has other children too, and the items' role is withdrawn
    (re.compile(r'(<div) role="list"( class="citation-list">)'), r"\1\2"),
    (re.compile(r' role="doc-biblioentry"'), ""),
)
# What is no text of a page, and what is
TEXT = re.compile(
    r'<(script|style|pre|code|svg|textarea)\b.*?</\1>|<(span|div)[^>]* class="math.*?</\2>|<[^>]*>|([^<]+)', re.S
)
GREEK = {"alpha": "α", "gamma": "γ", "tau": "τ", "omega": "ω"}
SET = (  # as it comes from a program, and as it is set
    # A number, which may have come from a chapter's program, stays with its thousands and its per cent
    (re.compile(r"(?<=\d)[ \u00a0](?=%|\d{3}(?!\d))|^ (?=%)"), "\u202f"),
    (re.compile(r"\bf_([cm])\b"), r"<i>f</i><sub>\1</sub>"),
    *((re.compile(rf"\b{name}\b"), letter) for name, letter in GREEK.items()),
    (re.compile(r"(?<![\w-])-(?=\d)"), "−"),
    (re.compile(r"(?<=\w)'(?=\w|\s)"), "’"),
)


class GlossaryLinks(SphinxPostTransform):
    """Where a word of the glossary first comes in a page's text, it leads there."""

    default_priority = 8

    def run(self, **options: Any) -> None:
        objects = self.env.get_domain("std").get_objects()
        terms = {name.lower(): (name, doc, at) for name, _, kind, doc, at, _ in objects if kind == "term"}
        home = {doc for _, doc, _ in terms.values()}
        if not terms or self.env.docname in home or BARE.fullmatch(self.env.docname):
            return
        linked = {node.get("refuri", "").partition("#")[2] for node in self.document.findall(nodes.reference)}
        left = {word for word, (_, _, at) in terms.items() if at not in linked} - ELSEWHERE
        for text in list(self.document.findall(nodes.Text)):
            if left and self.is_prose(text):
                left = self.link_first(text, left, terms)

    @staticmethod
    def is_prose(node: nodes.Node) -> bool:
        """Whether a text stands in a paragraph or a list, and in nothing that has a meaning of its own."""
        prose = False
        while node.parent is not None:
            node = node.parent
            if isinstance(node, SILENT):
                return False
            prose |= isinstance(node, nodes.paragraph)
        return prose

    def link_first(self, text: nodes.Text, left: set[str], terms: dict[str, tuple[str, str, str]]) -> set[str]:
        """Replace a text by itself with links; the words that are still to come."""
        words = "|".join(map(re.escape, sorted(left, key=len, reverse=True)))
        parts: list[nodes.Node] = []
        end = 0
        for match in re.finditer(rf"(?<![\w-])({words})(?:s|es)?(?![\w-])", text, re.IGNORECASE):
            word = match[1].lower()
            if word not in left:
                continue
            left = left - {word}
            _, doc, at = terms[word]
            uri = self.app.builder.get_relative_uri(self.env.docname, doc) + f"#{at}"
            parts += [nodes.Text(text[end : match.start()])]
            parts += [nodes.reference("", match[0], refuri=uri, internal=True, classes=["glossary"])]
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])
        return left


def typeset(text: str) -> str:
    """Text with its symbols, minus signs, apostrophes and narrow spaces."""
    for pattern, instead in SET:
        text = pattern.sub(instead, text)
    return text


def complete(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: nodes.document | None) -> None:
    """Mend the body, and say in the head what the page is: in search results, and where somebody links to it."""
    for pattern, instead in MENDED:
        context["body"] = pattern.sub(instead, context.get("body", ""))
    if not name.startswith("book/reference/"):
        context["body"] = TEXT.sub(lambda at: typeset(at[3]) if at[3] else at[0], context["body"])
    if tree is None:
        return
    first = next((node.astext() for node in tree.findall(nodes.paragraph) if len(node.astext()) > 40), "")
    words = re.sub(r"\s+", " ", first)
    shown = words if len(words) <= 200 else words[:200].rpartition(" ")[0] + " …"
    title = re.sub("<[^>]+>", "", context.get("title", ""))
    properties = {"og:title": title, "og:type": "article", "og:description": shown, "og:image": PICTURE}
    tags = [f'<meta name="description" content="{html.escape(shown)}">']
    tags += [f'<meta property="{key}" content="{html.escape(value)}">' for key, value in properties.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)


def letter_figures(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Number the figures of an appendix by its name, A1.1, where Sphinx has nothing to put before the point."""
    for doc, kinds in env.toc_fignumbers.items():
        if appendix := re.match(r"book/(A\d+)_", doc):
            for figures in kinds.values():
                figures.update({name: (appendix[1], k) for k, name in enumerate(figures, 1)})
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(GlossaryLinks)
    app.connect("env-get-updated", letter_figures, priority=900)  # after Sphinx has numbered them
    app.connect("html-page-context", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
