/* keypool: lock_holders */
-- The sessions that hold an advisory lock of this database.
SELECT l.pid, a.application_name, COALESCE(a.state, a.backend_type) AS state,
       to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.classid::bigint << 32 | l.objid::bigint = $1::bigint
ORDER BY l.pid
