-- All at once, before anything is done: uploads, reserves and sweeps lock them in orders of their own.
LOCK TABLE device, pool, last_resort, one_time, key_package, revoked, spend_log IN ACCESS EXCLUSIVE MODE;

-- What becomes of packages that were disclosed and not spent. Their bytes are known to a holder that others may not trust.
ALTER TABLE one_time
    -- The last holder whose hold ended without a spend. Null, with no hold: nobody has seen the package.
    ADD COLUMN seen_by     text     COLLATE "C",
    -- Who may be handed the package once the hold has ended: 0 anybody, 1 the same holder, 2 nobody.
    ADD COLUMN returns     smallint NOT NULL DEFAULT 0,
    -- When the reservation took the package, if it has asked for it again since: a hold has a longest time in all.
    ADD COLUMN reserved_at timestamptz;

-- Rows are wider now, so that an empty table looks smaller to the planner: see V2.
DROP INDEX one_time_pick;
CREATE INDEX one_time_pick ON one_time (bucket, user_id, device_id, not_after) WHERE user_id IS NOT NULL;

-- A hand-out that ends without a spend is an entry as well: of a lapsed hold, without a principal. Reservation ids are each
-- holder's own.
ALTER TABLE spend_log
    ALTER COLUMN principal DROP NOT NULL,
    ADD COLUMN lapsed_at       timestamptz,
    ADD COLUMN unusable_reason smallint,
    DROP CONSTRAINT spend_log_pkey,
    ADD PRIMARY KEY (bucket, user_id, device_id, reservation_id, holder, key_package_ref);

-- What was spent stays as it is.
DROP POLICY note ON spend_log;
CREATE POLICY note ON spend_log FOR UPDATE USING (spent_at IS NULL) WITH CHECK (true);

-- An entry is kept as long after its spend as after it was made.
DROP POLICY purge ON spend_log;
CREATE POLICY purge ON spend_log FOR DELETE USING (GREATEST(logged_at, spent_at) < clock_timestamp() - interval '30 days');

-- Reports of inviters are in the log now, whether they are believed or not.
ALTER TABLE revoked DROP COLUMN unusable_reason;
ALTER TABLE last_resort DROP COLUMN unusable_reason;

-- An init key is used once by each user. Of other users' it says nothing: they have no use of the key, and are not told of it.
DROP INDEX key_package_init_key;
CREATE UNIQUE INDEX key_package_init_key ON key_package (bucket, init_key, user_id) WHERE init_key IS NOT NULL;

-- Older versions would hand out to anybody what was disclosed.
UPDATE served_schema SET least = 6;
