/* keypool: release */
-- With asked_at, only what the reservation has not asked for since. Without a holder, whoever holds it. Rows that another
-- transaction has locked are passed over: the caller looks again.
WITH item AS (
    SELECT *
    FROM unnest(
        $1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::int2[], $10::timestamptz[]
    ) AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, holder, unusable_reason, asked_at)
),
pick AS MATERIALIZED (
    SELECT i.item, i.unusable_reason, o.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref
          AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.reservation_id = i.reservation_id AND (i.holder IS NULL OR o.holder = i.holder)
          AND (i.asked_at IS NULL OR i.asked_at = o.asked_at)
        FOR UPDATE SKIP LOCKED
    ) o
),
released AS (
    UPDATE one_time o
    SET held_until = NULL, reservation_id = NULL, group_id = NULL, holder = NULL, asked_at = NULL
    FROM pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
      AND p.unusable_reason IS NULL
    RETURNING p.item
),
unusable AS (
    DELETE FROM one_time o
    USING pick p
    WHERE o.ctid = p.tid
      AND p.unusable_reason IS NOT NULL
    RETURNING p.item, o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite, o.not_after, p.unusable_reason
),
set_aside AS (
    INSERT INTO revoked (
        bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, revoked_at, unusable_reason
    )
    SELECT bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, $9, unusable_reason
    FROM unusable
),
revoked_pick AS MATERIALIZED (
    SELECT i.item, i.unusable_reason, r.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT r.ctid AS tid
        FROM revoked r
        WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id
          AND r.key_package_ref = i.key_package_ref
          AND r.reservation_id = i.reservation_id AND (i.holder IS NULL OR r.holder = i.holder)
          AND i.asked_at IS NULL
        FOR UPDATE SKIP LOCKED
    ) r
),
-- Revoked meanwhile. What an inviter says of it counts all the same.
forgotten AS (
    UPDATE revoked r
    SET held_until = NULL, reservation_id = NULL, group_id = NULL, holder = NULL,
        revoked_at = CASE WHEN p.unusable_reason IS NULL THEN r.revoked_at ELSE $9 END,
        unusable_reason = COALESCE(p.unusable_reason, r.unusable_reason)
    FROM revoked_pick p
    WHERE r.ctid = p.tid
    RETURNING p.item
),
last_pick AS MATERIALIZED (
    SELECT i.item, i.unusable_reason, s.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT s.ctid AS tid
        FROM spend_log s
        WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id
          AND s.reservation_id = i.reservation_id AND s.key_package_ref = i.key_package_ref
          AND s.last_resort AND s.spent_at IS NULL AND s.released_at IS NULL
          AND (i.holder IS NULL OR s.holder = i.holder)
        FOR UPDATE SKIP LOCKED
    ) s
),
last AS (
    UPDATE spend_log s
    SET released_at = $9
    FROM last_pick p
    WHERE s.ctid = p.tid
    RETURNING p.item, s.bucket, s.user_id, s.device_id, s.cipher_suite, s.key_package_ref, p.unusable_reason
),
last_unusable AS (
    UPDATE last_resort l
    SET revoked_at = COALESCE(l.revoked_at, $9), unusable_reason = COALESCE(l.unusable_reason, s.unusable_reason)
    FROM last s
    WHERE l.bucket = s.bucket AND l.user_id = s.user_id AND l.device_id = s.device_id
      AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = s.key_package_ref
      AND s.unusable_reason IS NOT NULL
)
SELECT item FROM released
UNION ALL
SELECT item FROM unusable
UNION ALL
SELECT item FROM forgotten
UNION ALL
SELECT item FROM last
