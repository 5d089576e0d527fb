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
    -- Commits of this role that wait for a standby: the waits of other roles may be hidden.
    ARRAY(
        SELECT concat_ws(' ', a.pid, a.query_start) FROM pg_stat_activity a
        WHERE a.usename = session_user AND a.datname = current_database() AND a.wait_event = 'SyncRep'
    ) AS waiting_commits,
    -- Changes with the settings that new sessions of this role in this database begin with, and this one did not.
    COALESCE((
        SELECT sum(hashtextextended(concat_ws(' ', s.setdatabase, s.setrole, s.setconfig), 0))
        FROM pg_db_role_setting s
        WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
            AND s.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user))
    ), 0)::text AS defaults
