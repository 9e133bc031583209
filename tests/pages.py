"""What a page of HTML holds, for the tests of the report."""

from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

SVG = "data:image/svg+xml;base64,"


class Page(HTMLParser):
    """`texts`: tag -> the text of each such element, in order; `attributes`: of every element, as (tag, name, value)."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.attributes, self.open = {}, [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("img", "meta"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag][-1] += data

    def values(self, name, of=None):
        """The values of all attributes of this name."""
        return [value for tag, attribute, value in self.attributes if attribute == name and of in (None, tag)]

    def table(self):
        """Row by row heading -> cell."""
        headings, cells = self.texts["th"], self.texts["td"]
        n = len(headings)
        return [dict(zip(headings, cells[i : i + n], strict=True)) for i in range(0, len(cells), n)]

    def drawings(self):
        """The SVG of every figure, parsed."""
        return [ElementTree.fromstring(b64decode(src.removeprefix(SVG))) for src in self.values("src", "img")]

    def titles(self):
        """The first words of every figure."""
        return [alt.split(".")[0].split(":")[0] for alt in self.values("alt")]
