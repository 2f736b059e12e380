"""The page of a run over a socket: its state, timeline, findings and actions, without scripts."""

from __future__ import annotations

import re

from tests._support.clients.api import Api, answer_of, until
from tests._support.pages.hostile_markdown import HOSTILE
from tests._support.pages.parsed import PageElement, parse_page


async def _open(api: Api, path: str) -> PageElement:
    response = await api.http.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    return parse_page(response.text)


def _rows(page: PageElement) -> dict[str, str]:
    """Return the text of each row of the timeline by the first word of its heading."""
    table = page.find("table", aria_label="Timeline")
    rows = [row for row in table.find_all("tr") if row.find_all("th", scope="row")]
    return {row.find("th", scope="row").text.split()[0]: row.text for row in rows}


async def test_the_page_shows_each_agent_its_time_and_its_cost(api: Api) -> None:
    events = await api.ask(ensemble="again")
    run_id, conversation_id = events[0].run_id, events[0].data["conversation_id"]
    page = await _open(api, f"/web/runs/{run_id}")
    rows = _rows(page)
    assert list(rows) == ["llm-1", "again", "llm-combine"]
    assert "combiner" in rows["llm-combine"]
    assert "An attempt failed" in rows["again"]
    assert "(upstream_busy)" in rows["again"]
    assert [name for name, row in rows.items() if "slowest" in row] == ["again"]
    assert all("answered" in row and " ms" in row for row in rows.values())
    assert "The run is complete." in page.text
    assert "The slowest agent was again" in page.text
    assert (
        answer_of(events).split(".")[0] in page.find("section", aria_labelledby="answer-title").text
    )
    assert f"/web/chat/{conversation_id}" in page.list_links()
    assert f"/api/runs/{run_id}/export" in page.list_links()
    assert re.search(r"Call of .* to .*: failed \(upstream_busy\)\..*answered\.", rows["again"])
    bars = page.find("svg", role="img").find_all("rect")
    assert len(bars) >= 6
    assert any("failed" in (bar.attributes["class"] or "") for bar in bars)
    for bar in bars:
        start, width = (float((bar.attributes[name] or "").rstrip("%")) for name in ("x", "width"))
        assert 0 <= start <= 100
        assert start + width <= 100.5


async def test_costs_are_amounts_where_a_price_is_known(api: Api) -> None:
    page = await _open(api, f"/web/runs/{(await api.ask(ensemble='solo'))[0].run_id}")
    assert "$0.0" in _rows(page)["assistant"]
    assert "Cost$0.0" in page.text.replace("Cost $", "Cost$")


async def test_a_degraded_answer_and_a_failure_are_stated_in_words(api: Api) -> None:
    degraded = (await api.ask(ensemble="one-status"))[0].run_id
    page = await _open(api, f"/web/runs/{degraded}")
    assert "Degraded: the answer was made without bad-status (upstream_failed)." in page.text
    assert "failed" in _rows(page)["bad-status"]
    failed = (await api.ask(ensemble="both-bad"))[0].run_id
    page = await _open(api, f"/web/runs/{failed}")
    shown = await api.shown(failed)
    assert f"The run failed. {shown['message']} ({shown['code']})" in page.text
    assert "There is no answer." in page.text
    assert not page.find_all("form", data_resynthesize="")


async def test_the_page_of_a_running_run_states_so_and_reloads_without_scripts(api: Api) -> None:
    run_id = await api.started(ensemble="endless")

    async def is_answering() -> bool:
        page = await _open(api, f"/web/runs/{run_id}")
        return "answering" in _rows(page).get("endless-1", "")

    await until(is_answering)
    page = await _open(api, f"/web/runs/{run_id}")
    assert "The run is still in progress." in page.text
    assert len(page.find("noscript").find_all("meta", http_equiv="refresh")) == 1
    part = await _open(api, f"/web/runs/{run_id}?part=progress")
    assert not part.find_all("html")
    assert part.find("section", aria_labelledby="state-title").attributes["data-state"] == "running"
    assert (await api.http.post(f"/api/runs/{run_id}/cancel")).status_code == 200
    page = await _open(api, f"/web/runs/{run_id}")
    assert "The run was stopped." in page.text
    assert not page.find_all("noscript")


async def test_hostile_questions_and_unknown_runs_are_only_text(api: Api) -> None:
    run_id = (await api.ask("\n\n".join(HOSTILE), ensemble="solo"))[0].run_id
    page = await _open(api, f"/web/runs/{run_id}")
    assert all("src" in each.attributes for each in page.find_all("script"))
    assert not page.find_all("img")
    assert not page.find_all("iframe")
    assert not any(name.startswith("on") for each in page.find_all("a") for name in each.attributes)
    for path in ("run_" + "0" * 32, "%00", "..%2f..%2fetc", "<script>", f"{run_id}?agent=nobody"):
        missing = await api.http.get(f"/web/runs/{path}", headers={"Accept": "text/html"})
        assert missing.status_code == 404
        assert "<script>alert" not in missing.text


async def test_a_long_answer_of_an_agent_has_a_page_of_its_own(api: Api) -> None:
    run_id = (await api.ask(ensemble="fanout"))[0].run_id
    page = await _open(api, f"/web/runs/{run_id}?agent=llm-1")
    shown = await api.shown(run_id)
    text = next(each["answer"] for each in shown["agents"] if each["name"] == "llm-1")
    assert text.split(".")[0] in page.find("main").text
    assert f"/web/runs/{run_id}" in page.list_links()
