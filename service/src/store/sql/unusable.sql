/* keypool: unusable */
SELECT u.user_id, u.device_id, u.key_package_ref, u.unusable_reason, u.revoked_at
FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
CROSS JOIN LATERAL (
    SELECT user_id, device_id, key_package_ref, unusable_reason, revoked_at
    FROM (
        SELECT r.user_id, r.device_id, r.key_package_ref, r.unusable_reason, r.revoked_at
        FROM revoked r
        WHERE r.bucket = i.bucket AND r.user_id = i.user_id
          AND r.device_id = i.device_id AND r.unusable_reason IS NOT NULL
        UNION ALL
        SELECT l.user_id, l.device_id, l.key_package_ref, l.unusable_reason, l.revoked_at
        FROM last_resort l
        WHERE l.bucket = i.bucket AND l.user_id = i.user_id
          AND l.device_id = i.device_id AND l.unusable_reason IS NOT NULL
    ) reported
    ORDER BY revoked_at DESC, key_package_ref
    LIMIT 10
) u
