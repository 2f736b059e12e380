"""The list of conversations, the search in it and the branches, over a socket without scripts."""

from __future__ import annotations

from urllib.parse import quote

from tests._support.clients.api import Api
from tests._support.pages.parsed import PageElement, parse_page

_PATH = "/web/conversations"


async def _open(api: Api, path: str) -> PageElement:
    response = await api.http.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text
    return parse_page(response.text)


def _ids(page: PageElement) -> list[str]:
    items = page.find("ul", aria_label="Conversations").find_all("li")
    return [each.attributes["data-id"] or "" for each in items]


async def _create(api: Api, name: str) -> str:
    created = await api.http.post("/conversation/session", json={"session_name": name})
    assert created.status_code in (200, 201), created.text
    return str(created.json()["session_id"])


async def test_all_pages_together_list_each_conversation_once_newest_first(api: Api) -> None:
    created = [await _create(api, f"Numbered {number}") for number in range(60)]
    seen: list[str] = []
    path = _PATH
    while path:
        page = await _open(api, path)
        seen += _ids(page)
        assert len(_ids(page)) <= 25
        path = next((each for each in page.list_links() if "before=" in each), "")
    assert len(seen) == len(set(seen))
    mine = set(created)
    assert [each for each in seen if each in mine] == created[::-1]


async def test_a_search_finds_titles_questions_and_answers_and_marks_the_words(api: Api) -> None:
    titled = await _create(api, "Quokkas & <b>wombats</b>")
    asked = (await api.ask("Do quokkas like rain?"))[0].data["conversation_id"]
    page = await _open(api, f"{_PATH}?q=quokkas")
    assert _ids(page)[0] == titled or _ids(page)[0] == asked
    assert {titled, asked} <= set(_ids(page))
    items = {each.attributes["data-id"]: each for each in page.find_all("li")}
    assert [each.text for each in items[titled].find_all("mark")] == ["Quokkas"]
    assert "<b>wombats</b>" in items[titled].text
    assert any(each.text == "quokkas" for each in items[asked].find_all("mark"))
    assert page.find("input", type_="search", name="q").attributes["value"] == "quokkas"
    assert page.find("label", for_="q").text == "Search conversations"


async def test_hostile_searches_and_titles_are_only_text(api: Api) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    created = await _create(api, hostile)
    for text in (hostile, '"', "a or -b", "%", "\\", "(", "x" * 5_000, "\u202e", " "):
        page = await _open(api, f"{_PATH}?q={quote(text)}")
        assert all("src" in each.attributes for each in page.find_all("script"))
        assert not page.find_all("img")
    page = await _open(api, f"{_PATH}/{created}")
    assert page.find("h1").text == f"Branches of {hostile}"
    for path in ("?before=nonsense", "/conv_unknown", "/%00"):
        response = await api.http.get(f"{_PATH}{path}", headers={"Accept": "text/html"})
        assert response.status_code in (400, 404)
        assert response.headers["Content-Type"].startswith("text/html")


async def test_the_branches_state_which_question_follows_which(api: Api) -> None:
    first = (await api.ask("The trunk", ensemble="solo"))[0]
    conversation_id = first.data["conversation_id"]
    failed = (await api.ask("A broken leaf", conversation_id=conversation_id, ensemble="both-bad"))[
        0
    ]
    retried = await api.http.post(f"/api/runs/{failed.run_id}/retry")
    assert retried.status_code == 200, retried.text
    page = await _open(api, f"{_PATH}/{conversation_id}")
    items = page.find("ol", aria_label="Branches").find_all("li")
    questions = [each.find_all("a")[0].text for each in items]
    assert questions == ["The trunk", "A broken leaf", "A broken leaf"]
    assert [each.attributes["class"] for each in items] == ["depth-0", "depth-0", "depth-1"]
    assert "replaced by a later run" in items[1].text
    assert "another branch after question 1" in items[2].text
    assert f"/web/runs/{retried.headers['X-Run-Id']}" in items[2].list_links()
