/* keypool: live_holds */
-- The live holds that each holder has on one-time packages of each device.
SELECT i.item - 1 AS item, o.holder, count(*) AS holds, min(o.held_until) AS first_end
FROM ROWS FROM (
    generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[])
) AS i (item, bucket, user_id, device_id)
CROSS JOIN LATERAL (
    SELECT o.holder, o.held_until
    FROM one_time o
    WHERE o.bucket = i.bucket AND o.user_id = i.user_id AND o.device_id = i.device_id
      AND o.held_until > $4 AND o.not_after > $4
    OFFSET 0
) o
GROUP BY i.item, o.holder
