/* keypool: log_lapsed */
-- Notes in the log which holds have lapsed, in some buckets, at most 100 in each. Their reservations may still spend: then the entry
-- says so.
WITH pick AS MATERIALIZED (
    SELECT o.*
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid, o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite,
               o.reservation_id, o.group_id, o.holder, o.held_until
        FROM one_time o
        WHERE o.bucket = b.bucket AND o.held_until <= $2
          AND NOT EXISTS (
              SELECT FROM spend_log s
              WHERE s.bucket = o.bucket AND s.user_id = o.user_id AND s.device_id = o.device_id
                AND s.reservation_id = o.reservation_id AND s.holder = o.holder AND s.key_package_ref = o.key_package_ref
                AND s.lapsed_at >= o.held_until
          )
        LIMIT 100
        FOR UPDATE SKIP LOCKED
    ) o
),
seen AS (
    UPDATE one_time o
    SET seen_by = o.holder
    FROM pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
),
revoked_pick AS MATERIALIZED (
    SELECT r.*
    FROM unnest($1::int2[]) AS b (bucket)
    CROSS JOIN LATERAL (
        SELECT r.bucket, r.user_id, r.device_id, r.key_package_ref, r.cipher_suite,
               r.reservation_id, r.group_id, r.holder, r.held_until
        FROM revoked r
        WHERE r.bucket = b.bucket AND r.held_until <= $2
          AND NOT EXISTS (
              SELECT FROM spend_log s
              WHERE s.bucket = r.bucket AND s.user_id = r.user_id AND s.device_id = r.device_id
                AND s.reservation_id = r.reservation_id AND s.holder = r.holder AND s.key_package_ref = r.key_package_ref
                AND s.lapsed_at >= r.held_until
          )
        LIMIT 100
        FOR UPDATE SKIP LOCKED
    ) r
),
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, NULL, $2, held_until
    FROM (
        SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, group_id, holder, held_until
        FROM pick
        UNION ALL
        SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, group_id, holder, held_until
        FROM revoked_pick
    ) hold
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
    RETURNING 1
)
SELECT count(*) AS entries FROM lapsed
