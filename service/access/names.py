"""Names and e-mail addresses of users: accepted forms, and the keys that compare them.

Names are unique without regard to case and to compatible forms of the same letter (`Ａlice` is
`alice`). A name cannot contain `:` and `@`, and cannot look like an id: it can be confused neither
with an owner such as `jwt:…`, nor with an address, nor with the id of another user. Invisible
characters are refused, and so are Latin letters beside those of scripts with the same shapes
(`аlice` with a Cyrillic `а`). A name in one script can still resemble one in another.
Source: Unicode 16, DerivedCoreProperties (Default_Ignorable_Code_Point); UTS 39, 5.2
"""

from __future__ import annotations

import re
import unicodedata

from service.access.principal import ANONYMOUS_OWNER

MAX_NAME_CHARS = 64
_MAX_EMAIL_CHARS = 254  # RFC 5321, 4.5.3.1.3
_PUNCTUATION = frozenset("._-+")
_ID = re.compile(r"[a-z]+_[0-9a-f]{32}")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "COPTIC", "CHEROKEE"})
_RESERVED = frozenset({ANONYMOUS_OWNER, "api_key", "static_key", "system", "none", "null"})


def parse_name(text: str) -> str:
    """Return the name in its normal form. Raises ValueError with a sentence for the user."""
    name = unicodedata.normalize("NFKC", text.strip())
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"must have 1 to {MAX_NAME_CHARS} characters")
    if not all(_is_allowed(each) for each in name) or not name[0].isalnum():
        raise ValueError(
            "must consist of letters, digits and . _ - + and start with one of the first two"
        )
    if _INVISIBLE.search(name) or len(_find_scripts(name) & _LOOKALIKE_SCRIPTS) > 1:
        raise ValueError("must not have invisible characters or letters of lookalike scripts")
    if make_name_key(name) in _RESERVED or _ID.fullmatch(make_name_key(name)):
        raise ValueError("is reserved")
    return name


def parse_email(text: str) -> str:
    """Return the e-mail address in its normal form. Raises ValueError with a sentence."""
    email = unicodedata.normalize("NFKC", text.strip())
    is_printable = all(unicodedata.category(each)[0] not in "CZ" for each in email)
    if len(email) > _MAX_EMAIL_CHARS or not is_printable or not _EMAIL.fullmatch(email):
        raise ValueError("must be an e-mail address")
    return email


def make_name_key(name: str) -> str:
    """Return the key that two equal names or addresses share.

    Source: Unicode 16, 3.13, toNFKC_Casefold
    """
    folded = unicodedata.normalize("NFKC", name.strip()).casefold()
    return unicodedata.normalize("NFKC", folded)


def _find_scripts(name: str) -> set[str]:
    """Return the first words of the names of the characters: the script for letters."""
    return {unicodedata.name(each, "").partition(" ")[0] for each in name}


def _is_allowed(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LMN"
