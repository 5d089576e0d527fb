/* keypool: pool_status */
SELECT
    d.user_id, d.device_id, d.last_upload_at,
    p.cipher_suite, p.accepted, p.purged,
    o.available, o.reserved, o.expired, o.quarantined, o.returned, o.expiring_soon,
    (
        SELECT count(*) FROM revoked r
        WHERE r.bucket = p.bucket AND r.user_id = p.user_id AND r.device_id = p.device_id
          AND r.cipher_suite = p.cipher_suite
    ) AS revoked,
    o.stored, s.unspent,
    l.key_package_ref AS last_resort_ref, l.not_after AS last_resort_not_after,
    l.uploaded_at AS last_resort_uploaded_at,
    (
        SELECT count(*) FROM spend_log s
        WHERE s.bucket = p.bucket AND s.key_package_ref = l.key_package_ref
          AND s.user_id = p.user_id AND s.device_id = p.device_id
          AND s.last_resort AND s.released_at IS NULL
    ) AS last_resort_uses
FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM device d
    WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND (i.device_id IS NULL OR i.device_id = d.device_id)
    OFFSET 0
) d
LEFT JOIN LATERAL (
    SELECT * FROM pool p WHERE p.bucket = d.bucket AND p.user_id = d.user_id AND p.device_id = d.device_id OFFSET 0
) p ON true
LEFT JOIN LATERAL (
    SELECT
        count(*) AS stored,
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns = 0) AS available,
        count(*) FILTER (WHERE o.not_after > $4 AND NOT o.is_free) AS reserved,
        count(*) FILTER (WHERE o.not_after <= $4) AS expired,
        count(*) FILTER (WHERE o.is_free AND o.is_quarantined) AS quarantined,
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns > 0) AS returned,
        count(*) FILTER (WHERE o.is_free AND NOT o.is_quarantined AND o.returns = 0 AND o.not_after <= $5) AS expiring_soon
    FROM (
        SELECT o.not_after, o.returns,
               o.not_after > $4 AND (o.held_until IS NULL OR o.held_until <= $4) AS is_free,
               o.fence < (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL) AS is_quarantined
        FROM one_time o
        WHERE o.bucket = p.bucket AND o.user_id = p.user_id AND o.device_id = p.device_id
          AND o.cipher_suite = p.cipher_suite
    ) o
) o ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS unspent
    FROM (
        SELECT FROM spend_log s
        WHERE s.bucket = p.bucket AND s.user_id = p.user_id AND s.device_id = p.device_id
          AND s.cipher_suite = p.cipher_suite AND s.spent_at IS NULL AND NOT s.last_resort
        LIMIT 1000 -- holders can make as many as their rates allow
    ) s
) s ON true
LEFT JOIN LATERAL (
    SELECT l.key_package_ref, l.not_after, l.uploaded_at
    FROM last_resort l
    WHERE l.bucket = p.bucket AND l.user_id = p.user_id AND l.device_id = p.device_id
      AND l.cipher_suite = p.cipher_suite
      AND l.not_after > $4 AND l.revoked_at IS NULL AND l.superseded_at IS NULL
    ORDER BY l.uploaded_at DESC, l.key_package_ref
    LIMIT 1
) l ON true
ORDER BY d.user_id, d.device_id, p.cipher_suite
