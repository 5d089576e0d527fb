/* keypool: reconcile */
-- Of the refs that a device listed, those that can't be handed out now, and why.
SELECT i.key_package_ref,
    CASE
        WHEN k.key_package_ref IS NULL THEN 'unknown'
        WHEN r.key_package_ref IS NOT NULL OR l.revoked_at IS NOT NULL THEN 'revoked'
        WHEN o.key_package_ref IS NULL AND NOT k.last_resort THEN 'spent'
        WHEN k.not_after <= $5 THEN 'expired'
        WHEN l.superseded_at IS NOT NULL THEN 'superseded'
        WHEN o.held_until > $5 THEN 'reserved'
        WHEN o.returns > 0 THEN 'returned'
    END AS state
FROM unnest($4::bytea[]) AS i (key_package_ref)
LEFT JOIN LATERAL (
    SELECT *
    FROM key_package k
    WHERE k.bucket = $1 AND k.key_package_ref = i.key_package_ref AND k.user_id = $2 AND k.device_id = $3
    OFFSET 0
) k ON true
LEFT JOIN LATERAL (
    SELECT * FROM one_time o WHERE o.bucket = k.bucket AND o.key_package_ref = k.key_package_ref OFFSET 0
) o ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM revoked r
    WHERE r.bucket = k.bucket AND r.user_id = k.user_id AND r.device_id = k.device_id AND r.key_package_ref = k.key_package_ref
    OFFSET 0
) r ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM last_resort l
    WHERE l.bucket = k.bucket AND l.user_id = k.user_id AND l.device_id = k.device_id
      AND l.cipher_suite = k.cipher_suite AND l.key_package_ref = k.key_package_ref
    OFFSET 0
) l ON true
WHERE k.key_package_ref IS NULL
   OR r.key_package_ref IS NOT NULL
   OR o.key_package_ref IS NULL AND NOT k.last_resort
   OR k.not_after <= $5
   OR l.revoked_at IS NOT NULL
   OR l.superseded_at IS NOT NULL
   OR o.held_until > $5
   OR o.returns > 0
