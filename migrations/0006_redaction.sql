-- Redaction: content is erased, the entry that commits to it stays. It takes a kind 2 entry in the same log, and
-- this function is the only way: the writer may execute it, and cannot change a recorded event by itself.

CREATE TABLE redactions (
    tenant_id          int NOT NULL,
    target_seq         bigint NOT NULL,
    scope              text COLLATE "C" NOT NULL CHECK (scope IN ('payload', 'all')),
    seq                bigint NOT NULL CHECK (seq > target_seq),
    received_at        timestamptz NOT NULL,
    target_received_at timestamptz NOT NULL,
    scrubbed_at        timestamptz,
    PRIMARY KEY (tenant_id, target_seq, scope),
    UNIQUE (tenant_id, seq)
);
CREATE INDEX redactions_to_scrub ON redactions (tenant_id, target_seq) WHERE scrubbed_at IS NULL;
COMMENT ON TABLE redactions IS 'Where the entry of each redaction is, by what it erased. Says nothing that the log does not.';
COMMENT ON COLUMN redactions.seq IS 'The redaction''s own entry; its payload has the reason.';
COMMENT ON COLUMN redactions.scrubbed_at IS 'When the tables that held the content had been vacuumed.';

-- The list of what redaction walks. A table that is to hold content of events, or what could tell of it, joins it:
--   events           payload, payload_salt, event_data, lossy; scope all: the typed columns and envelope_salt
--   idempotency      salt and content_mac of the event's key; the key goes on standing for the event
--   service_events   the row from which an event of the service itself was made, if it is still there
-- What PostgreSQL keeps of them beside (dead rows, TOAST, indexes, pg_statistic) is removed by vacuuming them, see
-- src/store/scrub.rs. Nothing else holds content: entries, tiles and checkpoints hold commitments.
CREATE FUNCTION redact_event(
    p_tenant_id int, p_seq bigint, p_received_at timestamptz, p_target_received_at timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said    jsonb;
    erased  record;
    v_seq   bigint;
    v_scope text;
BEGIN
    -- What is to be erased is what the entry says, and nothing that only the caller says.
    SELECT event_data INTO said FROM public.events
    WHERE tenant_id = p_tenant_id AND received_at = p_received_at AND seq = p_seq AND kind = 2;
    IF said IS NULL THEN
        RAISE EXCEPTION 'entry % is no redaction', p_seq USING ERRCODE = '22023';
    END IF;
    v_seq := (said ->> 'seq')::bigint;
    v_scope := said ->> 'scope';
    SELECT id, kind, redaction, idempotency_key INTO erased FROM public.events
    WHERE tenant_id = p_tenant_id AND received_at = p_target_received_at AND seq = v_seq;
    IF erased.id IS NULL OR erased.id::text IS DISTINCT FROM said ->> 'id' OR v_seq >= p_seq THEN
        RAISE EXCEPTION 'there is no event of the id and seq that entry % names', p_seq USING ERRCODE = '22023';
    END IF;
    IF erased.kind <> 1 THEN
        RAISE EXCEPTION 'entry % is no event, and stays', v_seq USING ERRCODE = '22023';
    END IF;
    IF v_scope IS NULL OR v_scope NOT IN ('payload', 'all') OR erased.redaction IN (v_scope, 'all') THEN
        RAISE EXCEPTION 'event % is already redacted as far as %', v_seq, v_scope USING ERRCODE = '22023';
    END IF;

    INSERT INTO public.redactions (tenant_id, target_seq, scope, seq, received_at, target_received_at)
    VALUES (p_tenant_id, v_seq, v_scope, p_seq, p_received_at, p_target_received_at);
    UPDATE public.idempotency SET salt = NULL, content_mac = NULL
    WHERE tenant_id = p_tenant_id AND key = erased.idempotency_key AND seq = v_seq;
    -- Principal 0 is the service itself; its keys name the row that its event was made from.
    DELETE FROM public.service_events s
    WHERE s.tenant_id = p_tenant_id AND 'eventlogger/' || s.service_event_id = erased.idempotency_key
      AND EXISTS (SELECT FROM public.idempotency i
                  WHERE i.tenant_id = p_tenant_id AND i.key = erased.idempotency_key AND i.principal_id = 0
                    AND i.seq = v_seq);
    IF v_scope = 'payload' THEN
        UPDATE public.events
        SET redaction = 'payload', payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL
        WHERE tenant_id = p_tenant_id AND received_at = p_target_received_at AND seq = v_seq;
    ELSE
        UPDATE public.events
        SET redaction = 'all', payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL, level = NULL,
            event_type = NULL, user_identity = NULL, "timestamp" = NULL, source = NULL, outcome = NULL,
            target = NULL, message = NULL, ip = NULL, correlation_id = NULL, recorded_by = NULL,
            idempotency_key = NULL, envelope_salt = NULL
        WHERE tenant_id = p_tenant_id AND received_at = p_target_received_at AND seq = v_seq;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION redact_event FROM PUBLIC;
COMMENT ON FUNCTION redact_event IS 'Erases what the redaction entry at p_seq, inserted before in the same transaction, says. The caller holds the lock of the head.';
