-- The devices that are remembered of each user.
CREATE TABLE keypool_pinned_user (
    user_id TEXT PRIMARY KEY,
    -- JSON.
    devices BLOB NOT NULL
) STRICT, WITHOUT ROWID;
