CREATE TABLE keypool_package (
    user_id         TEXT    NOT NULL,
    device_id       TEXT    NOT NULL,
    key_package_ref BLOB    NOT NULL,
    cipher_suite    INTEGER NOT NULL,
    last_resort     INTEGER NOT NULL,
    credential_hash BLOB    NOT NULL,
    state           TEXT    NOT NULL,
    -- A number of the wire API's RejectionReason.
    rejection       INTEGER,
    -- Times are seconds since 1970-01-01T00:00:00Z.
    created_at      INTEGER NOT NULL,
    uploaded_at     INTEGER,
    changed_at      INTEGER NOT NULL,
    not_after       INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, key_package_ref)
) STRICT, WITHOUT ROWID;

-- Invites under way: at most one for each group.
CREATE TABLE keypool_invite (
    group_id BLOB PRIMARY KEY,
    -- JSON.
    record   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
