/* keypool: own */
-- What reservations have of devices from earlier calls: one row for each want that has something, the weightiest. A spent package
-- whose bytes are gone counts all the same; a hold on a last resort whose bytes are gone is as good as released. A hold that has
-- lapsed and was as long as a hold may be in all is over: it counts only where there is nothing else.
WITH want AS (
    SELECT *
    FROM ROWS FROM (
        generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[]),
        unnest($4::text[]), unnest($5::bytea[]), unnest($6::text[])
    ) AS w (item, bucket, user_id, device_id, reservation_id, group_id, holder)
),
wanted_device AS (
    -- The least and greatest in the order that the column has.
    SELECT bucket, user_id, device_id,
           min(reservation_id COLLATE "C") AS least, max(reservation_id COLLATE "C") AS greatest
    FROM want
    GROUP BY bucket, user_id, device_id
),
-- One look at a device's rows, however many calls ask for it.
held AS MATERIALIZED (
    SELECT o.*
    FROM wanted_device d
    CROSS JOIN LATERAL (
        SELECT o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite, o.held_until,
               COALESCE(o.reserved_at, o.asked_at) AS taken_at, o.reservation_id, o.group_id, o.holder,
               o.held_until <= $7 AND COALESCE(o.reserved_at, o.asked_at) + make_interval(secs => $9) <= $7 AS is_over,
               o.fence < (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL) AS quarantined
        FROM one_time o
        WHERE o.bucket = d.bucket AND o.user_id = d.user_id AND o.device_id = d.device_id
          AND o.reservation_id BETWEEN d.least AND d.greatest AND o.not_after > $7
        OFFSET 0
    ) o
),
own AS (
    SELECT w.item, w.bucket, o.key_package_ref, o.cipher_suite, o.held_until, false AS last_resort, false AS spent,
           o.quarantined, o.is_over, o.taken_at, o.group_id = w.group_id AS same_group
    FROM held o
    JOIN want w
      ON w.bucket = o.bucket AND w.user_id = o.user_id AND w.device_id = o.device_id
     AND w.reservation_id = o.reservation_id AND w.holder = o.holder
    UNION ALL
    SELECT w.item, w.bucket, s.key_package_ref, s.cipher_suite,
           CASE WHEN s.spent_at IS NULL THEN s.held_until END, s.last_resort, s.spent_at IS NOT NULL,
           false, false, NULL, s.group_id = w.group_id
    FROM want w
    CROSS JOIN LATERAL (
        SELECT s.*
        FROM spend_log s
        WHERE s.bucket = w.bucket AND s.user_id = w.user_id AND s.device_id = w.device_id
          AND s.reservation_id = w.reservation_id AND s.holder = w.holder
          AND (
              s.group_id <> w.group_id -- to be refused
              OR s.spent_at IS NOT NULL
              OR s.released_at IS NULL AND s.held_until > $7 AND EXISTS (
                  SELECT FROM last_resort l
                  WHERE l.bucket = s.bucket AND l.user_id = s.user_id AND l.device_id = s.device_id
                    AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = s.key_package_ref
                    AND l.revoked_at IS NULL AND l.not_after > $7
              )
          )
        OFFSET 0
    ) s
)
SELECT DISTINCT ON (o.item)
    o.item - 1 AS item, o.key_package_ref, o.cipher_suite, k.not_after, o.held_until, o.last_resort, o.spent, o.quarantined, o.is_over,
    o.taken_at, o.same_group, $8::int4[] IS NULL OR o.cipher_suite = ANY ($8) AS same_suite, k.key_package
FROM own o
LEFT JOIN LATERAL (
    SELECT k.key_package_ref, k.not_after, k.key_package
    FROM key_package k
    WHERE k.bucket = o.bucket AND k.key_package_ref = o.key_package_ref
    OFFSET 0 -- else the planner may read the whole index
) k ON true
WHERE k.key_package_ref IS NOT NULL AND (o.spent OR k.key_package <> '')
   OR NOT o.same_group -- else purged or emptied
ORDER BY o.item, o.same_group, o.is_over, same_suite DESC, o.spent DESC, o.quarantined, o.held_until DESC, o.last_resort
