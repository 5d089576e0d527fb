/* keypool: devices_of */
SELECT i.item - 1 AS item, d.device_id
FROM ROWS FROM (generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[])) AS i (item, bucket, user_id)
CROSS JOIN LATERAL (
    SELECT d.device_id FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id OFFSET 0
) d
ORDER BY i.item, d.device_id
