-- Every row of a user leads with its bucket, the first two bytes of SHA-256(user_id) modulo 1024, and so does every
-- index. There are no foreign keys: their locks would sit on the rows that reserves skip when locked.

-- Every device that ever uploaded. Its row is the lock that makes uploads of one device take turns.
CREATE TABLE device (
    bucket         smallint    NOT NULL,
    user_id        text        NOT NULL COLLATE "C",
    device_id      text        NOT NULL COLLATE "C",
    last_upload_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, user_id, device_id)
);

-- What the books can't count from rows: packages accepted, and packages whose rows were purged.
CREATE TABLE pool (
    bucket       smallint NOT NULL,
    user_id      text     NOT NULL COLLATE "C",
    device_id    text     NOT NULL COLLATE "C",
    cipher_suite integer  NOT NULL,
    accepted     bigint   NOT NULL,
    purged       bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, user_id, device_id, cipher_suite)
) WITH (fillfactor = 70);

-- What never changes about a package. The row stays until the package could no longer be accepted, whatever became of
-- it: it is the tombstone that keeps a spent or revoked package, and any other with its init key, from coming back.
CREATE TABLE key_package (
    bucket          smallint    NOT NULL,
    key_package_ref bytea       NOT NULL,
    user_id         text        NOT NULL COLLATE "C",
    device_id       text        NOT NULL COLLATE "C",
    cipher_suite    integer     NOT NULL,
    last_resort     boolean     NOT NULL,
    not_before      timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,
    uploaded_at     timestamptz NOT NULL,
    init_key        bytea       NOT NULL,
    credential      bytea       NOT NULL,
    signature_key   bytea       NOT NULL,
    key_package     bytea       NOT NULL,
    PRIMARY KEY (bucket, key_package_ref)
);
CREATE UNIQUE INDEX key_package_init_key ON key_package (bucket, init_key);
CREATE INDEX key_package_not_after ON key_package (bucket, not_after);

-- One-time packages that are available or reserved: what reserves search. A spent or revoked package leaves this table.
-- No index names a column that a reserve, release or extend changes, and pages keep free space: each is a HOT update.
CREATE TABLE one_time (
    bucket          smallint    NOT NULL,
    user_id         text        NOT NULL COLLATE "C",
    device_id       text        NOT NULL COLLATE "C",
    key_package_ref bytea       NOT NULL,
    cipher_suite    integer     NOT NULL,
    not_after       timestamptz NOT NULL,
    -- The hold: all set, or all null. A lapsed hold stays written until another takes its place.
    held_until      timestamptz,
    reservation_id  text        COLLATE "C",
    group_id        bytea,
    holder          text        COLLATE "C",
    PRIMARY KEY (bucket, key_package_ref),
    CHECK (num_nulls(held_until, reservation_id, group_id, holder) IN (0, 4))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX one_time_pick ON one_time (bucket, user_id, device_id, not_after);

-- Last-resort packages. Read without a lock, never consumed: the newest that is neither revoked nor expired is handed out.
CREATE TABLE last_resort (
    bucket          smallint    NOT NULL,
    user_id         text        NOT NULL COLLATE "C",
    device_id       text        NOT NULL COLLATE "C",
    cipher_suite    integer     NOT NULL,
    key_package_ref bytea       NOT NULL,
    not_after       timestamptz NOT NULL,
    uploaded_at     timestamptz NOT NULL,
    superseded_at   timestamptz,
    revoked_at      timestamptz,
    unusable_reason smallint,
    PRIMARY KEY (bucket, user_id, device_id, cipher_suite, key_package_ref)
);

-- Revoked one-time packages, with the hold that they had: it may still be spent for a while.
CREATE TABLE revoked (
    bucket          smallint    NOT NULL,
    user_id         text        NOT NULL COLLATE "C",
    device_id       text        NOT NULL COLLATE "C",
    key_package_ref bytea       NOT NULL,
    cipher_suite    integer     NOT NULL,
    not_after       timestamptz NOT NULL,
    revoked_at      timestamptz NOT NULL,
    -- What an inviter said that is wrong with it; null if the device or an admin revoked it.
    unusable_reason smallint,
    held_until      timestamptz,
    reservation_id  text        COLLATE "C",
    group_id        bytea,
    holder          text        COLLATE "C",
    PRIMARY KEY (bucket, user_id, device_id, key_package_ref)
);

-- Who was handed which package: one-time packages when spent, last-resort packages when reserved.
CREATE TABLE spend_log (
    bucket          smallint    NOT NULL,
    user_id         text        NOT NULL COLLATE "C",
    device_id       text        NOT NULL COLLATE "C",
    reservation_id  text        NOT NULL COLLATE "C",
    key_package_ref bytea       NOT NULL,
    cipher_suite    integer     NOT NULL,
    last_resort     boolean     NOT NULL,
    group_id        bytea       NOT NULL,
    holder          text        NOT NULL COLLATE "C",
    principal       text        NOT NULL COLLATE "C",
    logged_at       timestamptz NOT NULL,
    spent_at        timestamptz,
    -- Of last-resort packages only.
    held_until      timestamptz,
    released_at     timestamptz,
    PRIMARY KEY (bucket, user_id, device_id, reservation_id, key_package_ref)
);
CREATE INDEX spend_log_logged_at ON spend_log (bucket, logged_at, key_package_ref);
CREATE INDEX spend_log_last_resort ON spend_log (bucket, key_package_ref) WHERE last_resort;
