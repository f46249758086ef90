-- What is signed: which key signs which log, and some of the signed tree heads.

CREATE TABLE log_keys (
    tenant_id       int NOT NULL REFERENCES tenants,
    epoch           int NOT NULL CHECK (epoch >= 0),
    vkey            text COLLATE "C" NOT NULL,
    from_size       bigint NOT NULL CHECK (from_size >= 0),
    retired_at_size bigint CHECK (retired_at_size >= from_size),
    PRIMARY KEY (tenant_id, epoch, vkey)
);
CREATE UNIQUE INDEX log_keys_active ON log_keys (tenant_id, epoch) WHERE retired_at_size IS NULL;
COMMENT ON TABLE log_keys IS 'Public keys, as C2SP verifier keys. An instance whose key is not the active one refuses to write.';

CREATE TABLE checkpoints (
    tenant_id int NOT NULL,
    epoch     int NOT NULL CHECK (epoch >= 0),
    size      bigint NOT NULL CHECK (size >= 0),
    note      text COLLATE "C" NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, epoch, size)
);
COMMENT ON TABLE checkpoints IS 'Signed tree heads, at most one a minute and log, and the first of each epoch.';

ALTER TABLE tenants ADD COLUMN public_proofs boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN tenants.public_proofs IS 'Whether /tlog of the tenant needs no login. It holds commitments, never content.';
