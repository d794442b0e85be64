"""Which responses hold nothing but an opening, to which nothing is added."""

import re
import unicodedata
from collections.abc import Iterator

_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_MARKUP = re.compile(r"\\(?:boxed|text|mathrm|mathbf)\b")
_MARKUP_SIGNS = "`$|>~^"
_NO_ITEMS = re.compile(r"(`{0,3})(?:(?<=```)\w+)?\s*(?:\[\s*\]|\{\s*\})\s*\1")
_ARTICLES = {"a", "an", "the"}

_OPENINGS = (
    *("solution", "the solution", "my solution", "thought process", "the thought process", "my thought process"),
    *("final answer", "the final answer", "final solution", "detailed solution", "step by step solution"),
    *("the answer is", "the final answer is", "the solution is", "the solution is as follows", "as follows"),
    *("here is the solution", "here is my solution", "here is the answer", "here s the solution", "here s my solution"),
    *("my final answer is", "my answer is", "the correct answer is", "the right answer is", "solution process"),
    *("here s the answer", "this is the solution", "this is my solution", "this is the answer", "this is my answer"),
    *("let me think", "let me think about it", "let me think about this", "✓", "✔", "∎"),
    *("here is a step by step solution", "step by step", "let's think", "let's break it down", "let's see"),
    *("解", "解答", "解析", "解法", "答案", "答", "思路", "思考过程", "解题过程", "首先", "答案是"),
    *("解説", "かいせつ", "かいとう", "答え", "回答", "こたえ", "答えは", "解き方", "考え方"),
    *("풀이", "정답", "해설", "답", "풀이 과정"),
    *("respuesta", "la respuesta es", "solución", "la solución es", "respuesta final", "proceso de pensamiento"),
    *("réponse", "la réponse est", "solution détaillée", "résolution", "explication"),
    *("lösung", "antwort", "lösungsweg", "die antwort lautet", "die lösung lautet", "gedankengang"),
    *("resposta", "a resposta é", "solução", "resolução", "risposta", "la risposta è", "soluzione", "svolgimento"),
    *("antwoord", "oplossing", "svar", "lösning", "løsning", "rozwiązanie", "odpowiedź", "řešení", "odpověď"),
    *("решение", "ответ", "ход решения", "розв'язання", "відповідь", "λύση", "απάντηση", "פתרון", "תשובה"),
    *("الحل", "الجواب", "الإجابة", "حل", "हल", "उत्तर", "समाधान", "çözüm", "cevap", "yanıt"),  # noqa: RUF001
    *("lời giải", "đáp án", "bài giải", "วิธีทำ", "คำตอบ", "jawaban", "penyelesaian", "solusi"),
)
"""Titles and beginnings, as people write them."""

_TITLES = (
    *("answer", "answers", "analysis", "approach", "conclusion", "explanation", "output", "proof", "reasoning"),
    *("response", "result", "step 1", "step one", "thinking", "thoughts", "thought", "work", "working", "ans", "soln"),
    *("therefore", "hence", "thus"),
)
"""Words that answer some question themselves: an opening only where they stand as a title, with a colon or as one."""

_FILLERS = ("okay", "ok", "sure", "alright", "certainly", "of course", "so", "well", "hmm", "now", "first", "great")
"""Openings only beside another one."""

_WHO = r"(?:let s|let us|let me|i will|i ll|we will|we ll|we can|we need to|i need to|we have to|in order to|to)"
_DOES = (
    r"(?:solve|think|work|break|find|answer|analy[sz]e|understand|reason|look|approach|tackle|walk|consider|go|start"
    r"|begin|get|determine|figure)"
)
_OBJECT = r"(?:problem|question|task|exercise|equation|answer|solution|step by step)"
_EMPTY = (
    rf"(?:{_OBJECT}|{_WHO}|{_DOES}|this|that|the|it|a|given|following|correct|final|what|is|being|asked|by|at|about|out"
    r"|down|through|with|into|first|carefully|step|steps|in|detail|need|we|i|and|then|of|for)"
)
_PLANS = (
    r"(?:therefore|hence|thus|finally) (?:the|my) (?:final |correct )?(?:answer|solution|result) is",
    rf"{_WHO} {_DOES}(?: {_EMPTY})*? {_OBJECT}(?: {_EMPTY}\b)*+",
    r"(?:让我们|我们来|我们|请)?(?:一步一步|一步步|逐步)(?:地|来)?(?:解决|解答|思考|分析|推理)(?:这个|这道|该|此)?(?:问题|题目|题)?",
    r"(?:ステップバイステップ|一歩ずつ|順番に|段階的に)(?:で)?(?:考え|解い)(?:てみ)?(?:ましょう|ていきましょう|ます)",
    r"(?:단계별로|차근차근|하나씩) (?:생각해|풀어) (?:봅시다|보겠습니다|보자)",
    r"(?:vamos a )?(?:resolv|pens|analic)\w+(?: (?:este|el|problema|ejercicio|en))* paso a paso",
    r"(?:résolvons|réfléchissons|procédons|raisonnons)(?: (?:ce|le|problème|à|cette|question))* étape par étape",
    r"(?:lösen|denken|gehen)(?: (?:wir|dieses|das|die|problem|aufgabe))* schritt für schritt(?: vor| durch)?",
    r"(?:vamos )?(?:resolver|pensar|resolvamos|pensemos)(?: (?:este|o|problema))* passo a passo",
    r"(?:risolviamo|pensiamo|ragioniamo)(?: (?:questo|il|problema))* passo (?:dopo|per) passo",
    r"давайте (?:решим|подумаем|разбер[её]м)(?: (?:эту|это|задачу))* (?:шаг за шагом|пошагово)",
    r"(?:دعونا|دعنا) (?:نحل|نفكر)(?: (?:في|هذه|هذا|المسألة|المشكلة))* خطوة بخطوة",
)


def content_free(response: str) -> bool:
    """Whether nothing is left of it but openings, once thoughts, punctuation, markup and invisible signs are gone."""
    answer = _after_thought(response)
    tokens = content(answer)
    pattern = _TITLED if _is_title(answer) else _UNTITLED
    return not tokens or pattern.fullmatch(" ".join(tokens)) is not None


def empty_value(response: str) -> bool:
    """Whether it is an empty list or object, as JSON or code writes them: "none" to some question."""
    return _NO_ITEMS.fullmatch(response.strip()) is not None


def same_answer(response: str, reference: str) -> bool:
    """Whether a response is the reference but for case, articles, punctuation and markup; a blank one is nothing's.

    A reference that is all punctuation must stand as it is at the response's end.
    """
    wanted = [token for token in content(reference) if token not in _ARTICLES] or content(reference)
    if wanted:
        given = content(response)
        return wanted in (given, [token for token in given if token not in _ARTICLES])
    signs = readable(reference).split()
    ends = [part.strip("`\"'") or part for part in readable(response).split()[-len(signs) :]]
    return bool(signs) and signs == ends


def readable(text: str) -> str:
    """The text as it is compared: one form for each letter, in one case, invisible characters dropped."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    if plain.isascii():
        return plain
    invisible = {ord(sign): None for sign in set(plain) if unicodedata.category(sign) == "Cf"}
    return plain.translate(invisible) if invisible else plain


def content(text: str) -> list[str]:
    """Its words, numbers and symbols, without punctuation and markup."""
    return list(_content(_MARKUP.sub(" ", readable(text))))


def _content(plain: str) -> Iterator[str]:
    for token in _TOKEN.findall(plain):
        if token.isalnum() or (unicodedata.category(token)[0] == "S" and token not in _MARKUP_SIGNS):
            yield token


def _after_thought(response: str) -> str:
    """A response that starts with a thought answers behind it."""
    begins = response.lstrip().lower().startswith("<think>")
    return response.rpartition("</think>")[2] if begins else response


def _is_title(response: str) -> bool:
    """Whether its end waits for something, or it looks like a heading."""
    text = readable(response).strip()
    bold = text.startswith(("**", "__")) and text.endswith(("**", "__"))
    return bold or text.startswith("#") or text.rstrip("*_` \n").endswith((":", ",", "-", "—"))


def _any(*patterns: str) -> str:
    return "|".join(sorted(patterns, key=len, reverse=True))


def _literally(*phrases: str) -> list[str]:
    return [re.escape(" ".join(content(phrase))) for phrase in phrases]


def _only(*openings: str) -> re.Pattern[str]:
    """One opening or more, fillers between them. Atomic: a text that nearly fits costs no more than one that fits."""
    fillers = rf"(?:(?:{_any(*_literally(*_FILLERS))})(?: |$))*+"
    return re.compile(rf"(?>{fillers}(?:{_any(*openings)})(?: |$))++{fillers}")


_UNTITLED = _only(*_literally(*_OPENINGS), *_PLANS)
_TITLED = _only(*_literally(*_OPENINGS, *_TITLES), *_PLANS)
