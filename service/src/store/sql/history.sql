/* keypool: history */
-- Which history the database has: the cluster, and the timeline that it writes. No timeline while it only follows another.
SELECT c.system_identifier,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
       END AS timeline
FROM pg_control_system() c
