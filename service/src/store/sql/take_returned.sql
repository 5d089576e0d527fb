/* keypool: take_returned */
-- Takes packages that were handed out before and not spent, for holders that have seen them themselves: as many of each device as the
-- holder's calls want, the soonest to expire first. Notes in the log that the hold before has lapsed.
WITH want AS (
    SELECT *, row_number() OVER (PARTITION BY bucket, user_id, device_id, holder ORDER BY item) AS nth
    FROM ROWS FROM (
        generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::bytea[]), unnest($6::text[]), unnest($7::timestamptz[]), unnest($8::int2[])
    ) AS w (item, bucket, user_id, device_id, reservation_id, group_id, holder, held_until, returns)
),
pick AS MATERIALIZED (
    SELECT s.*, row_number() OVER (PARTITION BY s.bucket, s.user_id, s.device_id, s.holder ORDER BY p.not_after) AS nth,
           p.tid, p.lapsed_at, p.lapsed_reservation_id, p.lapsed_group_id, p.lapsed_holder
    FROM (
        SELECT bucket, user_id, device_id, holder, count(*) AS wanted
        FROM want
        GROUP BY bucket, user_id, device_id, holder
        ORDER BY bucket, user_id, device_id, holder
        OFFSET 0
    ) s
    CROSS JOIN LATERAL (
        -- One search for all that the holder's calls want: a statement does not skip what it has locked itself.
        SELECT o.ctid AS tid, o.not_after, o.held_until AS lapsed_at, o.reservation_id AS lapsed_reservation_id,
               o.group_id AS lapsed_group_id, o.holder AS lapsed_holder
        FROM one_time o
        WHERE o.bucket = s.bucket AND o.user_id = s.user_id AND o.device_id = s.device_id
          AND o.not_after > $10::timestamptz
          AND ($11::int4[] IS NULL OR o.cipher_suite = ANY ($11))
          AND COALESCE(o.held_until <= $9::timestamptz, o.seen_by IS NOT NULL)
          AND o.returns <= 1 AND COALESCE(o.holder, o.seen_by) = s.holder
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        ORDER BY o.not_after
        LIMIT s.wanted
        FOR UPDATE SKIP LOCKED
    ) p
),
taken AS (
    UPDATE one_time o
    SET held_until = w.held_until, reservation_id = w.reservation_id, group_id = w.group_id, holder = w.holder,
        asked_at = $9, reserved_at = NULL,
        seen_by = COALESCE(p.lapsed_holder, o.seen_by), returns = GREATEST(o.returns, w.returns)
    FROM pick p
    JOIN want w USING (bucket, user_id, device_id, holder, nth)
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING w.item, o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite, o.not_after, o.held_until, o.asked_at,
              p.lapsed_at, p.lapsed_reservation_id, p.lapsed_group_id, p.lapsed_holder
),
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, lapsed_reservation_id, key_package_ref, cipher_suite, false,
           lapsed_group_id, lapsed_holder, NULL, $9, lapsed_at
    FROM taken
    WHERE lapsed_at IS NOT NULL
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
)
SELECT t.item - 1 AS item, t.key_package_ref, t.cipher_suite, t.not_after, t.held_until, t.asked_at, k.key_package
FROM taken t
CROSS JOIN LATERAL (
    SELECT k.key_package FROM key_package k
    WHERE k.bucket = t.bucket AND k.key_package_ref = t.key_package_ref
    OFFSET 0
) k
