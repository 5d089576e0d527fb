/* keypool: empty_superseded */
-- Empties last-resort packages that were superseded before a time, and that no hold or spend since then can ask for, in some buckets,
-- at most 100 in each. The credential stays: a revocation may still ask for it, so that older holds end.
WITH old AS MATERIALIZED (
    SELECT b.bucket, l.key_package_ref, l.tid
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT l.key_package_ref, l.ctid AS tid
        FROM last_resort l
        WHERE l.bucket = b.bucket AND l.superseded_at < $2 AND l.bytes IS DISTINCT FROM 0
          AND l.not_after >= $3 -- the purge locks their rows in another order
          AND NOT EXISTS (
              SELECT FROM spend_log s
              WHERE s.bucket = l.bucket AND s.key_package_ref = l.key_package_ref AND s.last_resort
                AND s.released_at IS NULL AND COALESCE(s.spent_at, s.held_until) >= $2
              OFFSET 0
          )
        ORDER BY l.superseded_at
        LIMIT 100 -- a constant, so that the planner expects few
        FOR UPDATE SKIP LOCKED
    ) l
),
noted AS (
    UPDATE last_resort l
    SET bytes = 0
    FROM old o
    WHERE l.ctid = o.tid -- locked above, so it has not moved
),
emptied AS (
    UPDATE key_package k
    SET key_package = ''
    FROM old o
    WHERE k.bucket = o.bucket AND k.key_package_ref = o.key_package_ref
    RETURNING 1
)
SELECT count(*) AS packages FROM emptied
