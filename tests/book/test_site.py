"""The built site, opened page by page in a real browser, from the files, without a network.

It needs a Chromium (on the PATH, or named by CHROMIUM) and the site in _build/html (`make site`).
"""

import ast
import importlib
import json
import pathlib
import re
from functools import cache
from urllib.parse import unquote, urldefrag, urlparse

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
STATIC = ROOT / "book" / "_static"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
CHAPTERS = sorted(path.stem for path in (ROOT / "book" / "src").glob("*.md"))
SCREEN, MOST_SCREENS = {"width": 1280, "height": 800}, 12
PAGE_BYTES, SITE_BYTES = 3_000_000, 80_000_000

pytestmark = pytest.mark.site

# The formulas of the article that MathJax has not typeset, or with an error (a macro that it does not know is red)
UNSET_FORMULAS = """() => [...document.querySelectorAll('article .math')].filter(e =>
    !e.querySelector('mjx-container') || e.querySelector('mjx-merror, mjx-mtext[style*="red"]')
).map(e => e.textContent.slice(0, 60))"""
LITERAL_TEX = r"""() => {
    const article = document.querySelector('article')?.cloneNode(true);
    if (!article) return [];
    article.querySelectorAll('pre, code, script, mjx-container').forEach(e => e.remove());
    return article.textContent.match(/\\[(\[].{0,40}|\$\$.{0,40}/g) ?? [];
}"""
AS_PROGRAMMED = r"""() => {
    const article = document.querySelector('article')?.cloneNode(true);
    if (!article) return [];
    article.querySelectorAll('pre, code, script, mjx-container, .pnp').forEach(e => e.remove());
    const raw = /.{0,20}(\bf_[cm]\b|\b(alpha|gamma|tau|omega)\b|(?<![\w-])-\d|\d %).{0,20}/g;
    return article.textContent.match(raw) ?? [];
}"""
IMAGES = """async () => {
    const images = [...document.querySelectorAll('article img')];
    images.forEach(i => i.loading = 'eager');
    await Promise.all(images.map(i => i.decode().catch(() => {})));
    return images.filter(i => !(i.naturalWidth > 0)).map(i => i.src.slice(0, 200));
}"""
PLAYERS = """async () => {
    const duration = player => new Promise(done => {
        const answer = () => done(player.duration);
        if (player.readyState >= 1) return answer();
        for (const event of ['loadedmetadata', 'error']) player.addEventListener(event, answer);
        player.querySelectorAll('source').forEach(s => s.addEventListener('error', answer));
        setTimeout(answer, 10000);
        player.preload = 'metadata';
        player.load();
    });
    const all = await Promise.all([...document.querySelectorAll('audio')].map(duration));
    return all.map((d, i) => [i, String(d), Number.isFinite(d) && d > 0]).filter(([, , ok]) => !ok);
}"""
LINKS = "() => [...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => h.startsWith('file:'))"


def test_site_is_built():
    assert (SITE / "index.html").exists(), "the site is not built: run `make site`"
    for src in (ROOT / "book" / "src").glob("*.md"):
        assert f"book/{src.stem}.html" in PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page(opened, name):
    page = opened(SITE / name)
    page.wait_for_load_state("networkidle")
    page.evaluate("() => window.MathJax?.startup?.promise")

    assert page.evaluate(UNSET_FORMULAS) == []
    assert page.evaluate(LITERAL_TEX) == []
    assert "reference" in name or page.evaluate(AS_PROGRAMMED) == []
    assert page.evaluate(IMAGES) == []
    assert page.evaluate(PLAYERS) == []
    local = {unquote(urlparse(urldefrag(link)[0]).path) for link in page.evaluate(LINKS)}
    assert sorted(path for path in local if not pathlib.Path(path).exists()) == []


UNNAMED_TABLES = """() => [...document.querySelectorAll('article table.dataframe')]
    .filter(t => !(t.caption?.textContent.trim() || t.ariaLabel) ||
        [...t.querySelectorAll('th')].some(th => !th.scope && th.textContent))
    .map(t => t.textContent.slice(0, 80))"""


def drawn(page):
    """A page whose interactive figures, which are drawn when they come near, are there."""
    page.evaluate("() => window.MathJax?.startup?.promise")
    for figure in page.locator(".pnp").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function("!document.querySelector('.pnp-fallback')")
    return page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(("name", "heading"), [("index", "the-book"), ("05_atlas", "neighbours")])
def test_a_jump_to_a_heading_below_an_interactive_figure_does_not_miss(opened, name, heading, width):
    page = opened(SITE / "book" / f"{name}.html", viewport={"width": width, "height": 800})
    page.evaluate("() => window.MathJax?.startup?.promise")
    before, after = (
        (wait(), page.evaluate(f"document.getElementById('{heading}').getBoundingClientRect().top + scrollY"))[1]
        for wait in (lambda: None, lambda: drawn(page))
    )
    assert abs(after - before) < 100


@pytest.mark.parametrize("name", PAGES)
def test_no_page_scrolls_sideways_on_a_telephone(opened, name):
    page = opened(SITE / name, viewport={"width": 390, "height": 844})
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_twelve_screens_at_most_and_its_tables_are_named(opened, name):
    page = drawn(opened(SITE / "book" / f"{name}.html", viewport=SCREEN))
    assert page.evaluate("document.documentElement.scrollHeight") <= MOST_SCREENS * SCREEN["height"]
    assert page.evaluate(UNNAMED_TABLES) == []


def own_files(name):
    """A page, and the images and scripts that it shows and that are the book's, not the theme's."""
    page = SITE / name
    found = {
        (page.parent / unquote(link)).resolve() for link in re.findall(r'(?:src|href)="([^"?#:]+)', page.read_text())
    }
    ours = {(SITE / "_static" / path.relative_to(STATIC)) for path in STATIC.rglob("*")}
    return {page, *(path for path in found if path.is_file() and (path.parent.name == "_images" or path in ours))}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_within_its_budget(name):
    assert sum(path.stat().st_size for path in own_files(name)) <= PAGE_BYTES


def test_what_a_page_shows_counts_too():
    kinds = {path.suffix for path in own_files("book/07_table1.html")}
    assert {".html", ".png", ".js", ".css"} <= kinds


@pytest.mark.parametrize("name", ["index", "07_table1"])
def test_without_javascript_there_are_verdict_picture_and_players(opened, name):
    page = opened(SITE / "book" / f"{name}.html", java_script_enabled=False, viewport=SCREEN)
    assert page.locator("article audio").count() >= 3
    assert page.locator("article audio").first.is_visible()
    assert page.locator("article figure img").first.is_visible()
    assert "not decided" in page.inner_text("article")


def test_the_first_page_lights_all_seven_claims(opened):
    page = opened(SITE / "book" / "index.html")
    assert page.eval_on_selector_all("ol.verdicts li", "all => all.map(li => li.value)") == [1, 2, 3, 4, 5, 6, 7]


def test_the_search_finds_with_excerpts_and_says_what_those_need(opened):
    page = opened(SITE / "search.html", viewport=SCREEN)
    assert "server" in page.inner_text(".from-disk")
    field = page.locator(".bd-search-container input")
    field.fill("arpeggio")
    field.press("Enter")
    page.wait_for_selector("#search-results li .context")  # the tests' browser may read files
    found = page.locator("#search-results li > a").evaluate_all("all => all.map(a => a.href)")
    assert any("02_arpeggio.html" in link for link in found)


@cache
def anchors():
    """The page of the reference on which each name is documented."""
    pages = sorted((SITE / "book" / "reference").glob("*.html"))
    return {found: page for page in pages for found in re.findall(r'<dt [^>]*id="(pnpkit\.[\w.]+)"', page.read_text())}


def names_used(notebook):
    """Where the objects are documented that a chapter imports, by full name; a constant has no page."""
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or "remove-" in str(cell["metadata"]) or source.startswith("%"):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pnpkit":
                for found in (getattr(importlib.import_module(node.module), a.name, None) for a in node.names):
                    name = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
                    if name in anchors():
                        yield name


@pytest.mark.parametrize("notebook", sorted((ROOT / "book").glob("[0-9A]*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_links_to_the_names_it_uses_and_they_link_back(notebook):
    chapter = (SITE / "book" / f"{notebook.stem}.html").read_text()
    links = set(re.findall(r'href="[^"]*#(pnpkit\.[\w.]+)"', chapter))
    used = set(names_used(notebook))
    assert used
    assert used - links == set()
    back = {anchors()[name] for name in used}
    missing = [page.name for page in back if f'href="../{notebook.stem}.html#' not in page.read_text()]
    assert missing == [], "rendered before the chapter was? `make clean site`"


def test_site_is_within_its_budget():
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) <= SITE_BYTES
