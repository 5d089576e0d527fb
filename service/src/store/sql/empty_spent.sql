/* keypool: empty_spent */
-- Empties packages that were spent before a time, in some buckets. It reads at most 100 entries of the spend log in each, from where the
-- sweep before came to, and tells of which buckets there may be more. Expired packages are left to the purge, which locks their
-- rows in another order.
WITH entry AS MATERIALIZED (
    SELECT b.bucket, s.logged_at, s.key_package_ref, s.spent_at IS NOT NULL AND NOT s.last_resort AS used_up
    FROM unnest($1::int2[]) AS b (bucket)
    LEFT JOIN sweep_position p ON p.bucket = b.bucket
    CROSS JOIN LATERAL (
        SELECT s.logged_at, s.key_package_ref, s.spent_at, s.last_resort
        FROM spend_log s
        WHERE s.bucket = b.bucket AND s.logged_at >= COALESCE(p.logged_at, '-infinity') AND s.logged_at < $2
          AND (s.logged_at, s.key_package_ref)
              > (COALESCE(p.logged_at, '-infinity'), COALESCE(p.key_package_ref, ''))
        ORDER BY s.logged_at, s.key_package_ref
        LIMIT 100 -- a constant, so that the planner expects few
    ) s
),
pick AS MATERIALIZED (
    SELECT k.tid
    FROM (SELECT bucket, key_package_ref FROM entry WHERE used_up ORDER BY bucket, key_package_ref OFFSET 0) e
    CROSS JOIN LATERAL (
        SELECT k.ctid AS tid
        FROM key_package k
        WHERE k.bucket = e.bucket AND k.key_package_ref = e.key_package_ref
          AND k.key_package <> '' AND k.not_after >= $3
        FOR UPDATE
    ) k
),
emptied AS (
    UPDATE key_package k
    SET key_package = '', credential = '', signature_key = ''
    FROM pick p
    WHERE k.ctid = p.tid -- locked above, so it has not moved
    RETURNING 1
),
reached AS (
    INSERT INTO sweep_position AS p (bucket, logged_at, key_package_ref)
    SELECT DISTINCT ON (bucket) bucket, logged_at, key_package_ref
    FROM entry
    ORDER BY bucket, logged_at DESC, key_package_ref DESC
    ON CONFLICT (bucket) DO UPDATE
    SET logged_at = excluded.logged_at, key_package_ref = excluded.key_package_ref
    WHERE (p.logged_at, p.key_package_ref) < (excluded.logged_at, excluded.key_package_ref)
)
SELECT
    (SELECT count(*) FROM emptied) AS packages,
    ARRAY(SELECT e.bucket FROM entry e GROUP BY e.bucket HAVING count(*) = 100) AS more
