"""Tests the report page with titles and names that contain code."""

from __future__ import annotations

import base64
import collections
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree as ET

import pytest

from experiments.reporting.report import write_report
from ialp_jax import store
from ialp_jax.evaluation import statistics

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script src=//evil.example/x.js></script>",
    "</style></title></pre></bdi></td></table><h1>gone",
    '"><img src=x onerror="alert(1)">',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    '<a href="javascript:alert(1)">a</a>',
    "{{7*7}} {% include '/etc/passwd' %} {# x #}",
    "<!-- <![CDATA[ &lt;script&gt; &#60;script&#62; ]]> -->",
    "<svg/onload=alert(1)>",
    "\x00\x08\x1b[31m\u202e\u2028<iframe>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
)


class Page(html.parser.HTMLParser):
    """Parses a page as a browser does. Collects elements, attribute values and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: collections.Counter = collections.Counter()
        self.values: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *(name for name, _ in attrs)] += 1
        self.values += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements["comment"] += 1

    def unknown_decl(self, data: str) -> None:
        self.elements["declaration"] += 1


def rewrite(run, texts):
    """Puts texts into every text field of a run folder, and updates its manifests."""
    words = json.loads((run / "data/catalogue.json").read_text())
    titles = [texts[number % len(texts)] for number in range(len(words["titles"]) - 1)]
    names = [f"{texts[number % len(texts)]}{number}" for number in range(len(words["category_names"]) - 1)]
    words |= {
        "titles": ["", *titles],
        "text": ["", *titles],
        "category_names": ["", *names],
        "name": texts[0],
    }
    store.write_json(run / "data/catalogue.json", words)
    store.seal(run / "data", {})
    template = {"name": texts[1], "version": 1}
    facts = dict.fromkeys(("model", "revision", "adapter_use", "mode", "template_sha256"), texts[3])
    store.seal(run / "labels", facts | {"template": template, "counts": {"invalid": {texts[2]: 3}}})
    for folder, agent in (("random", "random"), ("ialp", "ialp"), ("a2c", texts[-1])):
        place = run / "adapt" / agent.replace("/", "|").replace("\x00", "")
        (run / "adapt" / folder).rename(place)
        store.seal(place, {"world": texts[4], "seconds": 1.0})
    settings = json.loads((run / "config.json").read_text()) | {"name": texts[5], texts[0]: texts}
    store.write_json(run / "config.json", settings)


@pytest.fixture
def pages(run, tmp_path, monkeypatch):
    """The page with harmless texts, and the page with hostile ones."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    shutil.copytree(run, tmp_path / "harmless")
    made = []
    for folder, texts in ((tmp_path / "harmless", ["plain"] * len(HOSTILE)), (run, HOSTILE)):
        rewrite(folder, texts)
        write_report(folder)
        made.append((folder / "report/index.html").read_text())
    return made


def test_hostile_text_is_escaped_everywhere(pages):
    harmless, hostile = map(Page, pages)
    assert hostile.elements == harmless.elements, "no element more, no attribute more"
    assert not any(tag in ("script", "iframe", "a", "svg", "comment") for tag, *_ in hostile.elements)
    for name, value in hostile.values:
        assert not name.startswith("on")
        assert "javascript:" not in value
        assert name != "src" or re.fullmatch(r"data:image/svg\+xml;base64,[\w+/=]+", value)
    shown = "".join(hostile.words)
    for text in HOSTILE[:-2]:
        assert text in shown, "as it stands in the data"


def test_pictures_contain_no_hostile_code(pages):
    pictures = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", pages[1])
    assert len(pictures) > 3
    for picture in pictures:
        for element in ET.fromstring(base64.b64decode(picture)).iter():
            assert element.tag.rpartition("}")[2] not in (
                "script",
                "foreignObject",
                "iframe",
                "meta",
                "img",
                "a",
            )
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert name.rpartition("}")[2] != "href" or value.startswith("#")


def test_page_policy_forbids_scripts_and_loading(pages):
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for page in pages:
        assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
