/* keypool: reserve */
-- One row for each call and device asked for: what the call has now, or why it has nothing.
-- All calls of one statement share the filter on cipher suites and lifetime, and no two have the same reservation id.
WITH item AS (
    SELECT *
    FROM unnest(
        $1::int4[], $2::int4[], $3::int2[], $4::text[], $5::text[], $6::text[],
        $7::bytea[], $8::text[], $9::text[], $10::timestamptz[], $11::int8[]
    ) AS i (
        item, call, bucket, user_id, device_id, reservation_id,
        group_id, holder, principal, held_until, max_holds
    )
),
excluded_device AS (
    SELECT * FROM unnest($12::int4[], $13::text[]) AS x (item, device_id)
),
want AS (
    SELECT DISTINCT ON (i.call, d.bucket, d.user_id, d.device_id)
        i.call, d.bucket, d.user_id, d.device_id,
        i.reservation_id, i.group_id, i.holder, i.principal, i.held_until, i.max_holds
    FROM item i
    JOIN device d ON d.bucket = i.bucket AND d.user_id = i.user_id
    WHERE (i.device_id IS NULL OR i.device_id = d.device_id)
      AND NOT EXISTS (SELECT FROM excluded_device x WHERE x.item = i.item AND x.device_id = d.device_id)
),
-- What the reservation has from an earlier call.
held AS (
    SELECT w.call, w.bucket, w.user_id, w.device_id, o.key_package_ref, o.held_until,
           o.group_id = w.group_id AS same_group, o.holder = w.holder AS same_holder,
           $16::int4[] IS NULL OR o.cipher_suite = ANY ($16) AS same_suite
    FROM want w
    JOIN one_time o
      ON o.bucket = w.bucket AND o.user_id = w.user_id AND o.device_id = w.device_id
     AND o.reservation_id = w.reservation_id
    WHERE o.not_after > $14
),
logged AS (
    SELECT w.call, w.bucket, w.user_id, w.device_id, s.key_package_ref, s.last_resort,
           CASE WHEN s.spent_at IS NULL THEN s.held_until END AS held_until, s.spent_at IS NOT NULL AS spent,
           s.group_id = w.group_id AS same_group, s.holder = w.holder AS same_holder,
           $16::int4[] IS NULL OR s.cipher_suite = ANY ($16) AS same_suite
    FROM want w
    JOIN spend_log s
      ON s.bucket = w.bucket AND s.user_id = w.user_id AND s.device_id = w.device_id
     AND s.reservation_id = w.reservation_id
    WHERE s.group_id <> w.group_id OR s.holder <> w.holder -- to be refused
       OR s.released_at IS NULL AND (
          s.spent_at IS NOT NULL AND EXISTS (
              SELECT FROM key_package k
              WHERE k.bucket = s.bucket AND k.key_package_ref = s.key_package_ref
          )
          OR s.held_until > $14 AND EXISTS (
              SELECT FROM last_resort l
              WHERE l.bucket = s.bucket AND l.user_id = s.user_id AND l.device_id = s.device_id
                AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = s.key_package_ref
                AND l.revoked_at IS NULL AND l.not_after > $14
          )
      )
),
have AS (
    SELECT DISTINCT ON (h.call, h.bucket, h.user_id, h.device_id) h.*
    FROM (
        SELECT call, bucket, user_id, device_id, key_package_ref, held_until, false AS last_resort, false AS spent,
               same_group, same_holder, same_suite
        FROM held
        UNION ALL
        SELECT call, bucket, user_id, device_id, key_package_ref, held_until, last_resort, spent,
               same_group, same_holder, same_suite
        FROM logged
    ) h
    ORDER BY h.call, h.bucket, h.user_id, h.device_id, h.same_group AND h.same_holder, h.same_suite DESC,
             h.spent DESC, h.held_until DESC, h.last_resort
),
-- A lapsed hold that nobody took over is renewed.
renewed AS (
    UPDATE one_time o
    SET held_until = w.held_until
    FROM have h
    JOIN want w
      ON w.call = h.call AND w.bucket = h.bucket AND w.user_id = h.user_id AND w.device_id = h.device_id
    WHERE o.bucket = h.bucket AND o.key_package_ref = h.key_package_ref
      AND o.reservation_id = w.reservation_id
      AND h.held_until <= $14 AND NOT h.spent AND h.same_group AND h.same_holder AND h.same_suite
    RETURNING h.call, h.bucket, h.user_id, h.device_id, o.key_package_ref, o.held_until
),
-- What is to be picked, as far as the holder's live holds on the device allow.
allowed AS (
    SELECT w.*
    FROM (
        SELECT w.*, row_number() OVER (PARTITION BY w.bucket, w.user_id, w.device_id, w.holder ORDER BY w.call) AS nth_of_holder
        FROM want w
        WHERE NOT EXISTS (
            SELECT FROM have h
            WHERE h.call = w.call AND h.bucket = w.bucket AND h.user_id = w.user_id AND h.device_id = w.device_id
        )
    ) w
    WHERE w.max_holds IS NULL OR w.nth_of_holder <= w.max_holds - (
        SELECT count(*)
        FROM one_time o
        WHERE o.bucket = w.bucket AND o.user_id = w.user_id AND o.device_id = w.device_id
          AND o.holder = w.holder AND o.held_until > $14 AND o.not_after > $14
    )
),
need AS (
    SELECT a.*, row_number() OVER (PARTITION BY a.bucket, a.user_id, a.device_id ORDER BY a.call) AS nth
    FROM allowed a
),
-- One search for each device, for as many packages as all the calls need: a statement does not skip its own locks.
pick AS (
    SELECT n.bucket, n.user_id, n.device_id, p.key_package_ref,
           row_number() OVER (PARTITION BY n.bucket, n.user_id, n.device_id ORDER BY p.not_after, p.key_package_ref) AS nth
    FROM (
        SELECT bucket, user_id, device_id, count(*) AS wanted
        FROM need
        GROUP BY bucket, user_id, device_id
        ORDER BY bucket, user_id, device_id -- so that those who wait for locks wait in the same order
    ) n
    CROSS JOIN LATERAL (
        SELECT o.key_package_ref, o.not_after
        FROM one_time o
        WHERE o.bucket = n.bucket AND o.user_id = n.user_id AND o.device_id = n.device_id
          AND o.not_after > $15
          AND ($16::int4[] IS NULL OR o.cipher_suite = ANY ($16))
          AND (o.held_until IS NULL OR o.held_until <= $14)
        ORDER BY o.not_after
        LIMIT n.wanted
        FOR UPDATE SKIP LOCKED
    ) p
),
taken AS (
    UPDATE one_time o
    SET held_until = n.held_until, reservation_id = n.reservation_id, group_id = n.group_id, holder = n.holder
    FROM pick p
    JOIN need n
      ON n.bucket = p.bucket AND n.user_id = p.user_id AND n.device_id = p.device_id AND n.nth = p.nth
    WHERE o.bucket = p.bucket AND o.key_package_ref = p.key_package_ref
    RETURNING n.call, n.bucket, n.user_id, n.device_id, o.key_package_ref, o.held_until
),
-- No one-time package left: the last resort, read without a lock.
last AS (
    SELECT n.*, l.key_package_ref, l.cipher_suite
    FROM need n
    CROSS JOIN LATERAL (
        SELECT l.key_package_ref, l.cipher_suite
        FROM last_resort l
        WHERE l.bucket = n.bucket AND l.user_id = n.user_id AND l.device_id = n.device_id
          AND l.not_after > $15
          AND ($16::int4[] IS NULL OR l.cipher_suite = ANY ($16))
          AND l.revoked_at IS NULL AND l.superseded_at IS NULL
        ORDER BY l.uploaded_at DESC, l.key_package_ref
        LIMIT 1
    ) l
    WHERE NOT EXISTS (
        SELECT FROM taken t
        WHERE t.call = n.call AND t.bucket = n.bucket AND t.user_id = n.user_id AND t.device_id = n.device_id
    )
),
handed_out AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, held_until
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, true,
           group_id, holder, principal, $14, held_until
    FROM last
    ON CONFLICT (bucket, user_id, device_id, reservation_id, key_package_ref) DO UPDATE
    SET held_until = excluded.held_until, released_at = NULL
    WHERE s.group_id = excluded.group_id AND s.holder = excluded.holder
    RETURNING s.bucket, s.user_id, s.device_id, s.reservation_id, s.key_package_ref, s.held_until
),
got AS (
    SELECT call, bucket, user_id, device_id, key_package_ref, held_until, last_resort, spent
    FROM have
    WHERE same_group AND same_holder AND same_suite AND (spent OR held_until > $14)
    UNION ALL
    SELECT call, bucket, user_id, device_id, key_package_ref, held_until, false, false FROM renewed
    UNION ALL
    SELECT call, bucket, user_id, device_id, key_package_ref, held_until, false, false FROM taken
    UNION ALL
    SELECT w.call, h.bucket, h.user_id, h.device_id, h.key_package_ref, h.held_until, true, false
    FROM handed_out h
    JOIN want w USING (bucket, user_id, device_id, reservation_id)
)
SELECT
    w.call, w.user_id, w.device_id,
    CASE
        WHEN NOT h.same_holder THEN 'other_holder'
        WHEN NOT h.same_group THEN 'other_group'
        WHEN NOT h.same_suite THEN 'other_suite'
        WHEN g.key_package_ref IS NOT NULL THEN 'reserved'
        WHEN a.call IS NULL AND h.call IS NULL THEN 'limited'
        ELSE 'missing'
    END AS outcome,
    g.key_package_ref, g.held_until, g.last_resort, g.spent,
    k.cipher_suite, k.not_after, k.key_package
FROM want w
LEFT JOIN have h
  ON h.call = w.call AND h.bucket = w.bucket AND h.user_id = w.user_id AND h.device_id = w.device_id
LEFT JOIN allowed a
  ON a.call = w.call AND a.bucket = w.bucket AND a.user_id = w.user_id AND a.device_id = w.device_id
LEFT JOIN got g
  ON g.call = w.call AND g.bucket = w.bucket AND g.user_id = w.user_id AND g.device_id = w.device_id
LEFT JOIN key_package k ON k.bucket = w.bucket AND k.key_package_ref = g.key_package_ref
ORDER BY w.call, w.user_id, w.device_id
