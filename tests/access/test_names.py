"""Names and e-mail addresses of users."""

from __future__ import annotations

import pytest

from service.access.names import make_name_key, parse_email, parse_name


@pytest.mark.parametrize(
    "name", ["alice", "Zoë", "鈴木", "a.b-c_d+e", "7of9", "x" * 64, "Иван", "東京tower"]
)
def test_names_of_many_languages_are_accepted(name: str) -> None:
    assert parse_name(f" {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "x" * 65, "a b", "a:b", "jwt:alice", "a@b.example", "a/b", "a\0b", "a\nb", "-rf",
        ".", "..", "\u202ealice", "a\u200bb", "<script>", "anonymous", "Anonymous", "ANONYMOUS",
        "static_key", "user_0190c5a8d4e1f0b9a3c2d1e0f9b8a7c6",
        "Ｕser_0190c5a8d4e1f0b9a3c2d1e0f9b8a7c6", "\ud800",
    ],
)  # fmt: skip
def test_a_name_cannot_be_confused_with_an_owner_an_id_or_an_address(name: str) -> None:
    with pytest.raises(ValueError, match=r"must|reserved"):
        parse_name(name)


@pytest.mark.parametrize("made", [
    "alice\u034f", "alice\u3164", "\u1160alice", "alice\ufe0f", "alice\uffa0", "al\U000e0101ice",
    "\u0430lice", "alic\u0435", "\u0391lice", "paypa\u04cf", "a\u2c81",
])  # fmt: skip
def test_a_name_has_no_invisible_or_lookalike_characters(made: str) -> None:
    with pytest.raises(ValueError, match="must not"):
        parse_name(made)


def test_names_that_look_the_same_have_one_key() -> None:
    names = ("Straße", "STRASSE", "strasse", "ｓｔｒａｓｓｅ")
    assert {make_name_key(each) for each in names} == {"strasse"}
    assert make_name_key("Zoe\u0308") == make_name_key("zoë")


@pytest.mark.parametrize("email", ["a@example.com", "a.b+c@mail.example.co.uk"])
def test_an_address_is_accepted(email: str) -> None:
    assert parse_email(f" {email} ") == email


@pytest.mark.parametrize("email", ["", "a", "a@b", "a@@b.c", "a b@c.d", "a\0@b.c", "a@b."])
def test_other_texts_are_no_addresses(email: str) -> None:
    with pytest.raises(ValueError, match="must be an e-mail address"):
        parse_email(email)
