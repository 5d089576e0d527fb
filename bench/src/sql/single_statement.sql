/* keypool-bench: single_statement */
-- One reserve as a service would do it that runs one statement for each call.
WITH pick AS (
    SELECT bucket, key_package_ref
    FROM one_time
    WHERE bucket = $1 AND user_id = $2 AND device_id = $3 AND cipher_suite = $4
      AND not_after > $5
      AND (held_until IS NULL OR held_until <= $6)
    ORDER BY not_after
    LIMIT 1
    FOR UPDATE SKIP LOCKED
),
held AS (
    UPDATE one_time o
    SET held_until = $7, reservation_id = $8, group_id = $9, holder = $10, asked_at = $6
    FROM pick p
    WHERE o.bucket = p.bucket AND o.key_package_ref = p.key_package_ref
    RETURNING o.bucket, o.key_package_ref, o.cipher_suite, o.not_after, o.held_until
)
SELECT h.key_package_ref, h.cipher_suite, h.not_after, h.held_until, k.key_package
FROM held h
JOIN key_package k ON k.bucket = h.bucket AND k.key_package_ref = h.key_package_ref
