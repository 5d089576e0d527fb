/* keypool: blockers */
-- The sessions that a backend waits for. No query texts: they can hold what must not be in a log.
SELECT b.pid, a.application_name, COALESCE(a.state, a.backend_type) AS state,
       to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM (SELECT DISTINCT unnest(pg_blocking_pids($1::int4)) AS pid) b
LEFT JOIN pg_stat_activity a ON a.pid = b.pid
ORDER BY b.pid
