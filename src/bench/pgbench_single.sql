-- One row, made as sample.rs makes events. What only costs the client is constant: salts and entry.
\set n :n + 1
\set seq :base + :client_id * 1000000000 + :n
\set tenant random(1, :tenants)
\set type random(1, 20)
\set account random(0, 49999)
\set user random(0, 4999)
\set source random(1, 5)
\set city random(1, 8)
\set correlation random(1, 9000000000000000000)
\set address random(0, 16777215)
\set millis random(0, 899)
INSERT INTO bench.events (
    tenant_id, seq, received_at, id, kind, envelope_v, projection_v, level, event_type, user_identity,
    "timestamp", source, outcome, target, message, ip, correlation_id, recorded_by, idempotency_key, entry,
    envelope_salt, payload_salt, lossy, payload, event_data
)
SELECT
    :tenant::int, :seq::bigint, clock_timestamp(), lpad(to_hex(:seq::bigint), 32, '0')::uuid, 1, 1, 1, 2, e.type, e.username,
    clock_timestamp(), (ARRAY['billing-api','web','mobile','backoffice','batch-worker'])[:source], 'success',
    'account/' || :account::text, e.type || ' of account ' || :account::text || ' by ' || e.username,
    '10.0.0.0'::inet + :address::bigint, e.correlation, 'user-admin', NULL,
    '\x415545310101abababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababab',
    '\x01010101010101010101010101010101', '\x02020202020202020202020202020202', false,
    convert_to(e.data, 'UTF8'), e.data::jsonb
FROM (
    SELECT v.*, '{"account_id":' || :account::text || ',"email":"account' || :account::text
        || '@example.com","session":"' || v.correlation || '","amount":' || :millis::text
        || '.50,"currency":"EUR","address":{"city":"' || v.city || '","country":"EU","zip":"' || :account::text
        || '"},"client":{"agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101","version":"4.12.0"},'
        || '"changes":{"status":{"from":"active","to":"closed"}},"tags":["billing","' || v.city
        || '"],"request":{"method":"POST","number":' || :seq::text || ',"duration_ms":' || :millis::text || '}}' AS data
    FROM (VALUES (
        (ARRAY['login','logout','login_failed','password_changed','old_account','account_opened','account_closed',
        'payment_created','payment_refunded','invoice_sent','order_placed','order_shipped','order_cancelled','role_granted',
        'role_revoked','file_uploaded','file_deleted','report_exported','settings_changed','api_key_created'])[:type],
        'user' || :user::text || '@example.com',
        (ARRAY['Paris','Lyon','Berlin','Madrid','Rome','Vienna','Prague','Lisbon'])[:city],
        to_hex(:correlation::bigint)
    )) AS v (type, username, city, correlation)
    OFFSET 0
) AS e;
