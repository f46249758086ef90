-- Control tables: who may call, in which tenant. Small, and reference tables under Citus.
-- Log tables (0002) are large, and every key there starts with tenant_id.

CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE settings IS 'Facts of the installation that all instances share, such as the cursor key.';

CREATE TABLE tenants (
    tenant_id  int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9-]{1,63}$'),
    log_id     uuid NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE tenants IS 'Owners of logs. Names are immutable and never reused, so rows are never deleted.';
COMMENT ON COLUMN tenants.log_id IS 'The log uuid inside every 118-byte entry; binds an entry to its log.';

CREATE TABLE users (
    tenant_id     int NOT NULL REFERENCES tenants,
    user_id       bigint GENERATED ALWAYS AS IDENTITY,
    name          text COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 128),
    password_hash text COLLATE "C",
    secret_sha256 bytea CHECK (octet_length(secret_sha256) = 32),
    roles         text[] COLLATE "C" NOT NULL
        CHECK (roles <@ ARRAY['writer', 'reader', 'auditor', 'admin', 'superadmin']::text[] COLLATE "C"),
    disabled      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, name)
);
COMMENT ON COLUMN users.user_id IS 'The principal id of the idempotency keys; never reused.';
COMMENT ON COLUMN users.password_hash IS 'argon2id PHC string of a password, if the user has one.';
COMMENT ON COLUMN users.secret_sha256 IS 'SHA-256 of a generated evls_ secret, if the user has one.';

CREATE TABLE tokens (
    tenant_id     int NOT NULL,
    token_id      bigint GENERATED ALWAYS AS IDENTITY,
    user_id       bigint NOT NULL,
    prefix        text COLLATE "C" NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    label         text COLLATE "C" NOT NULL DEFAULT '',
    roles         text[] COLLATE "C" NOT NULL
        CHECK (roles <@ ARRAY['writer', 'reader', 'auditor', 'admin', 'superadmin']::text[] COLLATE "C"),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    PRIMARY KEY (tenant_id, token_id),
    UNIQUE (tenant_id, secret_sha256),
    UNIQUE (tenant_id, prefix),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);
COMMENT ON TABLE tokens IS 'API tokens. A token acts for its owner, with those of its roles that the owner still has.';

CREATE TABLE credential_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO credential_revision (revision) VALUES (0);
COMMENT ON TABLE credential_revision IS 'Raised with every change of a user, token or tenant; instances watch it to drop what they cached.';
