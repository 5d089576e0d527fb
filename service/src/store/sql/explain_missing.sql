/* keypool: explain_missing */
-- What there is of each user or device for which nothing was reserved. A package counts although another transaction may hold its
-- lock at this moment, and if one of the reservations has it: it may give that back at any moment.
SELECT
    i.item,
    EXISTS (SELECT FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id OFFSET 0) AS user_known,
    EXISTS (
        SELECT FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
        OFFSET 0
    ) AS device_known,
    COALESCE(o.unseen, false) AS unseen, COALESCE(o.seen, false) AS seen, COALESCE(o.seen_by, '{}') AS seen_by,
    COALESCE(o.for_anyone, '{}') AS for_anyone,
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
          AND (o.held_until IS NULL OR o.held_until <= $5) AND o.returns = 0
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
    SELECT item, bucket, user_id, device_id, string_to_array(holds, E'\n') AS holds
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $8::text[]) AS i (item, bucket, user_id, device_id, holds)
    OFFSET 0
) i
CROSS JOIN LATERAL (
    SELECT
        bool_or(o.is_free AND o.seen_by IS NULL) AS unseen,
        bool_or(NOT o.is_free OR o.returns = 0 AND o.seen_by IS NOT NULL) AS seen,
        array_agg(DISTINCT o.seen_by) FILTER (WHERE o.is_free AND o.returns = 1) AS seen_by,
        -- One element for each package.
        array_agg(o.cipher_suite) FILTER (WHERE o.is_free AND (o.returns = 0 OR o.seen_by IS NULL)) AS for_anyone
    FROM (
        SELECT o.returns, o.cipher_suite, COALESCE(o.holder, o.seen_by) AS seen_by, COALESCE(o.held_until <= $5, true) AS is_free
        FROM one_time o
        WHERE o.bucket = i.bucket AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.not_after > $6 AND ($7::int4[] IS NULL OR o.cipher_suite = ANY ($7))
          AND (COALESCE(o.held_until <= $5, true) OR o.reservation_id || E'\t' || o.holder = ANY (i.holds))
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        OFFSET 0
    ) o
    OFFSET 0
) o
