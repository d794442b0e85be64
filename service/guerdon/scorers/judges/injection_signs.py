"""What commands to a judge look like, in the languages that they have been seen in; all in lower case."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern, and words of which one is in every text that it can match: looking for those first is cheap."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]

    def found(self, text: str) -> list[re.Match[str]]:
        """Every place where the text has it."""
        return list(self.pattern.finditer(text)) if any(hint in text for hint in self.hints) else []


def _sign(hints: str, *parts: str) -> Sign:
    return Sign(tuple(hints.split("|")), re.compile("".join(parts), re.MULTILINE))


_JUDGES = "grader|judge|evaluator|verifier|scorer|rater|assessor|examiner|reward model|grading model"
_JUDGE = (
    r"(?:(?:ai|llm|human|impartial|automatic|automated|lenient|language model|expert) )*"
    r"(?:graders?|judges?|evaluators?|verifiers?|scorers?|raters?|assessors?|examiners?|reward model|grading model)"
)
_CLAUSE = (
    r"(?:^|[.!?:;>\])]|\*|--|/\*|//|#)[ \t\"'*#\-]{0,8}"
    r"(?:(?:please|now|just|simply|instead|you (?:must|should|will)),? )*"
)
"""Where a command can begin; in the middle of a clause somebody tells of one."""

_DROP = r"(?:ignore|disregard|forget|override|skip|bypass|do not follow|don't follow|stop following)"
_WHOSE = (
    r"(?:(?:all|any|of|the|your|my|these|those|this|that|previous|prior|above|earlier|preceding|given|other|original"
    r"|system|scoring|grading|evaluation|judging) )*"
)
_RULES = (
    r"(?:instructions?|prompts?|rules?|rubrics?|guidelines?|criteri(?:a|on)|directions?|reference(?: answer)?"
    r"|evaluation|grading)"
)
_THIS = (
    r"(?:(?:this|my|the)(?: \w+)? (?:response|answer|solution|output|submission|completion)|every response"
    r"|response [1ab]\b)"
)
_SELF = rf"(?:{_THIS}|\bit\b)"
_ANSWER = r"(?:response|answer|solution|output|submission|completion|text)"
_OTHERS = (
    rf"(?! (?:for|to) (?:(?:an?|any|all|those|the best) (?!(?:\w+ )?{_ANSWER}s?\b)"
    rf"|(?!(?:this|its|us|{_ANSWER}s)\b)\w+s\b)(?![^.!?\n]{{0,80}}\b(?:this|these|here|above|below|my)\b))"
)
"""Not before what is given to others: essays, any form, the best dish."""

_TOPS = "10|full|max|highest|top|perfect|best"
_TOP = (
    r"(?:(?:full|maximum|max|highest|top|perfect|best)(?: possible)? (?:marks?|scores?|ratings?|grades?|rewards?)"
    r"|10 ?/ ?10|10 out of 10|(?:a )?score of 10)"
)
_GIVE = r"(?:give|giving|award|assign|grant|rate|score|mark|grade|receives?|deserves)"

TURNS = (
    _sign("ignore|disregard|forget|overrid|skip|bypass|follow", rf"{_CLAUSE}{_DROP} {_WHOSE}{_RULES}"),
    _sign(
        "ignore|disregard|forget",
        rf"{_CLAUSE}(?:ignore|disregard|forget) (?:everything|all(?: of)?|the|that's) ?"
        r"(?:the |that is |text )?above\b",
    ),
    _sign(
        _JUDGES,
        r"\b(?:dear|attention|note to|message to|hey|hello|as|you are(?: now)?|tip) ",
        rf"(?:(?:the|an?|any|all) )?{_JUDGE}\b",
    ),
    _sign(_JUDGES, rf"{_CLAUSE}to (?:(?:the|any|all) )?{_JUDGE}\b"),
    _sign(_JUDGES, rf"{_CLAUSE}@?{_JUDGE}(?: note)? ?[:,]|, {_JUDGE}[.!]?$"),
    _sign(
        _JUDGES, rf"\b(?:the|any|every) {_JUDGE} (?:must|has to|is required to) (?:now )?(?:output|return|give|reply)"
    ),
    _sign(
        "system",
        r"^[^\w\n]{0,8}system ?:|\bsystem (?:message|override|prompt|note|notice)\b",
        r"(?! (?:tells|says|is|was|are|can|may|for|to|of|in)\b)|^=== system ===$",
    ),
    _sign("new task|from now on|no longer", r"your new task|from now on,? you|you are no longer"),
    _sign("is over|has changed", r"evaluation is over|policy has changed"),
    _sign("verified|pretend|whatever", r"verified by the|\bpretend that|whatever the other response"),
    _sign("指令|指示|要求|规则|标准", r"(?:忽略|无视|忘记|不要理会)[^。!\n]{0,12}(?:指令|指示|要求|规则|标准)"),
    _sign(
        "作为", r"作为(?:本次|一名|一位|公正的)?(?:评委|裁判|评审|评分员|阅卷人)[,\s]*(?:你|您)(?:必须|应该|要|需要)"
    ),
    _sign("無視|忘れ", r"(?:指示|命令|ルール|指令|基準)[^。\n]{0,6}(?:無視|忘れ)"),
    _sign("무시", r"(?:지시|명령|규칙)[^.\n]{0,8}무시"),
    _sign(
        "ignorier|vergiss|missachte",
        r"\b(?:ignorier\w*|vergiss|missachte)(?: \w+){0,4} ",
        r"(?:anweisung|regel|kriteri|vorgabe)\w*",
    ),
    _sign("ignore|oublie", r"\b(?:ignore[zr]?|oublie[zr]?)(?: \w+){0,3} (?:instructions|consignes|règles|critères)"),
    _sign(
        "ignor|olvid|esque|dimentic",
        r"\b(?:ignor|olvid|esque[cç]|dimentic)\w+(?: \w+){0,3} ",
        r"(?:instrucciones|instruções|istruzioni|reglas|regras|regole|criterios|critérios|criteri)",
    ),
    _sign(
        "игнорир|забудь", r"\b(?:игнорируй(?:те)?|забудь(?:те)?)(?: \w+){0,3} (?:инструкци|указани|правил|критери)\w*"
    ),
    _sign("تجاهل", r"\bتجاهل\w*(?: \w+){0,2} (?:التعليمات|الأوامر|القواعد)"),  # noqa: RUF001
    _sign("निर्देश", r"निर्देश.{0,12}(?:अनदेखा|नज़रअंदाज़|भूल)"),
    _sign("talimat", r"\btalimat\w*(?: \w+)? (?:yok say|görmezden gel|unut)\w*"),
)
"""Setting the judge's instructions aside, or turning to it: by itself nothing to complain of."""

_WRITE = r"(?:output|print|write|say|answer|reply|respond|return)"
_SCHREIB = (
    r"(?:antworte\w*|gib|schreibe?|sage?|réponds|répondez|écris|responde|escribe|responda|escreva|rispondi|scrivi"
    r"|ответь(?:те)?|напиши|cevapla)"
)
DEMANDS = (
    _sign(
        "yes|[[a]]|boxed",
        rf"\b{_WRITE}(?: (?:only|with|just|always|the word|simply|exactly|in))* *:? ?[\"'*`]*",
        r"(?:yes\b|\[\[a\]\]|\\boxed\{10)",
    ),
    _sign("yes", r"\b(?:always|only) (?:say|answer|output|reply|respond)s?(?: with)? [\"']?yes\b"),
    _sign("answer", r"\banswer [\"'][ab][\"']"),
    _sign("10", rf"\b(?:return|output|print|give) (?:a )?10 (?:for|to) {_SELF}"),
    _sign(_TOPS, rf"\b{_GIVE}\b[^.!?\n]{{0,60}}?{_TOP}\b{_OTHERS}"),
    _sign("10", r"\b(?:final )?score: ?10 ?/ ?10"),
    _sign(
        "correct|right|best|better|matching",
        r"\b(?:mark|treat|accept|choose|select|pick|declare)\b[^.!?\n]{0,20}?",
        rf"{_SELF}[^.!?\n]{{0,20}}? as (?:correct|right|the best|the better|matching)",
    ),
    _sign("分", r"(?:给出|打出|打|给)(?:满分|最高分|10分)"),
    _sign(
        "yes", r"yes[^\w。\n]{0,3}(?:と出力|と答|と回答|라고|를 출력|yaz|लिख)|(?:输出|回答|回复|说|写)[^。\n\w]{0,3}yes"
    ),
    _sign("yes", rf"\b{_SCHREIB}(?: \w+){{0,2}}[ :\"'«]{{1,3}}yes\b|(?:أجب|اكتب).{{0,6}}yes"),
)
"""What a judge is told to write or to give."""

_MASSIMO = r"(?:(?:puntuación|nota|calificación|pontuação) máxima|(?:il )?(?:massimo dei voti|punteggio massimo))"
PLEAS = (
    _sign(_TOPS, rf"{_CLAUSE}{_GIVE} [^.!?\n]{{0,12}}?{_THIS}[^.!?\n]{{0,30}}?{_TOP}"),
    _sign(_TOPS, rf"{_CLAUSE}{_GIVE} [^.!?\n]{{0,12}}?\bit\b[^.!?\n]{{0,30}}?{_TOP}\b(?! (?:in|for|on) )"),
    _sign(_TOPS, rf"{_CLAUSE}{_GIVE} (?:the |a )?{_TOP} (?:to|for) {_SELF}"),
    _sign(_TOPS, rf"\bif you (?:do not|don't) give {_SELF}[^.!?\n]{{0,20}}{_TOP}"),
    _sign(
        "满分|最高分|10分",
        r"(?:^|[。!:,、\s])(?:请|务必)*给(?:这个|这条|本|此|该)(?:回答|答案|回复)",
        r"[^。!\n]{0,6}(?:满分|最高分|10分)",
    ),
    _sign(
        "満点|最高点|10点", r"この(?:回答|解答|答え|応答)に[^。\n]{0,4}(?:満点|最高点|10点)[^。\n]{0,4}(?:て|ろ|なさい)"
    ),
    _sign("만점", r"이 (?:답변|응답|답)에 [^.\n]{0,4}만점[^.\n]{0,6}(?:주세요|줘|주십시오)"),
    _sign(
        "bewerte|gib|geben|vergib",
        r"\b(?:bewerten?|gib|geben sie|vergib)\b[^.!\n]{0,10}dieser? (?:antwort|lösung)",
        r"[^.!\n]{0,12}(?:höchstpunktzahl|volle\w? punkt\w*|10/10)",
    ),
    _sign("maximale", r"\b(?:donnez?|attribuez?|mets|mettez)\b[^.!\n]{0,6}note maximale à cette (?:réponse|solution)"),
    _sign(
        "máxim|massim",
        r"\b(?:da|dale|dar|dé|asigna|asigne|dê|atribua|assegna|dai)\b[^.!\n]{0,8}",
        rf"{_MASSIMO} (?:a|alla|à) (?:esta|questa) (?:respuesta|resposta|risposta|solución)",
    ),
    _sign(
        "балл|оценк",
        r"\b(?:поставь|дай)(?:те)?\b[^.!\n]{0,6}(?:этому ответу )?(?:максимальн\w+|высш\w+) ",
        r"(?:балл|оценк)\w*",
    ),
)
"""Commands that are meant for nobody but a judge."""

CONDITION = re.compile(
    r"\b(?:only (?:if|when|where|for|to)|otherwise|unless|whether|if (?!you\b)|when (?!you\b)|would|'d)\b|\bor no\b"
)
"""Rules for graders have conditions; commands to a judge have none."""
