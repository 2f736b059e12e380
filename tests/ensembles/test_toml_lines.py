"""The line of a key in TOML text, for error messages."""

from __future__ import annotations

import tomllib

import pytest

from service.ensembles.toml_lines import line_of, load_tables

TEXT = """\
# a comment
default = "fanout"

[agents.llm-1]
prompt = \"\"\"
[agents.not-a-table]
temperature = 5
\"\"\"
temperature = 0.9
extra_body.top.k = 1

[ "agents" . 'my agent' ]
model = "x"   # model = "y"
quoted = 'one line'
literal = '''
timeout_s = 1
'''
"key with = sign" = 1
timeout_s = 3

[prices."gpt-4o.mini"]
input = 1
inline = { a = 1 }
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["default"], 2),
        (["agents", "llm-1"], 4),
        (["agents", "llm-1", "prompt"], 5),
        (["agents", "llm-1", "temperature"], 9),
        (["agents", "llm-1", "extra_body", "top", "k"], 10),
        (["agents", "my agent"], 12),
        (["agents", "my agent", "model"], 13),
        (["agents", "my agent", "key with = sign"], 18),
        (["agents", "my agent", "timeout_s"], 19),
        (["prices", "gpt-4o.mini", "input"], 22),
    ],
)
def test_the_line_of_a_key_is_found(path: list[str], line: int) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["agents", "llm-1", "missing"], 4),
        (["agents", "llm-1", "prompt", 0], 5),
        (["prices", "gpt-4o.mini", "inline", "a"], 23),
        (["nothing", "like", "it"], 1),
        ([], 1),
    ],
)
def test_for_an_unknown_key_its_longest_known_prefix_is_found(
    path: list[str | int], line: int
) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\u2029"])
def test_only_line_feeds_end_lines(separator: str) -> None:
    assert line_of(f'a = "x{separator}y"\nb = 1\n', ["b"]) == 2


def test_windows_line_ends_are_line_ends() -> None:
    assert line_of('[a]\r\nb = 1\r\n[c]\r\nd = """\r\n"""\r\ne = 1\r\n', ["c", "e"]) == 6


def test_quotes_in_a_comment_do_not_open_a_string() -> None:
    assert line_of('# say """ or \'\'\'\na = 1 # """\nb = 1\n', ["b"]) == 3


def test_quotes_inside_other_quotes_do_not_open_a_string() -> None:
    assert line_of('a = """it\'s \'\'\'"""\nb = 1\n', ["b"]) == 2


def test_an_array_of_several_lines_contains_no_tables() -> None:
    assert line_of('[a]\nb = [\n  ["x"],\n  ["y"]\n]\nc = 1\n', ["a", "c"]) == 6


REPEATED = (
    TEXT
    + """
[agents.llm-1]   # again
temperature = 0.1
extra_body.top.p = 2

[agents.new]
model = "z"

[prices."gpt-4o.mini"]
output = 2

[agents.llm-1]
timeout_s = 9
"""
)


def test_a_repeated_table_overrides_single_keys() -> None:
    tables = load_tables(REPEATED)
    agent = tables["agents"]["llm-1"]
    assert "[agents.not-a-table]" in agent["prompt"]
    assert (agent["temperature"], agent["timeout_s"]) == (0.1, 9)
    assert agent["extra_body"] == {"top": {"k": 1, "p": 2}}
    assert tables["agents"]["new"] == {"model": "z"}
    assert tables["prices"]["gpt-4o.mini"] == {"input": 1, "inline": {"a": 1}, "output": 2}
    assert {**load_tables(TEXT)} == tomllib.loads(TEXT)


def test_the_line_of_an_overridden_key_is_the_last() -> None:
    lines = REPEATED.split("\n")
    assert lines[line_of(REPEATED, ["agents", "llm-1", "temperature"]) - 1] == "temperature = 0.1"
    assert lines[line_of(REPEATED, ["agents", "llm-1", "timeout_s"]) - 1] == "timeout_s = 9"
    assert line_of(REPEATED, ["agents", "llm-1", "prompt"]) == 5


@pytest.mark.parametrize("text", ["[a]\nb = 1\nb = 2\n", "[a]\n[a]\nb = \n", "a = 1\na = 2\n"])
def test_an_error_keeps_its_line(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=r"line \d"):
        load_tables(text)


def test_the_line_of_an_error_in_a_later_part_is_that_of_the_text() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="line 4"):
        load_tables("[a]\nb = 1\n[a]\nb = ?\n")


def test_the_tables_of_an_array_have_their_own_lines() -> None:
    text = """\
[[rules]]
name = "a"
[rules.match]
role = "user"
[[rules]]
[rules.match]
role = "admin"
"""
    assert [line_of(text, ("rules", index, "match", "role")) for index in (0, 1)] == [4, 7]
    assert [line_of(text, ("rules", index, "name")) for index in (0, 1)] == [2, 5]
    assert load_tables(text) == tomllib.loads(text)
