/* keypool: check */
-- The simplest question. This statement alone asks for the database's own time.
SELECT
    clock_timestamp() AS time,
    current_setting('server_version_num')::int4 / 10000 AS version,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::bool AS is_read_only,
    -- Of this role: the waits of others may be hidden.
    EXISTS (
        SELECT FROM pg_stat_activity a
        WHERE a.usename = current_user AND a.datname = current_database()
            AND a.wait_event = 'SyncRep' AND a.query_start < clock_timestamp() - interval '5 s'
    ) AS is_hanging,
    -- Changes with the settings that new sessions of this role in this database begin with, and this one did not.
    COALESCE((
        SELECT sum(hashtextextended(concat_ws(' ', s.setdatabase, s.setrole, s.setconfig), 0))
        FROM pg_db_role_setting s
        WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
            AND s.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user))
    ), 0)::text AS defaults
