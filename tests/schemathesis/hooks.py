"""What schemathesis cannot know of this service from its document."""

import os
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st

USER = os.environ["ADMIN_USER"]

places = map(str, map(IPv4Address, count(int(IPv4Address("10.0.0.1")))))

addresses = st.ip_addresses().map(str)
networks = st.ip_addresses(v=4).map(lambda address: f"{address}/32")

schemathesis.openapi.format("ip", addresses)
schemathesis.openapi.format("ip-or-network", addresses | networks)
# Sealed by the service: only answers have them.
schemathesis.openapi.format("cursor", st.nothing())


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: dict[str, Any]) -> None:
    """Each request comes from elsewhere: wrong logins from one place would soon be told to wait."""
    case.headers["X-Forwarded-For"] = next(places)


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    return not (locks_itself_out(case) or has_two_keys(case) or is_the_services_own(case))


def locks_itself_out(case: schemathesis.Case) -> bool:
    """Whether it changes the user as whom everything is tested; by then there may be other admins."""
    return case.method != "GET" and USER in (case.path_parameters or {}).values()


def has_two_keys(case: schemathesis.Case) -> bool:
    """The header may only repeat the member, which the document can say in words alone."""
    keyed = isinstance(case.body, dict) and "idempotency_key" in case.body
    return keyed and "Idempotency-Key" in (case.headers or {})


def is_the_services_own(case: schemathesis.Case) -> bool:
    """Whether it repeats an event type that it read in the log and that clients may not use, as words alone say."""
    kind = case.body.get("event_type") if isinstance(case.body, dict) else None
    return isinstance(kind, str) and kind.startswith("eventlogger.")
