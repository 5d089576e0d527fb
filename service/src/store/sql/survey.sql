/* keypool: survey */
-- How the pools in some buckets are: counted pool by pool, so that it needs no more memory than one of them.
SELECT
    p.cipher_suite,
    count(*) FILTER (WHERE o.available = 0) AS empty,
    count(*) FILTER (WHERE o.available > 0 AND o.available < $3::int8) AS low,
    count(*) FILTER (WHERE o.available > 0 AND o.available >= $3) AS healthy,
    count(*) FILTER (
        WHERE NOT EXISTS (
            SELECT FROM last_resort l
            WHERE l.bucket = p.bucket AND l.user_id = p.user_id AND l.device_id = p.device_id
              AND l.cipher_suite = p.cipher_suite
              AND l.not_after > $2 AND l.revoked_at IS NULL AND l.superseded_at IS NULL
        )
    ) AS without_last_resort,
    sum(o.available)::int8 AS available, sum(o.reserved)::int8 AS reserved, sum(o.expired)::int8 AS expired,
    sum(o.quarantined)::int8 AS quarantined, sum(o.returned)::int8 AS returned
FROM pool p
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns = 0) AS available,
        count(*) FILTER (WHERE o.not_after > $2 AND NOT o.is_free) AS reserved,
        count(*) FILTER (WHERE o.not_after <= $2) AS expired,
        count(*) FILTER (WHERE o.is_free AND o.is_quarantined) AS quarantined,
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns > 0) AS returned
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
GROUP BY p.cipher_suite
