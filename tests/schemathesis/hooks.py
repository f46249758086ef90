"""What schemathesis cannot know of this service from its document."""

import os

import schemathesis
from hypothesis import strategies as st

USER = os.environ["ADMIN_USER"]

addresses = st.ip_addresses().map(str)
networks = st.ip_addresses(v=4).map(lambda address: f"{address}/32")

schemathesis.openapi.format("ip", addresses)
schemathesis.openapi.format("ip-or-network", addresses | networks)
# Sealed by the service: only answers have them.
schemathesis.openapi.format("cursor", st.nothing())


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    return not (locks_itself_out(case) or has_two_keys(case))


def locks_itself_out(case: schemathesis.Case) -> bool:
    """Whether it changes the user as whom everything is tested; by then there may be other admins."""
    return case.method != "GET" and USER in (case.path_parameters or {}).values()


def has_two_keys(case: schemathesis.Case) -> bool:
    """The header may only repeat the member, which the document can say in words alone."""
    keyed = isinstance(case.body, dict) and "idempotency_key" in case.body
    return keyed and "Idempotency-Key" in (case.headers or {})
