/* keypool: extend */
-- Rows that another transaction has locked are passed over: the caller looks again. A one-time package is held for $11 seconds in all
-- at most.
WITH item AS (
    SELECT *
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::timestamptz[])
        AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, holder, held_until)
),
one_time_pick AS MATERIALIZED (
    SELECT i.item, i.held_until, o.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref
          AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.reservation_id = i.reservation_id AND o.holder = i.holder
          AND o.not_after > $9
          AND (o.held_until > $9 OR COALESCE(o.reserved_at, o.asked_at) + make_interval(secs => $11) > $9)
          AND (o.held_until > $9 OR o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL))
        FOR UPDATE SKIP LOCKED
    ) o
),
one_time_hold AS (
    UPDATE one_time o
    SET held_until = GREATEST(o.held_until, LEAST(p.held_until, COALESCE(o.reserved_at, o.asked_at) + make_interval(secs => $11)))
    FROM (SELECT tid, max(held_until) AS held_until FROM one_time_pick GROUP BY tid) p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.tid, o.held_until
),
revoked_pick AS MATERIALIZED (
    SELECT i.item, i.held_until, r.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT r.ctid AS tid
        FROM revoked r
        WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id
          AND r.key_package_ref = i.key_package_ref
          AND r.reservation_id = i.reservation_id AND r.holder = i.holder
          AND r.not_after > $9 AND r.revoked_at > $10
        FOR UPDATE SKIP LOCKED
    ) r
),
revoked_hold AS (
    UPDATE revoked r
    SET held_until = GREATEST(r.held_until, p.held_until)
    FROM (SELECT tid, max(held_until) AS held_until FROM revoked_pick GROUP BY tid) p
    WHERE r.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.tid, r.held_until
),
last_resort_pick AS MATERIALIZED (
    SELECT i.item, i.held_until, s.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT s.ctid AS tid
        FROM spend_log s
        WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id
          AND s.reservation_id = i.reservation_id AND s.key_package_ref = i.key_package_ref
          AND s.last_resort AND s.spent_at IS NULL AND s.released_at IS NULL
          AND s.holder = i.holder
          AND EXISTS (
              SELECT FROM last_resort l
              WHERE l.bucket = i.bucket AND l.user_id = i.user_id AND l.device_id = i.device_id
                AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = i.key_package_ref
                AND l.not_after > $9 AND (l.revoked_at IS NULL OR l.revoked_at > $10)
          )
        FOR UPDATE SKIP LOCKED
    ) s
),
last_resort_hold AS (
    UPDATE spend_log s
    SET held_until = GREATEST(s.held_until, p.held_until)
    FROM (SELECT tid, max(held_until) AS held_until FROM last_resort_pick GROUP BY tid) p
    WHERE s.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.tid, s.held_until
)
-- A batch may have several items for one hold.
SELECT p.item, h.held_until FROM one_time_pick p JOIN one_time_hold h ON h.tid = p.tid
UNION ALL
SELECT p.item, h.held_until FROM revoked_pick p JOIN revoked_hold h ON h.tid = p.tid
UNION ALL
SELECT p.item, h.held_until FROM last_resort_pick p JOIN last_resort_hold h ON h.tid = p.tid
