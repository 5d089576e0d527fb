/* keypool: purge_key_packages */
-- Forgets packages that could not be accepted any more, in some buckets, at most 100 in each.
WITH old AS (
    SELECT k.bucket, k.key_package_ref, k.user_id, k.device_id, k.cipher_suite
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT k.bucket, k.key_package_ref, k.user_id, k.device_id, k.cipher_suite
        FROM key_package k
        WHERE k.bucket = b.bucket AND k.not_after < $2
        ORDER BY k.not_after
        LIMIT 100 -- a constant, so that the planner expects few
        FOR UPDATE SKIP LOCKED
    ) k
),
purged AS (
    DELETE FROM key_package k
    USING old
    WHERE k.bucket = old.bucket AND k.key_package_ref = old.key_package_ref
),
expired AS (
    DELETE FROM one_time o
    USING old
    WHERE o.bucket = old.bucket AND o.key_package_ref = old.key_package_ref
    RETURNING o.bucket, o.user_id, o.device_id, o.cipher_suite
),
revoked AS (
    DELETE FROM revoked r
    USING old
    WHERE r.bucket = old.bucket AND r.user_id = old.user_id AND r.device_id = old.device_id
      AND r.key_package_ref = old.key_package_ref
    RETURNING r.bucket, r.user_id, r.device_id, r.cipher_suite
),
last AS (
    DELETE FROM last_resort l
    USING old
    WHERE l.bucket = old.bucket AND l.user_id = old.user_id AND l.device_id = old.device_id
      AND l.cipher_suite = old.cipher_suite AND l.key_package_ref = old.key_package_ref
),
booked AS (
    UPDATE pool p
    SET purged = p.purged + gone.packages
    FROM (
        SELECT bucket, user_id, device_id, cipher_suite, count(*) AS packages
        FROM (SELECT * FROM expired UNION ALL SELECT * FROM revoked) rows
        GROUP BY bucket, user_id, device_id, cipher_suite
    ) gone
    WHERE p.bucket = gone.bucket AND p.user_id = gone.user_id AND p.device_id = gone.device_id
      AND p.cipher_suite = gone.cipher_suite
)
SELECT count(*) AS packages FROM old
