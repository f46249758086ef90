-- What searches need besides the columns.

-- The address that a JSON value is, as the service itself reads one; NULL if it is none, never an error.
-- Restricted: a block with an EXCEPTION clause is a subtransaction, which parallel workers cannot start.
CREATE FUNCTION event_address(value jsonb) RETURNS inet
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED AS $$
DECLARE
    spelled text := value #>> '{}';
    address inet;
BEGIN
    IF jsonb_typeof(value) <> 'string' THEN
        RETURN NULL;
    END IF;
    IF spelled ~ '^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(?=[0-9])|$)){4}$' THEN
        RETURN spelled::inet;
    END IF;
    -- PostgreSQL alone would also take a beginning of an IPv4 address at the end.
    IF spelled !~ '^[0-9A-Fa-f:.]{2,45}$' OR spelled !~ ':'
        OR spelled ~ '\.' AND spelled !~ ':((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(?=[0-9])|$)){4}$' THEN
        RETURN NULL;
    END IF;
    address := spelled::inet;
    -- Mapped to IPv6 is IPv4, as in the column `ip`.
    IF address <<= '::ffff:0.0.0.0/96' THEN
        RETURN '0.0.0.0'::inet + (address - '::ffff:0.0.0.0'::inet);
    END IF;
    RETURN address;
EXCEPTION WHEN invalid_text_representation THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION event_address IS 'The address that a JSON string spells, or NULL.';
