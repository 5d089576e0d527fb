/* keypool: last_resort */
-- Hands out last-resort packages, which are read without a lock, and notes that they were.
WITH want AS (
    SELECT *
    FROM ROWS FROM (
        generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::bytea[]), unnest($6::text[]), unnest($7::text[]), unnest($8::timestamptz[])
    ) AS w (item, bucket, user_id, device_id, reservation_id, group_id, holder, principal, held_until)
),
last AS (
    SELECT w.*, l.key_package_ref, l.cipher_suite
    FROM want w
    CROSS JOIN LATERAL (
        SELECT l.key_package_ref, l.cipher_suite
        FROM last_resort l
        WHERE l.bucket = w.bucket AND l.user_id = w.user_id AND l.device_id = w.device_id
          AND l.not_after > $10
          AND ($11::int4[] IS NULL OR l.cipher_suite = ANY ($11))
          AND l.revoked_at IS NULL AND l.superseded_at IS NULL
        ORDER BY l.uploaded_at DESC, l.key_package_ref
        LIMIT 1
    ) l
),
handed_out AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, held_until
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, true,
           group_id, holder, principal, $9, held_until
    FROM last
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET held_until = excluded.held_until, released_at = NULL
    WHERE s.group_id = excluded.group_id AND s.spent_at IS NULL
    RETURNING s.bucket, s.user_id, s.device_id, s.reservation_id, s.holder, s.key_package_ref, s.cipher_suite, s.held_until
)
SELECT w.item - 1 AS item, h.key_package_ref, h.cipher_suite, k.not_after, h.held_until, k.key_package
FROM handed_out h
JOIN want w USING (bucket, user_id, device_id, reservation_id, holder)
CROSS JOIN LATERAL (
    SELECT k.not_after, k.key_package
    FROM key_package k
    WHERE k.bucket = h.bucket AND k.key_package_ref = h.key_package_ref
    OFFSET 0
) k
