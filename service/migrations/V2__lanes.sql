-- When the reservation last asked for the package: grows with each repeated reserve. A call whose caller has left gives
-- its hold back only if no repeat has asked for it since.
ALTER TABLE one_time ADD COLUMN asked_at timestamptz;

-- A statement is planned when it is first run, maybe while the tables are empty and every index looks the same. The
-- conditions are always true: they keep these indexes from statements that don't ask for what comes second in them.
DROP INDEX key_package_init_key;
CREATE UNIQUE INDEX key_package_init_key ON key_package (bucket, init_key) WHERE init_key IS NOT NULL;
DROP INDEX key_package_not_after;
CREATE INDEX key_package_not_after ON key_package (bucket, not_after) WHERE not_after IS NOT NULL;
DROP INDEX spend_log_logged_at;
CREATE INDEX spend_log_logged_at ON spend_log (bucket, logged_at, key_package_ref) WHERE logged_at IS NOT NULL;
