/* keypool: watch */
-- What watchers are told about, cheap enough to read each second: spent packages are counted as those that are gone.
SELECT
    i.item, p.cipher_suite, o.available,
    p.accepted - p.purged - o.stored - (
        SELECT count(*) FROM revoked r
        WHERE r.bucket = p.bucket AND r.user_id = p.user_id AND r.device_id = p.device_id
          AND r.cipher_suite = p.cipher_suite
    ) AS spent,
    l.key_package_ref AS last_resort_ref,
    (
        SELECT count(*) FROM spend_log s
        WHERE s.bucket = p.bucket AND s.key_package_ref = l.key_package_ref
          AND s.user_id = p.user_id AND s.device_id = p.device_id
          AND s.last_resort AND s.released_at IS NULL
    ) AS last_resort_uses
FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[]) AS i (item, bucket, user_id, device_id)
CROSS JOIN LATERAL (
    SELECT * FROM pool p WHERE p.bucket = i.bucket AND p.user_id = i.user_id AND p.device_id = i.device_id OFFSET 0
) p
CROSS JOIN LATERAL (
    SELECT
        count(*) AS stored,
        count(*) FILTER (
            WHERE o.not_after > $5 AND (o.held_until IS NULL OR o.held_until <= $5) AND o.returns = 0
              AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        ) AS available
    FROM one_time o
    WHERE o.bucket = p.bucket AND o.user_id = p.user_id AND o.device_id = p.device_id
      AND o.cipher_suite = p.cipher_suite
) o
LEFT JOIN LATERAL (
    SELECT l.key_package_ref
    FROM last_resort l
    WHERE l.bucket = p.bucket AND l.user_id = p.user_id AND l.device_id = p.device_id
      AND l.cipher_suite = p.cipher_suite
      AND l.not_after > $5 AND l.revoked_at IS NULL AND l.superseded_at IS NULL
    ORDER BY l.uploaded_at DESC, l.key_package_ref
    LIMIT 1
) l ON true
ORDER BY i.item, p.cipher_suite
