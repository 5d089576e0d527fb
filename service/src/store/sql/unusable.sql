/* keypool: unusable */
SELECT u.user_id, u.device_id, u.key_package_ref, u.unusable_reason, u.reported_at
FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
CROSS JOIN LATERAL (
    SELECT s.user_id, s.device_id, s.key_package_ref, s.unusable_reason,
           COALESCE(s.released_at, s.logged_at) AS reported_at
    FROM spend_log s
    WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id AND s.unusable_reason IS NOT NULL
    ORDER BY reported_at DESC, s.key_package_ref, s.holder, s.reservation_id
    LIMIT 10
) u
