-- What the service itself has to record: a change of users, tokens or tenants is written here in its own
-- transaction, so that neither can be without the other; a running instance moves it into the log.

CREATE TABLE service_events (
    service_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id        int NOT NULL REFERENCES tenants,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    event_type       text COLLATE "C" NOT NULL CHECK (event_type LIKE 'eventlogger.%'),
    user_identity    text COLLATE "C" NOT NULL,
    target           text COLLATE "C",
    message          text NOT NULL,
    ip               inet,
    event_data       text COLLATE "C"
);
COMMENT ON TABLE service_events IS 'On its way into the log of the tenant; a row is deleted once its event is recorded under the idempotency key eventlogger/<service_event_id>.';
COMMENT ON COLUMN service_events.event_data IS 'JSON, the payload of the event.';
