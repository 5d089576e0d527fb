/* keypool: overview */
-- What some buckets hold. What is spent follows from the books: to count the spend log would take long.
SELECT
    d.users, d.devices, o.available, o.reserved, o.expired, o.quarantined, o.returned, r.revoked,
    p.accepted - p.purged - o.packages - r.revoked AS spent,
    (
        SELECT count(*) FROM last_resort l
        WHERE l.bucket = ANY ($1) AND l.not_after > $2 AND l.revoked_at IS NULL AND l.superseded_at IS NULL
    ) AS last_resort
FROM (
    SELECT count(DISTINCT (d.bucket, d.user_id)) AS users, count(*) AS devices
    FROM device d WHERE d.bucket = ANY ($1::int2[])
) d
CROSS JOIN (
    SELECT COALESCE(sum(p.accepted), 0)::int8 AS accepted, COALESCE(sum(p.purged), 0)::int8 AS purged
    FROM pool p WHERE p.bucket = ANY ($1)
) p
CROSS JOIN (SELECT count(*) AS revoked FROM revoked r WHERE r.bucket = ANY ($1)) r
CROSS JOIN (
    SELECT
        count(*) AS packages,
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
        WHERE o.bucket = ANY ($1)
    ) o
) o
