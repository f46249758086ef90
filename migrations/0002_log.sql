-- The log tables. tenant_id comes first in every key, so that they distribute under Citus.
-- What stands in an entry (118 bytes, see ARCHITECTURE.md) can never be changed again; the typed
-- columns and the payload are what its two commitments open to.

CREATE TABLE heads (
    tenant_id        int PRIMARY KEY,
    size             bigint NOT NULL CHECK (size >= 0),
    root             bytea NOT NULL CHECK (octet_length(root) = 32),
    frontier         bytea NOT NULL CHECK (octet_length(frontier) % 32 = 0),
    epoch            int NOT NULL CHECK (epoch >= 0),
    last_received_at timestamptz NOT NULL,
    last_id          uuid NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE heads IS 'One row per log, its lock and its only mutable row.';
COMMENT ON COLUMN heads.frontier IS 'Roots of the perfect subtrees of the tree, largest first.';

CREATE TABLE events (
    tenant_id       int NOT NULL,
    seq             bigint NOT NULL CHECK (seq >= 0),
    received_at     timestamptz NOT NULL,
    id              uuid NOT NULL,
    kind            smallint NOT NULL CHECK (kind IN (1, 2, 3)),
    envelope_v      smallint NOT NULL,
    projection_v    smallint NOT NULL,
    level           smallint CHECK (level BETWEEN 1 AND 6),
    redaction       text COLLATE "C" NOT NULL DEFAULT 'none' CHECK (redaction IN ('none', 'payload', 'all')),
    event_type      text COLLATE "C",
    user_identity   text COLLATE "C",
    "timestamp"     timestamptz,
    source          text COLLATE "C",
    outcome         text COLLATE "C" CHECK (outcome IN ('success', 'failure', 'denied', 'unknown')),
    target          text COLLATE "C",
    message         text,
    ip              inet,
    correlation_id  text COLLATE "C",
    recorded_by     text COLLATE "C",
    idempotency_key text COLLATE "C",
    entry           bytea NOT NULL CHECK (octet_length(entry) = 118),
    envelope_salt   bytea CHECK (octet_length(envelope_salt) = 16),
    payload_salt    bytea CHECK (octet_length(payload_salt) = 16),
    lossy           boolean,
    payload         bytea,
    event_data      jsonb,
    CONSTRAINT events_complete CHECK (
        redaction = 'all'
        OR num_nulls(event_type, user_identity, "timestamp", level, recorded_by, envelope_salt) = 0
    ),
    CONSTRAINT events_erased CHECK (
        redaction <> 'all'
        OR num_nonnulls(event_type, user_identity, "timestamp", source, level, outcome, target, message, ip,
                        correlation_id, recorded_by, idempotency_key, envelope_salt) = 0
    ),
    CONSTRAINT events_payload CHECK (
        num_nulls(payload, payload_salt, event_data, lossy) IN (0, 4)
        AND (redaction = 'none' OR payload IS NULL)
    ),
    PRIMARY KEY (tenant_id, received_at, seq)
) PARTITION BY RANGE (received_at);
COMMENT ON COLUMN events.kind IS '1 event, 2 redaction, 3 control.';
COMMENT ON COLUMN events.level IS '1 DEBUG, 2 INFO, 3 NOTICE, 4 WARN, 5 ERROR, 6 CRITICAL.';
COMMENT ON COLUMN events.entry IS 'The leaf of the Merkle tree; commits to the columns by envelope_salt and to the payload by payload_salt.';
COMMENT ON COLUMN events.message IS 'In the collation of the database, unlike the others: under "C", case folds in ASCII only, and so would searches.';
COMMENT ON COLUMN events.payload IS 'The exact bytes of event_data as they were sent.';
COMMENT ON COLUMN events.event_data IS 'A projection of payload for searching; never evidence.';
COMMENT ON COLUMN events.lossy IS 'Whether event_data could not hold all of payload.';

CREATE INDEX events_seq ON events (tenant_id, seq);
CREATE INDEX events_id ON events (tenant_id, id);
CREATE INDEX events_timestamp ON events (tenant_id, "timestamp", seq);
CREATE INDEX events_event_type ON events (tenant_id, event_type, received_at, seq);
CREATE INDEX events_user_identity ON events (tenant_id, user_identity, received_at, seq);
-- An event puts about 2 kB into the pending lists. The service flushes them in the background; an inserter that
-- meets this limit first must do it itself, while its log waits. A full list costs a query about 2 ms.
CREATE INDEX events_data ON events USING gin (tenant_id, event_data jsonb_path_ops)
    WITH (gin_pending_list_limit = 8192);
CREATE INDEX events_message ON events USING gin (tenant_id, message gin_trgm_ops)
    WITH (gin_pending_list_limit = 8192);

CREATE TABLE tiles (
    tenant_id         int NOT NULL,
    level             smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    index             bigint NOT NULL CHECK (index >= 0),
    root              bytea NOT NULL CHECK (octet_length(root) = 32),
    data              bytea NOT NULL CHECK (octet_length(data) = 8192),
    first_received_at timestamptz,
    last_received_at  timestamptz,
    PRIMARY KEY (tenant_id, level, index),
    CHECK ((level = 0) = (first_received_at IS NOT NULL) AND (level = 0) = (last_received_at IS NOT NULL))
);
ALTER TABLE tiles ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE tiles IS 'Full tiles of 256 hashes, insert-only. The tail of a log is derived from its entries.';

CREATE TABLE idempotency (
    tenant_id    int NOT NULL,
    principal_id bigint NOT NULL,
    key          text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL,
    event_id     uuid NOT NULL,
    received_at  timestamptz NOT NULL,
    leaf_hash    bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    salt         bytea CHECK (octet_length(salt) = 16),
    content_mac  bytea CHECK (octet_length(content_mac) = 32),
    -- The key before the principal: redaction knows an event's key, and nothing else to find this row by.
    PRIMARY KEY (tenant_id, key, principal_id),
    CHECK ((salt IS NULL) = (content_mac IS NULL))
);
COMMENT ON TABLE idempotency IS 'Which event a key stands for, for ever. Redaction erases salt and content_mac.';
