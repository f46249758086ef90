"""Uses the Python client that was generated from a running service's document, as an application would."""

import base64
import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from event_logger_client import AuthenticatedClient
from event_logger_client.api.reading import get_event, get_event_payload, query_events, search_events
from event_logger_client.api.recording import record_batch, record_event
from event_logger_client.models import (
    BatchResult,
    Comparison,
    Event,
    EventPage,
    EventQuery,
    Fault,
    NewEvent,
    Outcome,
    Problem,
    QueryEventsConditions,
    ReceiptDetail,
    Recorded,
)
from event_logger_client.types import UNSET, Response, Unset

SERVICE = os.environ["SERVICE_URL"]
PASSWORD = os.environ["ADMIN_PASSWORD"]
READER = os.environ["READER_TOKEN"]


def basic(user: str, password: str) -> AuthenticatedClient:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return AuthenticatedClient(SERVICE, token=credentials, prefix="Basic")


def account_event(account: int, outcome: Outcome | Unset = UNSET) -> NewEvent:
    data = {"account_id": account, "email": "john.doe@example.com"}
    return NewEvent(event_type="old_account", user_identity="Asad_Zaman", event_data=data, outcome=outcome)


def record(client: AuthenticatedClient) -> Recorded:
    recorded = record_event.sync(client=client, body=account_event(1346, Outcome.SUCCESS))
    assert isinstance(recorded, Recorded) and recorded.receipt, recorded
    return recorded


def record_many(client: AuthenticatedClient) -> list[int | Unset]:
    accounts = [1346, 1347, 1346, 1347, 1346]
    events = [account_event(account) for account in accounts]
    result = record_batch.sync(client=client, body=events, receipt=ReceiptDetail.NONE)
    assert isinstance(result, BatchResult), result
    assert (result.stored, result.rejected) == (5, 0), result
    assert all(isinstance(item.id, UUID) for item in result.results), result
    return [item.seq for item, account in zip(result.results, accounts) if account == 1346]


def record_lines(client: AuthenticatedClient) -> list[int | Unset]:
    """What no generator writes: one event per line, made as they are sent."""
    lines = (json.dumps(account_event(1346).to_dict()).encode() + b"\n" for _ in range(3))
    kind = {"Content-Type": "application/x-ndjson"}
    answer = client.get_httpx_client().post("/events/batch", content=lines, headers=kind)
    result = BatchResult.from_dict(answer.json())
    assert result.stored == 3, answer.text
    return [item.seq for item in result.results]


def events_by_url(client: AuthenticatedClient, account: int) -> Iterator[Event]:
    conditions = QueryEventsConditions.from_dict({"account_id": str(account)})
    cursor: str | Unset = UNSET
    while True:
        page = query_events.sync(client=client, conditions=conditions, limit=2, cursor=cursor)
        assert isinstance(page, EventPage), page
        yield from page.events
        cursor = page.next_cursor
        if not cursor:
            return


def events_by_filter(client: AuthenticatedClient, account: int | str) -> Iterator[Event]:
    query = EventQuery(filter_=Comparison(field="event_data.account_id", value=account), limit=2)
    while True:
        page = search_events.sync(client=client, body=query)
        assert isinstance(page, EventPage), page
        yield from page.events
        if not page.next_cursor:
            return
        query.cursor = page.next_cursor


def find_again(client: AuthenticatedClient, recorded: list[int | Unset]) -> None:
    by_url = [event.seq for event in events_by_url(client, 1346)]
    by_filter = [event.seq for event in events_by_filter(client, 1346)]
    newest_first = recorded[::-1]
    assert by_url == by_filter == newest_first, (by_url, by_filter, newest_first)
    assert not list(events_by_filter(client, "1346")), "a JSON filter takes text for text"


def read_back(client: AuthenticatedClient, recorded: Recorded) -> None:
    event = get_event.sync(recorded.id, client=client)
    assert isinstance(event, Event), event
    assert (event.seq, event.outcome) == (recorded.seq, Outcome.SUCCESS), event
    payload = get_event_payload.sync_detailed(recorded.id, client=client)
    assert payload.status_code == 200 and payload.parsed == event.event_data, payload


def problem(answer: Response[Any], status: int, code: str) -> Problem:
    assert isinstance(answer.parsed, Problem), answer
    assert (answer.status_code, answer.parsed.status, answer.parsed.code) == (status, status, code), answer
    return answer.parsed


def errors_are_typed(client: AuthenticatedClient) -> None:
    event, key = account_event(1346), str(uuid4())
    refused = query_events.sync_detailed(client=basic("admin", "wrong"))
    problem(refused, 401, "invalid_credentials")

    reader = AuthenticatedClient(SERVICE, token=READER)
    forbidden = problem(record_event.sync_detailed(client=reader, body=event), 403, "role_missing")
    assert forbidden.role == "writer", forbidden

    first = record_event.sync(client=client, body=event, idempotency_key=key)
    other = record_event.sync_detailed(client=client, body=account_event(1), idempotency_key=key)
    assert isinstance(first, Recorded), first
    assert problem(other, 409, "idempotency_conflict").id == first.id, other

    invalid = NewEvent(event_type="eventlogger.mine", user_identity="Asad_Zaman")
    faults = problem(record_event.sync_detailed(client=client, body=invalid), 422, "reserved_event_type").errors
    assert isinstance(faults, list) and isinstance(faults[0], Fault) and faults[0].pointer == "/event_type", faults
    batch = problem(record_batch.sync_detailed(client=client, body=[invalid]), 422, "batch_rejected")
    assert batch.errors and batch.errors[0].pointer == "/0/event_type", batch
    assert problem(get_event.sync_detailed(uuid4(), client=client), 404, "not_found"), "an unknown id"


def main() -> None:
    client = basic("admin", PASSWORD)
    recorded = record(client)
    find_again(client, [recorded.seq, *record_many(client), *record_lines(client)])
    read_back(client, recorded)
    errors_are_typed(client)
    print("ok: the generated Python client records, finds, pages, reads back and tells errors apart")


main()
