-- What the service is compared with: the same columns, partitions and indexes, filled with the same rows.
CREATE SCHEMA bench;
CREATE TABLE bench.events (LIKE public.events INCLUDING ALL) PARTITION BY RANGE (received_at);
CREATE TABLE bench.idempotency (LIKE public.idempotency INCLUDING ALL);
DO $$
DECLARE
    partition record;
BEGIN
    FOR partition IN
        SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.events'::regclass
    LOOP
        EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.events %s', partition.name, partition.bounds);
    END LOOP;
END
$$;
