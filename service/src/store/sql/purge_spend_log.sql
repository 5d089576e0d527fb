/* keypool: purge_spend_log */
-- Forgets entries older than the retention, in some buckets, at most 100 in each. What another purge is at is waited for,
-- and then gone: to lock it first would need the right to change it.
WITH old AS (
    SELECT s.bucket, s.user_id, s.device_id, s.reservation_id, s.holder, s.key_package_ref
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT s.bucket, s.user_id, s.device_id, s.reservation_id, s.holder, s.key_package_ref
        FROM spend_log s
        WHERE s.bucket = b.bucket AND s.logged_at < $2 AND COALESCE(s.spent_at < $2, true)
        ORDER BY s.logged_at
        LIMIT 100 -- a constant, so that the planner expects few
    ) s
),
purged AS (
    DELETE FROM spend_log s
    USING old
    WHERE s.bucket = old.bucket AND s.user_id = old.user_id AND s.device_id = old.device_id
      AND s.reservation_id = old.reservation_id AND s.holder = old.holder AND s.key_package_ref = old.key_package_ref
    RETURNING s.bucket, s.user_id, s.device_id, s.cipher_suite, NOT s.last_resort AND s.spent_at IS NOT NULL AS is_spent
),
gone AS (
    SELECT bucket, user_id, device_id, cipher_suite, count(*) AS packages
    FROM purged
    WHERE is_spent
    GROUP BY bucket, user_id, device_id, cipher_suite
),
-- In the order in which uploads lock them.
pools AS MATERIALIZED (
    SELECT p.bucket, p.user_id, p.device_id, p.cipher_suite, g.packages
    FROM gone g
    JOIN pool p
      ON p.bucket = g.bucket AND p.user_id = g.user_id AND p.device_id = g.device_id
     AND p.cipher_suite = g.cipher_suite
    ORDER BY p.bucket, p.user_id, p.device_id, p.cipher_suite
    FOR UPDATE OF p
),
booked AS (
    UPDATE pool p
    SET purged = p.purged + g.packages
    FROM pools g
    WHERE p.bucket = g.bucket AND p.user_id = g.user_id AND p.device_id = g.device_id
      AND p.cipher_suite = g.cipher_suite
)
SELECT count(*) AS entries FROM purged
