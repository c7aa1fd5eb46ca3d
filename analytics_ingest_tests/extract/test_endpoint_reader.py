"""Which partition of an endpoint is read next."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analytics_ingest.apis.parents import PartitionName
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.endpoint_reader import EndpointReader
from analytics_ingest.extract.fan_out import FanOutPlan
from analytics_ingest.extract.stats import Partition, TableSnapshot
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest_tests.fake_server import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics_ingest_tests.fake_server import Client, FakeServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = APIS["experimentation"].by_name["events_metrics"]


def test_late_partitions_are_held_until_every_other_one_has_ended(
    fake_server: Callable[..., FakeServer], client: Callable[..., Client]
) -> None:
    server = fake_server(Response(body={"data": []}), Response(body={"data": []}))
    session = client("experimentation", server.url).api_session
    early = [Partition(path=f"/v1/events/{name}/metrics", params={"event_name": name}) for name in ("a", "b")]
    late = [replace(each, path=f"{each.path}-late", naming=PartitionName(late=True)) for each in early]
    reader = EndpointReader(
        EVENTS,
        session,
        limit=None,
        stored=TableSnapshot(),
        state={},
        fan_out_plan=FanOutPlan(
            mode="all", began=NOW, newest=0.0, parents=[*early, *late], whole=True, paths=frozenset()
        ),
        mode=SyncOptions(),
        started=NOW,
        log=logging.getLogger("test"),
    )

    assert [reader.next_parent() for _ in range(3)] == [*early, None]
    list(reader.read(early[0], stopped=lambda: False))
    assert reader.next_parent() is None
    list(reader.read(early[1], stopped=lambda: False))
    assert [reader.next_parent() for _ in range(3)] == [*late, None]
    assert reader.exhausted
