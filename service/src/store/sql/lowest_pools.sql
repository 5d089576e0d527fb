/* keypool: lowest_pools */
-- The pools of some buckets that have the least left.
SELECT
    p.user_id, p.device_id, p.cipher_suite, o.available, o.reserved, o.quarantined,
    (
        SELECT l.key_package_ref FROM last_resort l
        WHERE l.bucket = p.bucket AND l.user_id = p.user_id AND l.device_id = p.device_id
          AND l.cipher_suite = p.cipher_suite
          AND l.not_after > $2 AND l.revoked_at IS NULL AND l.superseded_at IS NULL
        LIMIT 1
    ) IS NOT NULL AS has_last_resort,
    d.last_upload_at
FROM pool p
JOIN device d ON d.bucket = p.bucket AND d.user_id = p.user_id AND d.device_id = p.device_id
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns = 0) AS available,
        count(*) FILTER (WHERE o.not_after > $2 AND NOT o.is_free) AS reserved,
        count(*) FILTER (WHERE o.is_free AND o.is_quarantined) AS quarantined
    FROM (
        SELECT o.not_after, o.returns,
               o.not_after > $2 AND (o.held_until IS NULL OR o.held_until <= $2) AS is_free,
               o.fence < (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL) AS is_quarantined
        FROM one_time o
        WHERE o.bucket = p.bucket AND o.user_id = p.user_id AND o.device_id = p.device_id
          AND o.cipher_suite = p.cipher_suite
    ) o
) o
WHERE p.bucket = ANY ($1::int2[])
ORDER BY o.available, has_last_resort, p.user_id, p.device_id, p.cipher_suite
LIMIT $3
