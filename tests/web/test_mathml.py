"""LaTeX in Markdown becomes MathML on the server; money, code and broken formulas stay what they are."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import markdown, mathml
from labeling.markdown import render

X = "<math><mrow><mi>x</mi></mrow></math>"
SHOWN_X = f'<span class="math-display">{X.replace("<math>", "<math display=block>")}</span>'.replace(
    "=block", '="block"'
)


@pytest.mark.parametrize(
    "text", ["$x$", r"\(x\)", "**$x$**", "- $x$", "> $x$", "| $x$ |\n|--|\n| a |", "$x$ 3", "($x$)"]
)
def test_a_formula_in_a_line(text: str) -> None:
    assert X in render(text)


@pytest.mark.parametrize(
    "text", ["$$x$$", "$$\nx\n$$", "\\[\nx\n\\]", "So:\n$$\nx\n$$\nend", "- a\n  $$\n  x\n  $$", "> $$\n> x\n> $$"]
)
def test_a_formula_of_its_own(text: str) -> None:
    assert SHOWN_X in render(text)
    assert "$" not in render(text)


@pytest.mark.parametrize("closing", ["$$", "\\]"])
def test_lines_of_a_formula_are_no_list_and_no_heading(closing: str) -> None:
    html = render(f"Thus:\n{closing.replace(']', '[')}\na\n- b\n+ c\n=\nd\n{closing}\nend")
    assert "<li>" not in html
    assert "<h" not in html
    assert html.count("<math") == 1
    assert "end" in html.rsplit("</math>")[1]


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "It costs $5 and 10$.",
        "From $5 million to $7 million",
        "US$5, A$6, 7$",
        "$HOME and $PATH",
        "$HOME:$PATH",
        "one $, two $",
        r"\$x\$",
        r"see \[1\]",
        "$$",
        "$ x $",
        "f(x) = \\( a",
    ],
)
def test_what_is_no_formula_stays(text: str) -> None:
    assert "<math" not in render(text)
    assert "<code" not in render(text)


@pytest.mark.parametrize(
    "text", ["`$x$`", "```\n$x$\n```", "```latex\n$$\nx\n$$\n```", "    $$\n    x\n    $$", "cost $5 `a$`"]
)
def test_code_holds_no_formulas(text: str) -> None:
    html = render(text)
    assert "<math" not in html
    assert "<code>" in html
    assert "$" in html


def test_a_formula_beside_code_and_in_a_table() -> None:
    html = render("```python\ndef f(): pass\n```\n\n$x$ `y`\n\n| a | b |\n|--:|---|\n| $x$ | `$` |")
    assert '<span class="k">def</span>' in html
    assert f"<p>{X} <code>y</code></p>" in html
    assert f'<td class="align-right">{X}</td>' in html


BROKEN = [
    r"\frac{",
    r"\left(",
    r"\nosuchthing",
    "{",
    r"\begin{matrix}",
    r"a \\ b",
    "_",
    "x^2^3",
    r"\end{align}",
    "{" * 500,
]


@pytest.mark.parametrize("latex", BROKEN)
def test_a_broken_formula_is_shown_as_its_source(latex: str) -> None:
    assert mathml.to_mathml(latex, display=True) is None
    assert render(f"\\({latex}\\)").startswith("<p><code>\\(")
    assert "<code>$$" in render(f"$$\n{latex}\n$$")


@pytest.mark.parametrize(
    "latex",
    [
        "x+" * mathml.FORMULA_LIMIT,
        r"\sqrt{" * 200 + "x" + "}" * 200,
        r"\def\a{\b\b}\def\b{\c\c}\def\c{xx}\a",
        r"\newcommand{\a}{\a\a}\a",
    ],
)
def test_a_huge_deep_or_growing_formula_is_shown_as_its_source(latex: str) -> None:
    start = time.process_time()
    assert mathml.to_mathml(latex, display=False) is None
    assert time.process_time() - start < 1


def test_a_text_of_nothing_but_formulas_is_converted_up_to_a_limit() -> None:
    html = render("$x_1$ " * (2 * mathml.TEXT_LIMIT // 3))
    assert html.count("<math") == mathml.TEXT_LIMIT // 3
    assert html.count("<code>$x_1$</code>") == 2 * mathml.TEXT_LIMIT // 3 - mathml.TEXT_LIMIT // 3


HOSTILE = {
    "dollars": "$a " * 15_000,
    "double dollars": "$$a\n" * 10_000,
    "round": "\\(a " * 10_000,
    "square": "\\[a\n" * 10_000,
    "square, closed": "\\[a\n" * 10_000 + "\\]",
    "square in lists": "- \\[\n" * 8_000,
    "letters": "$" + "a" * 40_000 + "$",
    "escaped": "$a" + "\\$" * 20_000,
    "commands": "$\\a{" * 10_000 + "$",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_delimiters_take_linear_time(text: str) -> None:
    start = time.process_time()
    render(text)
    assert time.process_time() - start < 3, "a fraction of it on a slow machine"


def test_what_models_write_most_is_rendered() -> None:
    shown = {
        r"\frac{a}{b}": "<mfrac>",
        r"\sqrt[3]{x}": "<mroot>",
        r"\sum_{i=1}^{n} i": "<munderover>",
        r"\begin{aligned} a &= b \\[2pt] c &= d \end{aligned}": '<mtd class="math-right">',
        r"\begin{cases} 1 & x \\ 2 & y \end{cases}": '<mtd class="math-left">',
        r"\begin{array}{c|c} a & b \\ \hline c & d \end{array}": '<mtd class="math-beside math-below">',
        r"\boxed{5}": '<mrow class="math-box">',
        r"\cancel{x}": '<mrow class="math-strike">',
        r"\lim_{x \to 0} f": '<munder><mo movablelimits="true">lim</mo>',
        r"\hat{y}": '<mover accent="true">',
        r"\mathbf{v} \in \mathbb{R}": "<mi>ℝ</mi>",
        r"\text{if } x < 5\%": "<mtext>if&nbsp;</mtext>",
        r"\bigl\{ a \bigr\}": ">{</mo>",
        r"\underset{x}{\arg\max}": "<munder>",
        r"\operatorname{softmax}(z)": "softmax",
    }
    for latex, wanted in shown.items():
        html = render(f"$$\n{latex}\n$$")
        assert wanted in html, latex
        assert "<code>" not in html, latex


def test_only_a_wide_formula_gets_a_tab_stop() -> None:
    assert 'class="math-display" tabindex="0"' in render("$$" + "x + " * 40 + "y$$")
    assert "tabindex" not in render("$$x$$")


def test_nothing_that_is_written_is_lost_to_the_sanitiser() -> None:
    latex = (
        r"\frac{a}{b} \! \quad \hat{y} \binom{n}{k} \mathrm{d}x \bm{x} \left(\begin{matrix} 1 \\ 2 \end{matrix}\right)"
    )
    written = mathml.to_mathml(latex, display=True)
    assert written is not None
    assert written in render(f"$$\n{latex}\n$$")


TAG = re.compile(r"<(/?)([a-z0-9]+)((?: [a-z]+=\"[^\"<>]*\")*)>")
FRAGMENTS = [
    *(r"\href{javascript:x}{y}", r"\style{color:red}", r"\class{a}", r"\text{<b>}", r"\color{red}", r"\frac", "{", "}"),
    *(r"\hspace{-9em}", r"\rlap{z}", "<", ">", '"', "&", r"\left(", r"\right)", "_", "^", r"\begin{matrix}", "x", " "),
    *(r"\sqrt", "[", "]", r"\unicode{60}", r"\mathop", r"\llap{a}", "&lt;script&gt;", r"\rule{9em}{9em}", r"\not", "'"),
    r"\end{matrix}",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), st.booleans())
def test_only_known_elements_and_attributes_come_out(latex: str, display: bool) -> None:
    written = mathml.to_mathml(latex, display=display)
    if written is None:
        return
    tags = TAG.findall(written)
    assert written.count("<") == len(tags) == written.count(">")
    for _, tag, attributes in tags:
        assert tag in mathml.TAGS
        for name, value in re.findall(r" ([a-z]+)=\"([^\"]*)\"", attributes):
            assert name in mathml.ATTRIBUTES[tag]
            assert mathml.is_safe(name, value)
            assert "-" not in value or name == "class"


def test_the_sanitiser_allows_no_dangerous_element_of_mathml() -> None:
    assert not markdown.TAGS & {"annotation", "annotation-xml", "maction", "semantics", "mglyph", "malignmark", "style"}
    assert not {"href", "style", "id", "src", "actiontype"} & set().union(*mathml.ATTRIBUTES.values())
