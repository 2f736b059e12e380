"""Numbers in texts, as people write them: separators of thousands, percent, fractions, words."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: number for number, word in enumerate(_ONES.split())}
_WORDS |= {word: 10 * number for number, word in enumerate(_TENS.split(), 2)}
_WORDS |= {
    f"{tens}-{one}": _WORDS[tens] + _WORDS[one]
    for tens in _TENS.split()
    for one in _ONES.split()[1:10]
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "bn": 10**9}
_SCALES |= {"trillion": 10**12}
_GROUPS = r"\d{1,3}(?:[,.'’_\u00a0\u202f ]\d{3})+(?:[.,]\d+)?"
_PLAIN = r"\d+(?:[.,]\d+)?|[.,]\d+"
NUMBER = re.compile(
    rf"(?P<sign>[-+−–])?\s?(?P<currency>[$€£¥₹])?\s?"
    rf"(?P<digits>(?<![\w.,])(?:{_GROUPS}|{_PLAIN})(?![\d]))"
    r"(?P<power>e[-+]?\d{1,3}\b)?(?:\s?/\s?(?P<divisor>\d+)\b)?"
    r"(?:\s?(?P<scale>thousand|million|billion|trillion|bn)\b)?",
    re.I,
)
_UNIT = re.compile(r"[^\W\d_]+[²³]?(?:/[a-zµ]+)?(?: [^\W\d_]+){0,2}|%|°\s?[cf]?|[$€£¥₹]", re.I)
_GROUP_MARKS = re.compile(r"[\s'’_]")
_UNIT_NAMES = {"percent": "%", "per cent": "%", "dollar": "$", "us dollar": "$", "euro": "€"}
_LEAST_PLURAL = 4  # letters


def read_number(text: str) -> tuple[Fraction, str] | None:
    """Return the value and the unit ("" for none) if `text` is one number and nothing else."""
    text = text.strip()
    word = re.sub(r"\s+", "-", text.lower())
    if word in _WORDS:
        return Fraction(_WORDS[word]), ""
    found = NUMBER.match(text)
    value = _read_match(found) if found else None
    if found is None or value is None:
        return None
    rest = text[found.end() :].strip()
    if rest and not _UNIT.fullmatch(rest):
        return None
    return value, _normalize_unit(rest or found["currency"] or "")


def find_numbers(text: str) -> list[Fraction]:
    """Return the values of all numbers in `text` that are written in digits."""
    found = (_read_match(each) for each in NUMBER.finditer(text))
    return [value for value in found if value is not None]


def _normalize_unit(unit: str) -> str:
    unit = " ".join(unit.lower().split())
    if len(unit) >= _LEAST_PLURAL:
        unit = unit.removesuffix("s")
    return _UNIT_NAMES.get(unit, unit)


def _read_match(found: re.Match[str]) -> Fraction | None:
    digits = _to_decimal_point(found["digits"])
    try:
        value = Fraction(Decimal(digits + (found["power"] or "")))
    except (InvalidOperation, ValueError, OverflowError):
        return None
    if found["divisor"]:
        if not int(found["divisor"]):
            return None
        value /= int(found["divisor"])
    value *= _SCALES.get((found["scale"] or "").lower(), 1)
    return -value if found["sign"] and found["sign"] != "+" else value


def _to_decimal_point(digits: str) -> str:
    """Return digits with at most one separator, the decimal point.

    With both marks the last one is the decimal mark. A single mark before three digits separates
    thousands if it is a comma, and is the decimal point if it is a point.
    """
    digits = _GROUP_MARKS.sub("", digits)
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        decimal = max(digits.rfind(","), digits.rfind("."))
        whole = re.sub(r"[.,]", "", digits[:decimal])
        return f"{whole}.{digits[decimal + 1 :]}"
    if commas > 1 or points > 1:
        return re.sub(r"[.,]", "", digits)
    if commas:
        whole, _, rest = digits.partition(",")
        is_group = len(rest) == 3 and whole not in ("", "0")
        return whole + rest if is_group else f"{whole}.{rest}"
    return digits
