/* keypool: explain_missing */
-- What there is of each user or device for which nothing was reserved. A package counts as takable although another
-- transaction may hold its lock at this moment, and if one of the reservations has it: it may give that back at any moment.
SELECT
    i.item,
    EXISTS (SELECT FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id OFFSET 0) AS user_known,
    EXISTS (
        SELECT FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
        OFFSET 0
    ) AS device_known,
    EXISTS (
        SELECT FROM one_time o
        WHERE o.bucket = i.bucket AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.not_after > $6 AND ($7::int4[] IS NULL OR o.cipher_suite = ANY ($7))
          AND (o.held_until IS NULL OR o.held_until <= $5 OR o.reservation_id = ANY (i.reservation_ids))
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        OFFSET 0
    ) AS takable,
    EXISTS (
        SELECT FROM pool p
        WHERE p.bucket = i.bucket AND p.user_id = i.user_id AND p.device_id = i.device_id
          AND ($7::int4[] IS NULL OR p.cipher_suite = ANY ($7))
        OFFSET 0
    ) AS suite_known,
    EXISTS (
        SELECT FROM one_time o
        WHERE o.bucket = i.bucket AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.not_after > $5 AND o.not_after <= $6 AND ($7::int4[] IS NULL OR o.cipher_suite = ANY ($7))
          AND (o.held_until IS NULL OR o.held_until <= $5)
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        OFFSET 0
    ) OR EXISTS (
        SELECT FROM last_resort l
        WHERE l.bucket = i.bucket AND l.user_id = i.user_id AND l.device_id = i.device_id
          AND l.not_after > $5 AND l.not_after <= $6 AND ($7::int4[] IS NULL OR l.cipher_suite = ANY ($7))
          AND l.revoked_at IS NULL AND l.superseded_at IS NULL
        OFFSET 0
    ) AS expires_too_soon
FROM (
    SELECT item, bucket, user_id, device_id, string_to_array(reservation_ids, E'\n') AS reservation_ids
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $8::text[]) AS i (item, bucket, user_id, device_id, reservation_ids)
    OFFSET 0
) i
