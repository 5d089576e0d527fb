/* keypool: reported */
-- The bytes of packages that were reported as unusable, of those that still have them.
SELECT i.item, k.key_package
FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[]) AS i (item, bucket, user_id, device_id, key_package_ref)
CROSS JOIN LATERAL (
    SELECT k.key_package
    FROM key_package k
    WHERE k.bucket = i.bucket AND k.key_package_ref = i.key_package_ref
      AND k.user_id = i.user_id AND k.device_id = i.device_id AND k.key_package <> ''
    OFFSET 0
) k
