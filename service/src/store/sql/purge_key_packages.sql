/* keypool: purge_key_packages */
-- Forgets packages that could not be accepted any more, in some buckets, at most 100 in each. What another purge is
-- at is waited for, and then gone: to lock it first would need the right to change it.
WITH old AS (
    SELECT k.bucket, k.key_package_ref
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT k.bucket, k.key_package_ref
        FROM key_package k
        WHERE k.bucket = b.bucket AND k.not_after < $2
        ORDER BY k.not_after
        LIMIT 100 -- a constant, so that the planner expects few
    ) k
),
purged AS (
    DELETE FROM key_package k
    USING old
    WHERE k.bucket = old.bucket AND k.key_package_ref = old.key_package_ref
    RETURNING k.bucket, k.key_package_ref, k.user_id, k.device_id, k.cipher_suite
),
expired AS (
    DELETE FROM one_time o
    USING purged k
    WHERE o.bucket = k.bucket AND o.key_package_ref = k.key_package_ref
    RETURNING o.*
),
revoked AS (
    DELETE FROM revoked r
    USING purged k
    WHERE r.bucket = k.bucket AND r.user_id = k.user_id AND r.device_id = k.device_id
      AND r.key_package_ref = k.key_package_ref
    RETURNING r.*
),
-- What was seen is on record, even if no sweep has noted it before.
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, held_until, held_until
    FROM (
        SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, group_id, holder, held_until
        FROM expired
        UNION ALL
        SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, group_id, holder, held_until
        FROM revoked
    ) hold
    WHERE held_until IS NOT NULL
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
),
last AS (
    DELETE FROM last_resort l
    USING purged k
    WHERE l.bucket = k.bucket AND l.user_id = k.user_id AND l.device_id = k.device_id
      AND l.cipher_suite = k.cipher_suite AND l.key_package_ref = k.key_package_ref
),
gone AS (
    SELECT bucket, user_id, device_id, cipher_suite, count(*) AS packages
    FROM (
        SELECT bucket, user_id, device_id, cipher_suite FROM expired
        UNION ALL
        SELECT bucket, user_id, device_id, cipher_suite FROM revoked
    ) rows
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
SELECT count(*) AS packages FROM purged
