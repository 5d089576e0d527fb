/* keypool: renew */
-- A reservation asks again for what it holds: a hold that lapsed and that nobody took over begins anew.
WITH want AS (
    SELECT *
    FROM ROWS FROM (
        generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::bytea[]),
        unnest($3::text[]), unnest($4::bytea[]), unnest($5::text[]), unnest($6::timestamptz[])
    ) AS w (item, bucket, key_package_ref, reservation_id, group_id, holder, held_until)
)
UPDATE one_time o
SET held_until = CASE WHEN o.held_until > $7 THEN o.held_until ELSE w.held_until END,
    asked_at = GREATEST($7, o.asked_at + interval '1 microsecond')
FROM want w
WHERE o.bucket = w.bucket AND o.key_package_ref = w.key_package_ref
  AND o.reservation_id = w.reservation_id AND o.group_id = w.group_id AND o.holder = w.holder
RETURNING w.item - 1 AS item, o.held_until, o.asked_at
