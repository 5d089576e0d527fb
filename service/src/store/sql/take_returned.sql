/* keypool: take_returned */
-- Takes packages that were disclosed before and not spent: those that the holder may be handed, or with $10 only those that it has
-- seen itself. Notes in the log that the hold before has lapsed. Of wants that find the same package one gets it.
WITH want AS (
    SELECT *
    FROM ROWS FROM (
        generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::bytea[]), unnest($6::text[]), unnest($7::timestamptz[]), unnest($8::int2[])
    ) AS w (item, bucket, user_id, device_id, reservation_id, group_id, holder, held_until, returns)
),
pick AS MATERIALIZED (
    SELECT DISTINCT ON (p.tid) w.*, p.tid, p.lapsed_at, p.lapsed_reservation_id, p.lapsed_group_id, p.lapsed_holder
    FROM want w
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid, o.held_until AS lapsed_at, o.reservation_id AS lapsed_reservation_id,
               o.group_id AS lapsed_group_id, o.holder AS lapsed_holder
        FROM one_time o
        WHERE o.bucket = w.bucket AND o.user_id = w.user_id AND o.device_id = w.device_id
          AND o.not_after > $11::timestamptz
          AND ($12::int4[] IS NULL OR o.cipher_suite = ANY ($12))
          AND COALESCE(o.held_until <= $9::timestamptz, o.seen_by IS NOT NULL)
          AND (o.returns = 0 AND NOT $10::bool OR o.returns <= 1 AND COALESCE(o.holder, o.seen_by) = w.holder)
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        ORDER BY o.not_after
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) p
    ORDER BY p.tid, w.item
),
taken AS (
    UPDATE one_time o
    SET held_until = p.held_until, reservation_id = p.reservation_id, group_id = p.group_id, holder = p.holder,
        asked_at = $9, reserved_at = NULL,
        seen_by = COALESCE(p.lapsed_holder, o.seen_by), returns = GREATEST(o.returns, p.returns)
    FROM pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.*, o.key_package_ref, o.cipher_suite, o.not_after, o.asked_at
),
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, lapsed_reservation_id, key_package_ref, cipher_suite, false,
           lapsed_group_id, lapsed_holder, NULL, $9, lapsed_at
    FROM taken
    WHERE lapsed_at IS NOT NULL
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
)
SELECT t.item - 1 AS item, t.key_package_ref, t.cipher_suite, t.not_after, t.held_until, t.asked_at, k.key_package
FROM taken t
CROSS JOIN LATERAL (
    SELECT k.key_package FROM key_package k
    WHERE k.bucket = t.bucket AND k.key_package_ref = t.key_package_ref
    OFFSET 0
) k
