/* keypool: reported */
-- The bytes of packages that were reported as unusable by reservations that hold or held them, of those that still have them.
SELECT i.item, k.key_package
FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[])
    AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, holder)
CROSS JOIN LATERAL (
    SELECT k.key_package
    FROM key_package k
    WHERE k.bucket = i.bucket AND k.key_package_ref = i.key_package_ref
      AND k.user_id = i.user_id AND k.device_id = i.device_id AND k.key_package <> ''
    OFFSET 0
) k
WHERE EXISTS (
    SELECT FROM one_time o
    WHERE o.bucket = i.bucket AND o.user_id = i.user_id AND o.device_id = i.device_id AND o.key_package_ref = i.key_package_ref
      AND o.reservation_id = i.reservation_id AND (i.holder IS NULL OR o.holder = i.holder)
    OFFSET 0
) OR EXISTS (
    SELECT FROM spend_log s
    WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id AND s.key_package_ref = i.key_package_ref
      AND s.reservation_id = i.reservation_id AND (i.holder IS NULL OR s.holder = i.holder)
    OFFSET 0
)
