/* keypool: release */
-- Ends holds, and notes that in the log where the holder has seen the package. With asked_at, only what the reservation has not
-- asked for since. Without a holder, whoever holds it. A package that is called unusable is revoked if the report is believed and
-- anybody might get it, else nobody gets it again. Rows that another transaction has locked are passed over: the caller looks again.
WITH item AS (
    SELECT *
    FROM unnest(
        $1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::int2[], $10::timestamptz[],
        $11::text[], $12::bool[], $13::bool[]
    ) AS i (
        item, bucket, user_id, device_id, key_package_ref, reservation_id, holder, unusable_reason, asked_at,
        principal, is_believed, was_seen
    )
),
pick AS MATERIALIZED (
    SELECT i.item, i.unusable_reason, i.is_believed, i.was_seen, i.principal, o.*
    FROM item i
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid, o.reservation_id, o.group_id, o.holder
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
    SET held_until = NULL, reservation_id = NULL, group_id = NULL, holder = NULL, asked_at = NULL, reserved_at = NULL,
        seen_by = CASE WHEN p.was_seen THEN o.holder ELSE o.seen_by END,
        -- One that nobody has seen, or that others have, was for anybody before this hold.
        returns = CASE
            WHEN p.is_believed THEN 2
            WHEN p.was_seen OR o.seen_by = o.holder THEN o.returns
            ELSE 0
        END
    FROM pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
      AND NOT (p.is_believed AND o.returns = 0)
    RETURNING p.*, o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite
),
unusable AS (
    DELETE FROM one_time o
    USING pick p
    WHERE o.ctid = p.tid
      AND p.is_believed AND o.returns = 0
    RETURNING p.*, o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite, o.not_after
),
set_aside AS (
    INSERT INTO revoked (bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, revoked_at)
    SELECT bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, $9
    FROM unusable
),
revoked_pick AS MATERIALIZED (
    SELECT i.item, i.unusable_reason, i.is_believed, i.was_seen, i.principal, r.*
    FROM item i
    CROSS JOIN LATERAL (
        SELECT r.ctid AS tid, r.reservation_id, r.group_id, r.holder
        FROM revoked r
        WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id
          AND r.key_package_ref = i.key_package_ref
          AND r.reservation_id = i.reservation_id AND (i.holder IS NULL OR r.holder = i.holder)
          AND i.asked_at IS NULL
        FOR UPDATE SKIP LOCKED
    ) r
),
-- Revoked meanwhile.
forgotten AS (
    UPDATE revoked r
    SET held_until = NULL, reservation_id = NULL, group_id = NULL, holder = NULL
    FROM revoked_pick p
    WHERE r.ctid = p.tid
    RETURNING p.*, r.bucket, r.user_id, r.device_id, r.key_package_ref, r.cipher_suite
),
ended AS (
    SELECT item, unusable_reason, was_seen, principal, reservation_id, group_id, holder,
           bucket, user_id, device_id, key_package_ref, cipher_suite
    FROM released
    UNION ALL
    SELECT item, unusable_reason, was_seen, principal, reservation_id, group_id, holder,
           bucket, user_id, device_id, key_package_ref, cipher_suite
    FROM unusable
    UNION ALL
    SELECT item, unusable_reason, was_seen, principal, reservation_id, group_id, holder,
           bucket, user_id, device_id, key_package_ref, cipher_suite
    FROM forgotten
),
logged AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, released_at, unusable_reason
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, principal, $9, $9, unusable_reason
    FROM ended
    WHERE was_seen
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET released_at = excluded.released_at, principal = excluded.principal,
        unusable_reason = COALESCE(excluded.unusable_reason, s.unusable_reason)
    WHERE s.spent_at IS NULL
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
-- Everybody shares it: a report alone does not take it away.
last AS (
    UPDATE spend_log s
    SET released_at = $9, unusable_reason = COALESCE(p.unusable_reason, s.unusable_reason)
    FROM last_pick p
    WHERE s.ctid = p.tid
    RETURNING p.item
),
-- No call returns the bytes of a revoked package. Expired ones are left to the purge, which locks their rows in another order.
bytes_pick AS MATERIALIZED (
    SELECT k.tid
    FROM unusable u
    CROSS JOIN LATERAL (
        SELECT k.ctid AS tid
        FROM key_package k
        WHERE k.bucket = u.bucket AND k.key_package_ref = u.key_package_ref AND k.key_package <> '' AND k.not_after > $9
        FOR UPDATE SKIP LOCKED
    ) k
),
emptied AS (
    UPDATE key_package k
    SET key_package = '', credential = '', signature_key = ''
    FROM bytes_pick p
    WHERE k.ctid = p.tid -- locked above, so it has not moved
)
SELECT item FROM ended
UNION ALL
SELECT item FROM last
