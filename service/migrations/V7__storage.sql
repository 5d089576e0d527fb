-- The bytes of a package go when no call can return it any more: the row that stays is the tombstone. The service's role may empty
-- bytes, and nothing else. The credential and the signature key of a last-resort package stay while a revocation may ask for them.
CREATE POLICY empty ON key_package FOR UPDATE USING (true)
    WITH CHECK (key_package = '' AND (last_resort OR credential = '' AND signature_key = ''));

-- How many bytes the package has. Null in rows of before: key_package says it. To fill these in here would lock every row of the
-- pool until the migration commits, and a reserve passes over locked rows.
ALTER TABLE one_time ADD COLUMN bytes integer;
ALTER TABLE last_resort ADD COLUMN bytes integer;

-- Superseded last-resort packages that still have their bytes. Only an upload of another adds to it.
CREATE INDEX last_resort_superseded ON last_resort (bucket, superseded_at)
    WHERE superseded_at IS NOT NULL AND bytes IS DISTINCT FROM 0;

-- How far the sweep has come that empties spent packages: in each bucket's spend log by the time of the entry, and among those spent
-- late by the time of the spend. So a spend maintains no index for it.
CREATE TABLE sweep_position (
    bucket          smallint    NOT NULL,
    late            boolean     NOT NULL,
    reached         timestamptz NOT NULL,
    key_package_ref bytea       NOT NULL,
    PRIMARY KEY (bucket, late)
) WITH (fillfactor = 50);

-- One-time packages that were spent under an entry that was there already: few.
CREATE INDEX spend_log_late ON spend_log (bucket, spent_at, key_package_ref) WHERE NOT last_resort AND spent_at > logged_at;

-- Hand-outs that ended without a spend: few, unless somebody collects.
CREATE INDEX spend_log_unspent ON spend_log (bucket, user_id, device_id, cipher_suite) WHERE spent_at IS NULL AND NOT last_resort;
