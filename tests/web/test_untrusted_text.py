"""Whatever people and models write is shown as text or as tame HTML, on every page that shows it."""

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from labeling.markdown import render
from labeling.models import Deployment, Flag, Label, Pair, Project, Rationale, TrainingRun
from tests import factories
from tests.web.conftest import World

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    '![x](x"onerror=alert`1`)',
    "<a href='vbscript:x'>x</a>",
    '```html"onmouseover=alert(1)\n<script>alert(1)</script>\n```',
    "<div style='position:fixed;inset:0'>x</div>",
    '<form action="/logout/"><button id="commit">x</button></form>',
    "[ref]\n\n[ref]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "|a|\n|-|\n|<script>alert(1)</script>|",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\style{position:fixed}{x}$",
    r"$\class{panel}{x}$",
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{</mtext></math><img src=x onerror=alert(1)>}$",
    r"$\text{&lt;script&gt;alert(1)&lt;/script&gt;}$",
    r"$\unicode{60}script\unicode{62}$",
    r"$\text{\" onmouseover=\"alert(1)}$",
    r'$$\begin{array}{c" onclick="alert(1)}x\end{array}$$',
    r"\[<annotation-xml encoding='text/html'><script>alert(1)</script></annotation-xml>\]",
    r"\(\frac{<svg onload=alert(1)>\)",
    r"$\color{red;background:url(//x.example)}{x}$",
    r"$\hspace{-99em}\text{elsewhere on the page}$",
]
DANGEROUS = (
    *("<script", "<img", "<svg", "<iframe", "<div", "<form", "<button", "<style"),
    *('href="javascript', 'href="vbscript', 'href="data'),
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_is_harmless(attack: str) -> None:
    html = render(attack)
    assert not [found for found in DANGEROUS if found in html.lower()]
    for tag in html.split("<")[1:]:
        opened = tag.split(">")[0]
        assert " on" not in opened
        assert " style" not in opened
        assert " id=" not in opened


@given(st.text(alphabet="<>\"'=()[]{}!`:/\\$^ \nscriptjavonload#|-*_&;x", max_size=200))
def test_no_text_makes_a_tag_that_is_not_allowed(text: str) -> None:
    html = render(text)
    assert not [found for found in DANGEROUS if found in html.lower()]


def test_markdown_still_formats() -> None:
    html = render("# Title\n\n**bold** `code`\n\n| a |\n|--:|\n| 1 |\n\n```python\ndef f(): pass\n```\n\n1. one")
    for wanted in ("<h4>Title</h4>", "<strong>bold</strong>", "<code>code</code>", '<td class="align-right">1</td>'):
        assert wanted in html
    assert '<span class="k">def</span>' in html
    assert "<ol>" in html


def test_images_become_links_so_that_nobody_is_tracked() -> None:
    html = render("![a cat](https://example.org/cat.png)")
    assert "<img" not in html
    assert 'href="https://example.org/cat.png"' in html
    assert "[image: a cat]" in html


ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def clean(client: Client, url: str) -> None:
    page = client.get(url)
    assert page.status_code == 200
    html = page.content.decode()
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "alert(" in html, "the text itself is shown"


def test_no_page_runs_what_a_text_says(as_alice: Client, as_bob: Client, world: World, champion: Deployment) -> None:
    texts = {"response_a": ATTACK, "response_b": ATTACK + "b", "prompt": [{"role": "user", "content": ATTACK}]}
    Pair.objects.update(model_a=ATTACK, **texts)
    Project.objects.update(name=ATTACK, guidelines=ATTACK)
    Label.objects.update(comment=ATTACK)
    judged = factories.JudgementFactory.create(pair=world.pair, judge=champion.judge, method="cot")
    Rationale.objects.create(judgement=judged, swapped=False, sample=0, text=ATTACK, verdict="a", p_a=0.9)
    Flag.objects.create(pair=world.pair, kind="reported", detail={"by": ATTACK, "comment": ATTACK})
    examples = [{"text": ATTACK, "right": True}]
    TrainingRun.objects.update(log=ATTACK, error=ATTACK, message=ATTACK, examples=examples)
    world.batch.rejected_lines.create(number=1, reason=ATTACK, excerpt=ATTACK)
    for url in ("/", "/p/stories/", "/p/stories/flags/", f"/p/stories/pairs/{world.pair.pk}/"):
        clean(as_alice, url)
    for url in (f"/runs/{world.run.pk}/", f"/imports/{world.batch.pk}/", "/p/stories/import/"):
        clean(as_alice, url)
    for url in ("/p/stories/label/", f"/labels/{world.label.pk}/reveal/"):
        clean(as_bob, url)


def test_every_page_carries_a_strict_policy(as_alice: Client, world: World) -> None:
    policy = as_alice.get("/p/stories/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
