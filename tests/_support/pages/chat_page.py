"""The chat page by its accessible names, as a user and a screen reader find its parts."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

from tests._support.patience import PATIENCE_S


class ChatPage:
    """The chat page in a browser; `origin` is the address of the service."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.question = page.get_by_role("textbox", name="Question")
        self.ask_button = page.get_by_role("button", name="Ask", exact=True)
        self.stop_button = page.get_by_role("button", name="Stop", exact=True)
        self.ensemble = page.get_by_role("combobox", name="Ensemble")
        self.answer = page.get_by_role("region", name="Answer", exact=True)
        self.run = page.get_by_role("status", name="Run")

    async def open(self, path: str = "/web/chat") -> None:
        await self.page.goto(f"{self.origin}{path}")

    async def ask(self, text: str, ensemble: str = "fanout") -> str:
        """Ask a question; return the id of its run once the page shows it."""
        await self.ensemble.select_option(ensemble)
        await self.question.fill(text)
        await self.ask_button.click()
        await expect(self.question).to_have_value("")
        return await self.read_run_id()

    async def read_run_id(self) -> str:
        run_id = await self.page.locator(".exchange").last.get_attribute("data-run")
        assert run_id
        return run_id

    async def has_ended(self, words: str = "Complete") -> None:
        """Wait for the end of the run, and for the page to show the rest of it."""
        await expect(self.run).to_contain_text(words, timeout=PATIENCE_S * 1000)
        await self.page.evaluate("() => new Promise(done => requestIdleCallback(done))")

    def agent(self, name: str) -> Locator:
        """Return the region of an agent."""
        return self.page.get_by_role("region", name=name, exact=True)

    async def read_answer(self) -> str:
        """Return the text of the answer without the space between its elements."""
        text = await self.answer.evaluate("element => element.textContent")
        return " ".join(str(text).split())

    async def read_stored_answer(self, run_id: str) -> str:
        response = await self.page.request.get(f"{self.origin}/api/runs/{run_id}")
        answer: str = (await response.json())["answer"]
        return answer
