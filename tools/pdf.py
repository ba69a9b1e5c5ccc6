"""Print the built site as one PDF, by a Chromium: chapters, appendices, glossary, bibliography; no LaTeX.

    python tools/pdf.py SITE OUT     such as _build/html build/book.pdf

Folded code and provenance stay on the site, which the first page says; folded results and solutions are printed,
sounds are named.
"""

import os
import pathlib
import shutil
import sys
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEFT_OUT = ("book/reference/", "book/slides")
FLAGS = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--disable-background-networking"]
A4, MARGIN, SCALE = 210.0, 18.0, 0.8  # mm, mm, and the size of a letter over its size on the site
WIDTH = int((A4 - 2 * MARGIN) / 25.4 * 96 / SCALE)  # CSS pixels between the margins

# All articles in one body, so that links between chapters are links inside the PDF and its outline is the book's
COMPOSE = """async pages => {
    const name = url => url.pathname.split('/').pop().replace('.html', '');
    const known = new Set(pages.map(([url]) => name(new URL(url)))), parser = new DOMParser();
    const articles = pages.map(([url, text]) => {
        const article = parser.parseFromString(text, 'text/html').querySelector('article'), own = name(new URL(url));
        const all = (selector, work) => article.querySelectorAll(selector).forEach(work);
        all('script, audio, .headerlink, details .cell_input, details.folded > :not(summary)', e => e.remove());
        all('.cell details', e => e.querySelector('.cell_output') ? e.open = true : e.remove());
        all('.cell details .expanded', e => e.remove());
        all('.pnp', e => e.outerHTML = `<p><em>On the site, to be turned and heard: ${e.ariaLabel}.</em></p>`);
        all('[id]', e => e.id = `${own}--${e.id}`);
        all('img', e => { e.src = new URL(e.getAttribute('src'), url); e.loading = 'eager'; });
        all('a[href]', a => {
            const to = new URL(a.getAttribute('href'), url), there = name(to);
            if (to.protocol !== 'file:') return;
            if (known.has(there)) a.setAttribute('href', `#${there}${to.hash && '--'}${to.hash.slice(1)}`);
            else a.removeAttribute('href');
        });
        article.id = own;
        return article;
    });
    const note = document.createElement('p');
    note.textContent = 'Printed from the site; its sounds, its folded code and its provenance are there only.';
    articles[0].querySelector('h1').after(note);
    document.body.replaceChildren(...articles);
    document.body.className = 'pdf';
    await MathJax.typesetPromise();
    await Promise.all([...document.images].map(i => i.decode().catch(() => {})));
}"""
# What reaches over the margin, or is cut by what it stands in
CUT = """() => {
    const most = document.body.getBoundingClientRect().right + 1, wide = [];
    for (const e of document.querySelectorAll('pre, table, td, img, p, mjx-container, .output')) {
        const box = e.getBoundingClientRect();
        const clipped = getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1;
        if (box.width && (box.right > most || clipped))
            wide.push([e.closest('article')?.id, e.tagName, e.textContent.slice(0, 60)].join(' '));
    }
    return wide;
}"""


def pages(site: pathlib.Path) -> list[pathlib.Path]:
    """The pages that are printed, in the order of the contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])]
    return [site / f"{name}.html" for name in names if not name.startswith(LEFT_OUT)]


def compose(browser: Any, site: pathlib.Path) -> Any:
    """A browser's page that holds the whole book, laid out as it is printed."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1100}, color_scheme="light")
    files = pages(site)
    page.goto(files[0].as_uri())
    page.evaluate("() => window.MathJax.startup.promise")
    page.emulate_media(media="print")
    page.evaluate(COMPOSE, [[path.as_uri(), path.read_text(encoding="utf-8")] for path in files])
    return page


def write(page: Any, out: pathlib.Path) -> None:
    """Print a composed page, with an outline, tags for screen readers, and page numbers."""
    out.parent.mkdir(parents=True, exist_ok=True)
    number = '<p style="width: 100%; text-align: center; font-size: 8pt"><span class="pageNumber"></span></p>'
    margin = dict.fromkeys(("top", "bottom", "left", "right"), f"{MARGIN}mm")
    page.pdf(
        path=out, format="A4", margin=margin, scale=SCALE, print_background=True, outline=True, tagged=True,
        display_header_footer=True, header_template="<p></p>", footer_template=number,
    )  # fmt: skip


def main(site: str, out: str) -> int:
    """Print the site, unless something would be cut."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), "chromium", "google-chrome"))), None)
    if program is None:
        print("no Chromium on this machine: install one, or set CHROMIUM=/path/to/one", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = compose(browser, pathlib.Path(site).resolve())
        for line in (wide := page.evaluate(CUT)):
            print(f"wider than the page: {line}", file=sys.stderr)
        write(page, pathlib.Path(out))
        browser.close()
    print(f"{out}: {pathlib.Path(out).stat().st_size / 1e6:.1f} MB")
    return int(bool(wide))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
