/* keypool: check */
-- The simplest question. This statement alone asks for the database's own time.
SELECT clock_timestamp() AS time, pg_is_in_recovery() AS is_standby
