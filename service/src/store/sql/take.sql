/* keypool: take */
-- Takes packages for new holds: as many of each device as the calls want. First those that nobody has seen, then those that anybody
-- may be handed again, each time the soonest to expire first. Notes in the log that the hold before has lapsed. With $6, a device of
-- which one of the reservations has something already is left alone: that must be looked up first.
WITH pick AS MATERIALIZED (
    -- Device by device, so that the second look at its rows finds them in the processor's cache. OFFSET 0 keeps the order.
    SELECT d.device, row_number() OVER (PARTITION BY d.device ORDER BY p.not_after) AS nth, p.*
    FROM (
        SELECT d.*, $6::bool AND (
            EXISTS (
                SELECT FROM one_time o
                WHERE o.bucket = d.bucket AND o.user_id = d.user_id AND o.device_id = d.device_id
                  -- Reservation ids that were made in the order of time are few in this range.
                  AND o.reservation_id BETWEEN d.least AND d.greatest AND o.reservation_id = ANY (d.reservation_ids)
            ) OR EXISTS (
                SELECT FROM spend_log s
                WHERE s.bucket = d.bucket AND s.user_id = d.user_id AND s.device_id = d.device_id
                  AND s.reservation_id BETWEEN d.least AND d.greatest AND s.reservation_id = ANY (d.reservation_ids)
            )
        ) AS known
        FROM (
            SELECT d.device, d.bucket, d.user_id, d.device_id, d.wanted, d.reservation_ids, d.holds,
                   d.reservation_ids[1] AS least, d.reservation_ids[d.wanted] AS greatest
            FROM (
                SELECT device, bucket, user_id, device_id, wanted, holds,
                       string_to_array(reservation_ids, E'\n') AS reservation_ids
                -- generate_subscripts makes the planner expect many rows: it never joins by comparing all with all.
                FROM ROWS FROM (
                    generate_subscripts($1::int2[], 1), unnest($1::int2[]), unnest($2::text[]), unnest($3::text[]),
                    unnest($4::text[]), unnest($5::int4[]), unnest($17::text[])
                ) AS d (device, bucket, user_id, device_id, reservation_ids, wanted, holds)
                OFFSET 0
            ) d
            OFFSET 0
        ) d
        OFFSET 0
    ) d
    CROSS JOIN LATERAL (
        -- One search for all that the device's calls want: a statement does not skip what it has locked itself. The second is
        -- made only where the first found too few.
        SELECT *
        FROM (
            SELECT *
            FROM (
                SELECT o.ctid AS tid, o.not_after, NULL::timestamptz AS lapsed_at, NULL::text AS lapsed_reservation_id,
                       NULL::bytea AS lapsed_group_id, NULL::text AS lapsed_holder
                FROM one_time o
                WHERE NOT d.known
                  AND o.bucket = d.bucket AND o.user_id = d.user_id AND o.device_id = d.device_id
                  AND o.not_after > $8::timestamptz
                  AND ($9::int4[] IS NULL OR o.cipher_suite = ANY ($9))
                  AND o.held_until IS NULL AND o.seen_by IS NULL
                  AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
                ORDER BY o.not_after
                LIMIT d.wanted
                FOR UPDATE SKIP LOCKED
            ) unseen
            UNION ALL
            SELECT *
            FROM (
                SELECT o.ctid, o.not_after, o.held_until, o.reservation_id, o.group_id, o.holder
                FROM one_time o
                WHERE NOT d.known
                  AND o.bucket = d.bucket AND o.user_id = d.user_id AND o.device_id = d.device_id
                  AND o.not_after > $8::timestamptz
                  AND ($9::int4[] IS NULL OR o.cipher_suite = ANY ($9))
                  AND o.returns = 0 AND COALESCE(o.held_until <= $7::timestamptz, o.seen_by IS NOT NULL)
                  -- A hold of theirs that can be renewed has been: this one was as long as a hold may be.
                  AND (o.holder IS NULL OR o.reservation_id || E'\t' || o.holder <> ALL (string_to_array(d.holds, E'\n')))
                  AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
                ORDER BY o.not_after
                LIMIT d.wanted
                FOR UPDATE SKIP LOCKED
            ) returned
        ) o
        LIMIT d.wanted
    ) p
),
want AS (
    SELECT *
    FROM ROWS FROM (
        generate_subscripts($10::int4[], 1), unnest($10::int4[]), unnest($11::int4[]),
        unnest($12::text[]), unnest($13::bytea[]), unnest($14::text[]), unnest($15::timestamptz[]), unnest($16::int2[])
    ) AS w (item, device, nth, reservation_id, group_id, holder, held_until, returns)
),
taken AS (
    UPDATE one_time o
    SET held_until = w.held_until, reservation_id = w.reservation_id, group_id = w.group_id, holder = w.holder,
        asked_at = $7, reserved_at = NULL, seen_by = COALESCE(p.lapsed_holder, o.seen_by), returns = w.returns
    FROM pick p
    JOIN want w ON w.device = p.device AND w.nth = p.nth
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
           lapsed_group_id, lapsed_holder, NULL, $7, lapsed_at
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
