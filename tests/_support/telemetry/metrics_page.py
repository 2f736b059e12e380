"""A parser of the /metrics page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as families
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests._support.clients.api import Api

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(page)
        for sample in family.samples
    }


class Page:
    """A /metrics page, asked for series by their labels."""

    def __init__(self, text: str) -> None:
        found = families(text)
        self._samples = [sample for family in found for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the series that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and sample.labels.items() >= labels.items()
        )


async def read_metrics(api: Api) -> Page:
    response = await api.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return Page(response.text)
