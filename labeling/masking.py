"""Names of models and vendors hidden where a response says who wrote it, so that a blind annotator stays blind.

A name is hidden only inside a self-identification ("I'm …", "As …, I", "trained by …"), never in other talk of it or
in code. It knows common phrases of English, German, French, Spanish and Chinese, and no others.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from markdown_it import MarkdownIt

PLACEHOLDER = "‹name hidden›"
"""Plain words for a screen reader, in quotation marks that mean nothing to Markdown."""


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


MODELS = _list("""
    chat ?gpt, gpt, instruct ?gpt, text-davinci, davinci, claude, bard, gemini, gemma, palm ?2, lamda, llama,
    code ?llama, alpaca, vicuna, koala, open ?assistant, oasst, guanaco, wizard ?lm, mistral, mixtral, ministral,
    zephyr, falcon, mpt, stable ?lm, stable vicuna, stable beluga, chat ?glm, glm, qwen, tongyi qianwen, ernie bot,
    ernie, baichuan, deep ?seek, kimi, minimax, grok, phi-[1-4], command r, copilot, bing chat, bing, jurassic,
    olmo, tulu, openchat, starling, intern ?lm, doubao, hunyuan, sparkdesk, le chat, meta ai, nemotron, granite,
    smol ?lm, rwkv, bloomz, pythia, fastchat, gpt4all, 通义千问, 千问, 文心一言, 文心, 豆包,
    混元, 讯飞星火, 星火, 智谱清言, 百川, 深度求索, 盘古
""")
VENDORS = _list(r"""
    openai, anthropic, google(?: deepmind| research| ai)?, alphabet, deepmind, meta(?: platforms)?, facebook,
    microsoft, alibaba(?: cloud| group)?, aliyun, baidu, tencent, bytedance, zhipu(?: ai)?, moonshot(?: ai)?,
    mistral ai, xai, cohere, ai21(?: labs)?, databricks, stability ?ai, lmsys(?: org)?, nomic(?: ai)?,
    large model systems organization, hugging ?face, laion(?: ai)?, amazon, apple, ibm, nvidia, eleuther ?ai,
    technology innovation institute, tii, bigscience, mosaic ?ml, together(?: ai|computer), 01\.ai, nous research,
    allen institute for (?:ai|artificial intelligence), ai2, stanford(?: university)?, uc berkeley, salesforce,
    阿里云,
    阿里巴巴, 百度, 腾讯, 字节跳动, 智谱(?:ai)?, 月之暗面, 科大讯飞, 华为, 谷歌, 微软
""")
"""Both in regular expressions, lower case."""
GENERIC = _list("""
    a, ai, answer, assistant, b, base, baseline, chat, chosen, code, generator, human, instruct, judge, language,
    large, llm, lora, me, model, my, new, old, open, our, policy, reference, rejected, response, reward, run, sft,
    small, system, test, the, tuned, user, version, writer
""")
"""First words of model names that are no name."""


A = "['’‘ʼ´`]"
"""Apostrophes as people and models write them."""
LONGEST_PHRASE = 6
"""Words that may stand before "model" or "assistant"."""
VERSION = (
    r"(?:[- ]?(?:v?\d+(?:\.\d+){0,3}[a-z]{0,2}|turbo|pro|ultra|nano|flash|opus|sonnet|haiku|instant|large|medium|small"
    r"|ai|mini|plus|max|chat|instruct|next|preview|advanced|thinking|coder|reasoner|r1|bot)(?![A-Za-z]))"
)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})", re.IGNORECASE | re.VERBOSE)


SELF = _words(rf"""
    (?P<direct>
        \bI(?:{A}m|\ am)\b | \bmy\ name(?:\ is|{A}s)\b | \bcall\ me\b
        | \b(?:ich\ bin|ich\ heiße|mein\ name\ ist|je\ suis|je\ m{A}appelle|mon\ nom\ est)\b
        | \b(?:soy|me\ llamo|mi\ nombre\ es)\b
    )
    | (?P<made>
        \bI(?:{A}ve|\ was|\ have|\ got)\b(?:\ been\b)? | \bich\ wurde\b | \bj{A}ai\ été\b | \b(?:fui|he\ sido)\b
    )
    | (?P<as>\b(?:as|being|als|como|en\ tant\ qu(?:e\b|{A}))(?!\w))
    | (?P<this>\bthis\ is\b)
    | (?P<maker>\bmy\ (?:creators?|developers?|makers?)\b)
    | (?P<chinese>我是|我叫|我的名字(?:是|叫)|作为)
""")
"""How a text begins to speak of its writer."""

ADVERB = _words(r"""\s+(?:not|just|actually|really|indeed|also|still|only|simply|called|named|known\ as|originally
    |based\ on|powered\ by|running\ on|built\ on|a\ version\ of|the|nicht|nur|eigentlich|pas|juste|solo)(?=\s)""")
ARTICLE = _words(rf"""\s+(?:an?|the|your|one\ of\ the|ein|eine|das|dein|ihr|une?|le|la|votre|un|una|el|su|tu)(?=\s)
    |\s+l{A}|\s*(?=une?\b)""")
STOP = _words(r"""\s*(?:at|on|of|for|who|that|in|with|and|or|by|to|from|about|using|working|fan|user|de|des|du|para|mit
    |für|bei|chez|der)\b""")
WORD = _words(rf"[\s-]*\w{{1,30}}(?:{A}\w{{1,3}})?(?=[\s-])")
NOUN = _words(r"""[\s-]*(?:language[ -]model|llm|chat\ ?bot|artificial\ intelligence|assistant|model|bot|system|program
    |AI(?=\s*(?:[.,!?;:)(]|\Z)|\s+(?:\w{3,15}ly|trained|developed|created|made|built|designed|from|by|called|named|that|which|and)\b)
    |sprachmodell|KI(?:-\w{1,30})?|künstliche\ intelligenz|assistent(?:in)?|modell
    |modèle(?:\ de\ lang(?:age|ue))?|IA|intelligence\ artificielle|agent\ conversationnel
    |modelo(?:\ de\ (?:lenguaje|lengua))?|asistente|inteligencia\ artificial)\b
    (?!\s+(?:assistant|chat\ ?bot|model|system|bot|program|virtuell?e?|virtual
      |engineer|researcher|user|expert|developer|scientist|enthusiast|trainer|company|consultant|specialist|team)\b)
    (?:\ virtuel|\ virtual)?""")
VERB = r"""(?:(?:pre-?)?trained|developed|created|made|built|designed|fine-?tuned|released|provided|programmed
    |engineered|powered|operated|entwickelt|trainiert|erstellt|geschaffen|entworfen|développée?|créée?|entraînée?|conçue?|formée?
    |desarrollad[oa]|cread[oa]|entrenad[oa]|diseñad[oa])"""
TEAM = r"""(?:\s+(?:the|an?|some|researchers|engineers|scientists|developers|experts|people|folks|team|company|startup
    |organi[sz]ation|lab|research|at|of|from|in|dem|der|unternehmen|firma|la|société|équipe|entreprise|de|empresa|equipo)
    (?=\s)|\s+l['’](?:équipe|entreprise)(?=\s)){0,7}"""
LINK = _words(r"""[\s,(;–—-]*(?:(?:and|which|that|who|das|die|der|qui|que)\b)?
    (?:\s*\b(?:I|it)\b)?(?:\s*\b(?:was|is|am|has\ been|have\ been|wurde|a\ été|est|fue|ha\ sido)\b)?
    (?:\s*\b(?:not|just|\w{3,15}ly|ursprünglich)\b)?""")
MADE_BY = _words(rf"\s*{VERB}(?:\s*(?:and|,|und|et|y)\s*{VERB})?\s+(?:by|von|vom|par|por){TEAM}\s*")
BY = _words(rf"\s*(?:von|vom){TEAM}\s*")
MADE = _words(rf"\s*{VERB}(?:e[ns]?)?\b")
CALLED = _words(rf"""[\s,(]*\b(?:called|named|known\ as|from|by|based\ on|powered\ by|running\ on|namens|genannt
    |basierend\ auf|appelée?|nommée?|basée?\ sur|llamad[oa]|basad[oa]\ en|de|von)\b{TEAM}\s*""")
ABBREVIATION = _words(r"\s*\((?:LLM|AI|KI|IA)\)")
AND = _words(r"\s*(?:,|\band\b|&|/|\bund\b|\bet\b|\by\b)\s*")
COMMA = _words(r"\s*[,(–—-]\s*")
POSSESSIVE = _words(rf"{A}s\b")
OWNED_BY = _words(rf"(?:\s+(?:is|are|at|from))?{TEAM}\s*[,(:]?\s*")
ENDS = _words(r"""\s*(?:[，。！？.,!?;:)\]…–—\"”*_\n](?![a-z0-9])|\Z|[-–—]\s)
    |\s+(?:and|but|an?|the|your|by|from|here|speaking|trained|developed|created|made|built|designed|not|model|language|AI
    |assistant|chatbot|version|based|architecture|family|I|und|ein|eine|das|von|et|une?|y|una|de|desarrollad[oa]
    |cread[oa]|créée?|développée?|entwickelt)\b""")
"""What may follow a bare name; "I am Claude Monet" and "I'm bard of" are no claim."""
STOPS_THERE = _words(r"\s*(?:[.,!?;:)\n]|\Z)")
SPEAKS = _words(r",?\s+(?:speaking|here|talking|writing)\b")
GOES_ON = re.compile(r"\s*(?:[.!?:;\n]|\Z|,\s*(?:[a-z]|I\b))")
"""Not "As a model developed by Google, BERT …"."""
FIRST_PERSON = _words(rf"\s*,?\s*(?:I\b|my\b|me\b|ich\b|habe\b|kann\b|je\b|j{A}|yo\b|no\b|puedo\b)")
APPOSITION = _words(r"\s*,\s*(?:an?|the|ein|eine|une?|una?)\b")
AT_A_START = _words(r"(?:^|[.!?:;(\n\"“>*_#-])\s*\Z")
CHINESE_MADE = _words("(?:公司|团队|实验室|集团)?(?:自主|独立)?(?:研发|开发|训练|创建|推出|创造|打造|制作|设计|提供)")
CHINESE_ENDS = _words(r"\s*(?:[，。！？、；,.!?;（(\n]|\Z)")
CHINESE_LINK = _words(r"[，,、\s]*(?:是)?(?:一[个款名种位])?(?:由)?(?:来自)?\s*")
CHINESE_NOUN = _words("(?:的?(?:大型|大|规模|人工智能|AI|预训练|语言|聊天|对话|智能|机器人|助手|助理|模型)){1,8}")
SPACE = _words(r"\s*")
DECOR = _words(r"[*_\"“”«»‘’'\[]{0,3}")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?!\n[ \t]*\n).){1,1000}?(?<!`)\1(?!`)", re.DOTALL)
_blocks = MarkdownIt("commonmark")
_blocks.core.ruler.disable(["inline", "text_join"])


@dataclass(frozen=True)
class Masked:
    """A text without the names, and how many were hidden."""

    text: str
    count: int


def mask(text: str, names: Sequence[str] = ()) -> Masked:
    """Hide each name in a self-identification; `names` are the models that the responses may come from."""
    known = _known(tuple(names))
    count = 0
    while spans := _names_to_hide(text, known):
        parts, end = [], 0
        for start, stop in spans:
            parts += [text[end:start], PLACEHOLDER]
            end = stop
        text = "".join([*parts, text[end:]])
        count += len(spans)
    return Masked(text, count)


@dataclass(frozen=True)
class Known:
    """The names to look for: models, and anything that has a name; a hidden name counts as one."""

    model: re.Pattern[str]
    any: re.Pattern[str]
    made_me: re.Pattern[str]


@lru_cache(maxsize=256)
def _known(names: tuple[str, ...]) -> Known:
    own = {form for name in names for form in _forms(name)}
    hidden, left, right = re.escape(PLACEHOLDER), r"(?<![A-Za-zÀ-ɏ0-9])", r"(?![A-Za-zÀ-ɏ0-9_])"
    models = "|".join(sorted({*own, *MODELS}, key=len, reverse=True))
    vendors = "|".join(sorted(VENDORS, key=len, reverse=True))
    vendor = rf"{left}(?:{vendors}){right}"
    model = rf"(?:{vendor}(?:{A}s)?\s+)?{left}(?:{models}){VERSION}{{0,5}}{right}"
    flags = re.IGNORECASE
    return Known(
        model=re.compile(rf"{hidden}|{model}", flags),
        any=re.compile(rf"{hidden}|{model}|{vendor}", flags),
        made_me=re.compile(
            rf"(?:{model}|{vendor})(?=\s+(?:has\s+|have\s+)?(?:trained|developed|created|made|built|designed)\s+me\b)",
            flags,
        ),
    )


def _forms(name: str) -> Iterator[str]:
    """A model's name as a text may write it, and its family: "vicuna-13b-v1.3" is also Vicuna."""
    parts = re.findall(r"[^\W_]+", name.rsplit("/", 1)[-1])
    families = re.findall(r"[^\W\d_]+", parts[0])[:1] if parts else []
    if len(parts) > 1 or (parts and parts[0].lower() not in GENERIC and len(parts[0]) > 2):
        yield r"[-_ .:]?".join(map(re.escape, parts))
    for family in families:
        if len(family) > 2 and family.lower() not in GENERIC:
            yield re.escape(family)


def _names_to_hide(text: str, known: Known) -> list[tuple[int, int]]:
    if not known.any.search(text):
        return []
    found = {match.span() for match in known.made_me.finditer(text)}
    for opener in SELF.finditer(text):
        claim = Claim(text, opener.end(), known)
        if READERS[str(opener.lastgroup)](claim, opener.start()):
            found.update(claim.found)
    spans = sorted(span for span in found if text[slice(*span)] != PLACEHOLDER)
    apart = [span for index, span in enumerate(spans) if index == 0 or span[0] >= spans[index - 1][1]]
    return _outside_code(text, apart) if apart else []


def _outside_code(text: str, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    starts = [0, *(match.end() for match in re.finditer(r"\r\n?|\n", text)), len(text)]
    code = [match.span() for match in CODE_SPAN.finditer(text)]
    for token in _blocks.parse(text):
        if token.type in ("fence", "code_block") and token.map:
            code.append((starts[token.map[0]], starts[min(token.map[1], len(starts) - 1)]))
    covered = bytearray(len(text))
    for start, end in code:
        covered[start:end] = b"\1" * (end - start)
    return [span for span in spans if not covered[span[0]]]


@dataclass
class Claim:
    """What is said behind the opening of a self-identification, read from left to right."""

    text: str
    place: int
    known: Known
    found: list[tuple[int, int]] = field(default_factory=list)

    def sees(self, pattern: re.Pattern[str]) -> bool:
        return pattern.match(self.text, self.place) is not None

    def take(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.place)
        if match is not None:
            self.place = match.end()
        return match is not None

    def name(self, pattern: re.Pattern[str]) -> bool:
        before = self.place
        self.take(DECOR)
        match = pattern.match(self.text, self.place)
        if match is None:
            self.place = before
            return False
        self.found.append(match.span())
        self.place = match.end()
        self.take(DECOR)
        return True

    def back(self, place: int, found: int) -> bool:
        self.place = place
        del self.found[found:]
        return False


def _bare(claim: Claim) -> bool:
    """Such as "… Claude." """
    mark = claim.place, len(claim.found)
    while claim.take(ADVERB):
        pass
    claim.take(SPACE)
    return (claim.name(claim.known.model) and claim.sees(ENDS)) or claim.back(*mark)


def _described(claim: Claim) -> bool:
    """Such as "… a large language model", "… Google's assistant", "… ein von OpenAI entwickeltes Sprachmodell" """
    mark = claim.place, len(claim.found)
    while claim.take(ADVERB):
        pass
    claim.take(ARTICLE)
    for _ in range(LONGEST_PHRASE):
        if claim.take(NOUN):
            return True
        if claim.take(BY):
            if not (claim.name(claim.known.any) and claim.take(MADE)):
                break
            continue
        claim.take(SPACE)
        if claim.name(claim.known.any):
            claim.take(POSSESSIVE)
        elif claim.sees(STOP) or not claim.take(WORD):
            break
    return claim.back(*mark)


def _made(claim: Claim) -> bool:
    """Such as "… created by Anthropic", "… von OpenAI entwickelt" """
    mark = claim.place, len(claim.found)
    claim.take(LINK)
    if claim.take(MADE_BY) and claim.name(claim.known.any):
        return True
    claim.back(*mark)
    claim.take(LINK)
    return (claim.take(BY) and claim.name(claim.known.any) and claim.take(MADE)) or claim.back(*mark)


def _more(claim: Claim) -> None:
    """All that goes on from there: makers, further names, further descriptions."""
    while True:
        mark = claim.place, len(claim.found)
        if claim.take(ABBREVIATION) or _made(claim):
            continue
        if claim.take(CALLED) and claim.name(claim.known.any):
            continue
        claim.back(*mark)
        if claim.found and claim.take(AND) and claim.name(claim.known.any) and claim.sees(STOPS_THERE):
            continue
        claim.back(*mark)
        if claim.take(COMMA) and claim.name(claim.known.any) and claim.sees(STOPS_THERE):
            continue
        claim.back(*mark)
        if claim.sees(APPOSITION) and claim.take(COMMA) and _described(claim):
            continue
        claim.back(*mark)
        return


def _read_direct(claim: Claim, _start: int) -> bool:
    if not (_bare(claim) or _described(claim) or _made(claim)):
        return False
    _more(claim)
    return True


def _read_made(claim: Claim, _start: int) -> bool:
    if not _made(claim):
        return False
    _more(claim)
    return True


def _read_as(claim: Claim, start: int) -> bool:
    """Such as "As ChatGPT, I …"; as a description only where a sentence begins or goes on in the first person."""
    named = _bare(claim)
    if not named and not _described(claim):
        return False
    _more(claim)
    if claim.sees(FIRST_PERSON):
        return True
    starts = AT_A_START.search(claim.text, max(0, start - 3), start) is not None
    return starts and not named and claim.sees(GOES_ON)


def _read_this(claim: Claim, _start: int) -> bool:
    claim.take(SPACE)
    return claim.name(claim.known.any) and claim.sees(SPEAKS)


def _read_maker(claim: Claim, _start: int) -> bool:
    claim.take(OWNED_BY)
    return claim.name(claim.known.any)


def _read_chinese(claim: Claim, _start: int) -> bool:
    """Such as "我是通义千问，由阿里云开发", "作为百度开发的语言模型" """
    if not (_name_in_chinese(claim) or (claim.take(CHINESE_LINK) and claim.take(CHINESE_NOUN))):
        return False
    while _name_in_chinese(claim):
        pass
    return True


def _name_in_chinese(claim: Claim) -> bool:
    mark = claim.place, len(claim.found)
    claim.take(CHINESE_LINK)
    if not claim.name(claim.known.any):
        return claim.back(*mark)
    is_model = claim.known.model.fullmatch(claim.text, *claim.found[-1]) is not None
    made, described = claim.take(CHINESE_MADE), claim.take(CHINESE_NOUN)
    return made or described or (is_model and claim.sees(CHINESE_ENDS)) or claim.back(*mark)


READERS: dict[str, Callable[[Claim, int], bool]] = {
    "direct": _read_direct,
    "made": _read_made,
    "as": _read_as,
    "this": _read_this,
    "maker": _read_maker,
    "chinese": _read_chinese,
}
