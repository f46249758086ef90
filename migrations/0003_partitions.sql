-- Partitions are made by a function, so that the service needs no SQL text built at run time.
-- LIKE + ATTACH takes no lock that stalls inserts; PARTITION OF does.

CREATE FUNCTION ensure_event_partitions(months_ahead int) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    first_month timestamp := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
    month_start timestamp;
    partition   text;
BEGIN
    -- Of several instances, one makes the partition and the others find it.
    PERFORM pg_advisory_xact_lock(hashtextextended('eventlogger/partitions', 0));
    FOR n IN 0 .. months_ahead LOOP
        month_start := first_month + make_interval(months => n);
        partition := to_char(month_start, '"events_"YYYY"_"MM');
        IF to_regclass(format('%I', partition)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL)', partition);
            EXECUTE format(
                'ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                partition,
                month_start AT TIME ZONE 'UTC',
                (month_start + interval '1 month') AT TIME ZONE 'UTC'
            );
            RETURN NEXT partition;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ensure_event_partitions IS 'Makes the monthly partitions (UTC) of this month and the months ahead that are missing; returns their names.';
