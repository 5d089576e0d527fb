/* keypool: extend */
WITH item AS (
    SELECT *
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::timestamptz[])
        AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, holder, held_until)
),
one_time_hold AS (
    UPDATE one_time o
    SET held_until = GREATEST(o.held_until, i.held_until)
    FROM item i
    WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref
      AND o.user_id = i.user_id AND o.device_id = i.device_id
      AND o.reservation_id = i.reservation_id AND o.holder = i.holder
      AND o.not_after > $9
      AND (o.held_until > $9 OR o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL))
    RETURNING i.item, o.held_until
),
revoked_hold AS (
    UPDATE revoked r
    SET held_until = GREATEST(r.held_until, i.held_until)
    FROM item i
    WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id
      AND r.key_package_ref = i.key_package_ref
      AND r.reservation_id = i.reservation_id AND r.holder = i.holder
      AND r.not_after > $9 AND r.revoked_at > $10
    RETURNING i.item, r.held_until
),
last_resort_hold AS (
    UPDATE spend_log s
    SET held_until = GREATEST(s.held_until, i.held_until)
    FROM item i
    JOIN last_resort l
      ON l.bucket = i.bucket AND l.user_id = i.user_id AND l.device_id = i.device_id
     AND l.key_package_ref = i.key_package_ref
    WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id
      AND s.reservation_id = i.reservation_id AND s.key_package_ref = i.key_package_ref
      AND s.last_resort AND s.spent_at IS NULL AND s.released_at IS NULL
      AND s.holder = i.holder
      AND l.not_after > $9 AND (l.revoked_at IS NULL OR l.revoked_at > $10)
    RETURNING i.item, s.held_until
)
SELECT item, held_until FROM one_time_hold
UNION ALL
SELECT item, held_until FROM revoked_hold
UNION ALL
SELECT item, held_until FROM last_resort_hold
