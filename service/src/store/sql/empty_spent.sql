/* keypool: empty_spent */
-- Empties packages that were spent before a time, in some buckets. It reads at most 100 entries of the spend log in each, from where the
-- sweep before came to, and as many of those that were spent later than they were logged. It tells in which buckets there may be
-- more. Expired packages are left to the purge, which locks their rows in another order.
WITH entry AS MATERIALIZED (
    SELECT b.bucket, false AS late, s.logged_at AS reached, s.key_package_ref,
           NOT s.last_resort AND s.spent_at <= s.logged_at AS used_up
    FROM unnest($1::int2[]) AS b (bucket)
    LEFT JOIN sweep_position p ON p.bucket = b.bucket AND NOT p.late
    CROSS JOIN LATERAL (
        SELECT s.logged_at, s.key_package_ref, s.spent_at, s.last_resort
        FROM spend_log s
        WHERE s.bucket = b.bucket AND s.logged_at >= COALESCE(p.reached, '-infinity') AND s.logged_at < $2
          AND (s.logged_at, s.key_package_ref) > (COALESCE(p.reached, '-infinity'), COALESCE(p.key_package_ref, ''))
        ORDER BY s.logged_at, s.key_package_ref
        LIMIT 100 -- a constant, so that the planner expects few
    ) s
    UNION ALL
    SELECT b.bucket, true, s.spent_at, s.key_package_ref, true
    FROM unnest($1::int2[]) AS b (bucket)
    LEFT JOIN sweep_position p ON p.bucket = b.bucket AND p.late
    CROSS JOIN LATERAL (
        SELECT s.spent_at, s.key_package_ref
        FROM spend_log s
        WHERE s.bucket = b.bucket AND NOT s.last_resort AND s.spent_at > s.logged_at
          AND s.spent_at >= COALESCE(p.reached, '-infinity') AND s.spent_at < $2
          AND (s.spent_at, s.key_package_ref) > (COALESCE(p.reached, '-infinity'), COALESCE(p.key_package_ref, ''))
        ORDER BY s.spent_at, s.key_package_ref
        LIMIT 100
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
advanced AS (
    INSERT INTO sweep_position AS p (bucket, late, reached, key_package_ref)
    SELECT DISTINCT ON (bucket, late) bucket, late, reached, key_package_ref
    FROM entry
    ORDER BY bucket, late, reached DESC, key_package_ref DESC
    ON CONFLICT (bucket, late) DO UPDATE
    SET reached = excluded.reached, key_package_ref = excluded.key_package_ref
    WHERE (p.reached, p.key_package_ref) < (excluded.reached, excluded.key_package_ref)
)
SELECT
    (SELECT count(*) FROM emptied) AS packages,
    ARRAY(SELECT DISTINCT e.bucket FROM entry e GROUP BY e.bucket, e.late HAVING count(*) = 100) AS more
