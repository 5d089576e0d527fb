/* keypool: trace */
-- Where each package is, for the reason why a reservation could not spend, extend or release it.
SELECT
    i.item,
    k.key_package_ref IS NOT NULL AS known, k.last_resort, k.not_after,
    o.key_package_ref IS NOT NULL AS in_pool,
    o.reservation_id AS hold_reservation_id, o.group_id AS hold_group_id, o.holder AS hold_holder,
    COALESCE(
        o.held_until <= $7
        AND o.fence < (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL),
        false
    ) AS hold_lost,
    COALESCE(o.held_until <= $7 AND COALESCE(o.reserved_at, o.asked_at) + make_interval(secs => $9) <= $7, false) AS hold_over,
    COALESCE(o.holder = i.holder OR o.seen_by = i.holder OR r.holder = i.holder, false) OR EXISTS (
        SELECT FROM spend_log e
        WHERE e.bucket = i.bucket AND e.user_id = i.user_id AND e.device_id = i.device_id
          AND e.holder = i.holder AND e.key_package_ref = i.key_package_ref
        OFFSET 0
    ) AS was_held,
    r.key_package_ref IS NOT NULL AS revoked, COALESCE(r.revoked_at, l.revoked_at) AS revoked_at,
    r.reservation_id AS revoked_reservation_id, r.group_id AS revoked_group_id, r.holder AS revoked_holder,
    s.key_package_ref IS NOT NULL AS logged,
    s.group_id AS logged_group_id, s.holder AS logged_holder,
    s.spent_at IS NOT NULL AS logged_spent, s.released_at IS NOT NULL AS logged_released,
    COALESCE(s.lapsed_at > COALESCE(s.released_at, '-infinity'), false) AS logged_lapsed,
    s.last_resort AS logged_last_resort
FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $8::text[])
    AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, holder)
LEFT JOIN LATERAL (
    SELECT *
    FROM key_package k
    WHERE k.bucket = i.bucket AND k.key_package_ref = i.key_package_ref AND k.user_id = i.user_id AND k.device_id = i.device_id
    OFFSET 0
) k ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM one_time o
    WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref AND o.user_id = i.user_id AND o.device_id = i.device_id
    OFFSET 0
) o ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM revoked r
    WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id AND r.key_package_ref = i.key_package_ref
    OFFSET 0
) r ON true
-- Without a holder there may be several: the one that is not over comes first.
LEFT JOIN LATERAL (
    SELECT s.*
    FROM spend_log s
    WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id
      AND s.reservation_id = i.reservation_id AND s.key_package_ref = i.key_package_ref
      AND (i.holder IS NULL OR s.holder = i.holder)
    ORDER BY s.spent_at IS NOT NULL, s.released_at IS NOT NULL
    LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM last_resort l
    WHERE l.bucket = s.bucket AND l.user_id = s.user_id AND l.device_id = s.device_id
      AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = s.key_package_ref
    OFFSET 0
) l ON true
