"""Looks at pages in a real browser as people do: wide and narrow, by day and by night, with a keyboard and on paper.

usage: look.py BROWSER FOLDER

BROWSER is the program of a Chromium. Every page `*.html` of the folder is looked at; pictures and the page on paper are
left beside it. Prints what is wrong as JSON lines, and nothing if all is well.
"""

import contextlib
import json
import sys
from pathlib import Path

import pypdf
from playwright.sync_api import sync_playwright

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
# An A4 page between margins of 14 mm, in the pixels of CSS.
PAPER = {"width": 688, "height": 1000}
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]

# What is used by all that follows: how text contrasts with what is behind it, by WCAG 2.2.
COLOURS = """
const parts = text => {
  const [, r, g, b, a] = text.match(/^rgba?\\(([\\d.]+), ([\\d.]+), ([\\d.]+)(?:, ([\\d.]+))?\\)$/) ||
    (() => { throw new Error(`not a colour that is known: ${text}`) })();
  return [+r, +g, +b, a === undefined ? 1 : +a];
};
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const backdrop = element => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const style = getComputedStyle(e);
    if (style.backgroundImage !== 'none') throw new Error(`a picture is behind <${e.tagName.toLowerCase()}>`);
    if (style.opacity !== '1') throw new Error(`<${e.tagName.toLowerCase()}> is not opaque`);
    layers.push(parts(style.backgroundColor));
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
};
const light = colour => {
  const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const name = e => `<${e.tagName.toLowerCase()}${e.className ? '.' + e.getAttribute('class') : ''}> ` +
  (e.getAttribute('aria-label') || e.textContent).trim().replace(/\\s+/g, ' ').slice(0, 50);
"""

# Every text that is not legible, with its contrast; of many that are alike only the first.
PALE = "() => {" + COLOURS + """
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    seen += 1;
    const behind = backdrop(element);
    const ink = over(parts(getComputedStyle(element).color), behind);
    const measured = contrast(ink, behind);
    const key = `${ink} on ${behind}`;
    if (measured < 4.5 && !found.has(key)) found.set(key, `${measured.toFixed(2)}: ${name(element)}`);
  }
  for (const drawing of document.querySelectorAll('svg')) {
    const measured = contrast(parts(getComputedStyle(drawing).color), backdrop(drawing));
    if (measured < 3) found.set(drawing, `${measured.toFixed(2)}: a drawing`);
  }
  if (seen < 10) found.set('nothing', `only ${seen} texts are there`);
  return [...found.values()];
}"""

# What can be reached, in the order in which it should be.
REACHABLE = """() => {
  const all = [...document.querySelectorAll('a[href], summary, [tabindex="0"]')];
  const shown = all.filter(e => {
    const folded = e.parentElement.closest('details:not([open])');
    return !folded || (e.tagName === 'SUMMARY' && e.parentElement === folded && !folded.parentElement.closest('details:not([open])'));
  });
  shown.forEach((e, at) => e.dataset.stop = at);
  return shown.map(e => `<${e.tagName.toLowerCase()}> ` + (e.getAttribute('aria-label') || e.textContent).trim().slice(0, 50));
}"""

# Where the focus is, and what cannot be seen of it.
FOCUSED = "() => {" + COLOURS + """
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const [style, box] = [getComputedStyle(e), e.getBoundingClientRect()];
  const around = backdrop(e.parentElement);
  let wrong = null;
  if (!e.matches(':focus-visible')) wrong = 'does not show that it has the focus';
  else if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) wrong = 'has no ring';
  else if (contrast(over(parts(style.outlineColor), around), around) < 3) wrong = 'has a ring that is too pale';
  else if (box.width < 1 || box.height < 1 || box.right < 1 || box.left > innerWidth - 1 ||
           box.bottom < 1 || box.top > innerHeight - 1) wrong = 'is not in sight';
  return { stop: e.dataset.stop === undefined ? null : +e.dataset.stop, name: name(e), wrong };
}"""

# Words and names that only those who unfold something see.
FOLDED = """() => [...document.querySelectorAll('details')].map(e => {
  e.open = true;
  const cells = [...e.querySelectorAll('th, td, pre, p')].map(cell => cell.innerText).filter(text => text.trim());
  return [e.querySelector('summary').innerText, cells];
})"""

# What is wider than the page, and not in a part of it that scrolls.
WIDER = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  const scrolls = e => e && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.body.querySelectorAll('*')].filter(e =>
    e.getBoundingClientRect().right > most + 1 && !scrolls(e.parentElement) &&
    ![...e.children].some(child => child.getBoundingClientRect().right > most + 1));
  return [`${document.documentElement.scrollWidth} pixels on ${innerWidth}`].concat(
    wide.slice(0, 3).map(e => `<${e.tagName.toLowerCase()}> ${e.textContent.trim().slice(0, 50)}`));
}"""

# Links inside of the page that lead nowhere.
ASTRAY = """() => [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href'))
  .filter(href => document.querySelectorAll(`[id="${CSS.escape(href.slice(1))}"]`).length !== 1)"""


class Look:
    """One page, on one screen."""

    def __init__(self, browser, file, width, scheme, problems):
        self.browser, self.file, self.width, self.scheme, self.problems = browser, file, width, scheme, problems

    def say(self, kind, what):
        self.problems.append(
            {"page": self.file.stem, "width": self.width, "scheme": self.scheme, "kind": kind, "what": what})

    @contextlib.contextmanager
    def opened(self):
        context = self.browser.new_context(
            viewport={"width": self.width, "height": 900}, color_scheme=self.scheme, offline=True)
        page = context.new_page()
        page.on("console", lambda message: self.say("console", message.text))
        page.on("pageerror", lambda error: self.say("console", str(error)))
        page.on("request", lambda request: request.url == self.file.as_uri() or request.url.startswith("data:")
                or self.say("fetched", request.url))
        page.goto(self.file.as_uri())
        yield page
        context.close()

    def screen(self):
        with self.opened() as page:
            page.screenshot(path=self.beside("png"), full_page=True)
            for wide in page.evaluate(WIDER):
                self.say("overflow", wide)
            for href in page.evaluate(ASTRAY):
                self.say("link", href)
            self.keyboard(page)
        with self.opened() as page:
            # Now with everything unfolded, which may be wide and pale, too.
            page.evaluate("() => document.querySelectorAll('details').forEach(e => e.open = true)")
            for wide in page.evaluate(WIDER):
                self.say("overflow", f"unfolded: {wide}")
            for pale in page.evaluate(PALE):
                self.say("contrast", pale)

    def keyboard(self, page):
        """Goes through the page with the Tab key: everything is reached in its order, and one sees where one is."""
        expected = page.evaluate(REACHABLE)
        reached = []
        for _ in range(len(expected) + 20):
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            if focused is None or focused["stop"] is not None and focused["stop"] in reached:
                break
            if focused["stop"] is not None:
                reached.append(focused["stop"])
            if focused["wrong"]:
                self.say("focus", f"{focused['name']} {focused['wrong']}")
        if reached != list(range(len(expected))):
            missed = [name for at, name in enumerate(expected) if at not in reached]
            self.say("keyboard", f"not reached: {missed}; in the order {reached}")

    def paper(self):
        """Prints it: nothing is cut off, what is folded is opened, and it is dark on white in the dark, too."""
        with self.opened() as page:
            folded = page.evaluate(FOLDED)
        with self.opened() as page:
            page.pdf(path=self.beside("pdf"), format="A4", prefer_css_page_size=True)
            page.emulate_media(media="print")
            page.set_viewport_size(PAPER)
            for wide in page.evaluate(WIDER):
                self.say("overflow", f"on paper: {wide}")
            for pale in page.evaluate(PALE):
                self.say("contrast", f"on paper: {pale}")
        printed = "".join(sheet.extract_text() for sheet in pypdf.PdfReader(self.beside("pdf")).pages)
        printed = squeezed(printed)
        for title, cells in folded:
            missing = [cell for cell in cells if not all(squeezed(word) in printed for word in cell.split())]
            if missing:
                self.say("paper", f"{title}: {missing[0][:80]!r} is not printed, nor are {len(missing) - 1} more")

    def beside(self, ending):
        return str(self.file.with_name(f"{self.file.stem}-{self.width}-{self.scheme}.{ending}"))


def squeezed(text):
    """Text without its spaces and line breaks, which are other ones on paper."""
    return "".join(text.split())


def main():
    program, folder = sys.argv[1:]
    problems = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for file in sorted(Path(folder).resolve().glob("*.html")):
            for width in WIDTHS:
                for scheme in SCHEMES:
                    look = Look(browser, file, width, scheme, problems)
                    look.screen()
                    if width == WIDTHS[0]:
                        look.paper()
        browser.close()
    for problem in problems:
        print(json.dumps(problem))


main()
