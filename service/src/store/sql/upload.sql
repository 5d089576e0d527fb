/* keypool: upload */
-- Judges each package against what is stored, and stores those that pass. No two items have the same ref or the same init key. A
-- lifetime is judged here, at the time of the batch, after all that may have made it wait: a tombstone is purged later than that,
-- so that what is accepted has never been here.
WITH asked AS (
    SELECT *
    -- generate_subscripts makes the planner expect many rows: it never joins by comparing all with all.
    FROM ROWS FROM (
        generate_subscripts($1::int4[], 1), unnest($1::int4[]), unnest($2::int2[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::bytea[]), unnest($6::int4[]), unnest($7::bool[]), unnest($8::timestamptz[]), unnest($9::timestamptz[]),
        unnest($10::bytea[]), unnest($11::bytea[]), unnest($12::bytea[]), unnest($13::bytea[])
    ) AS i (
        n, item, bucket, user_id, device_id, key_package_ref, cipher_suite, last_resort,
        not_before, not_after, init_key, credential, signature_key, key_package
    )
),
-- Those of devices that this transaction has locked: it has just written their rows.
item AS MATERIALIZED (
    SELECT i.*
    FROM asked i
    CROSS JOIN LATERAL (
        SELECT FROM device d
        WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
          AND d.xmin = pg_current_xact_id()::xid
        OFFSET 0
    ) d
),
present AS (
    SELECT
        i.item,
        CASE
            WHEN k.user_id <> i.user_id OR k.device_id <> i.device_id THEN 'other_device'
            WHEN k.last_resort THEN (
                SELECT CASE WHEN l.revoked_at IS NULL THEN 'present' ELSE 'revoked' END
                FROM last_resort l
                WHERE l.bucket = k.bucket AND l.user_id = k.user_id AND l.device_id = k.device_id
                  AND l.cipher_suite = k.cipher_suite AND l.key_package_ref = k.key_package_ref
            )
            WHEN EXISTS (
                SELECT FROM one_time o WHERE o.bucket = k.bucket AND o.key_package_ref = k.key_package_ref
                OFFSET 0 -- else the planner may read the whole table into a hash
            ) THEN 'present'
            WHEN EXISTS (
                SELECT FROM revoked r
                WHERE r.bucket = k.bucket AND r.user_id = k.user_id AND r.device_id = k.device_id
                  AND r.key_package_ref = k.key_package_ref
                OFFSET 0
            ) THEN 'revoked'
            ELSE 'spent'
        END AS outcome
    FROM item i
    CROSS JOIN LATERAL (
        SELECT k.*
        FROM key_package k
        WHERE k.bucket = i.bucket AND k.key_package_ref = i.key_package_ref
        OFFSET 0
    ) k
),
init_key_reused AS (
    SELECT i.item
    FROM item i
    CROSS JOIN LATERAL (
        SELECT k.key_package_ref FROM key_package k
        WHERE k.bucket = i.bucket AND k.init_key = i.init_key AND k.user_id = i.user_id
        OFFSET 0
    ) k
    WHERE k.key_package_ref <> i.key_package_ref
),
-- How many one-time packages the pools have already. Those that nobody else gets are not counted, as long as they are no more than
-- the others may be.
filled AS (
    SELECT d.bucket, d.user_id, d.device_id, o.cipher_suite,
           GREATEST(count(*) FILTER (WHERE NOT o.is_returned), count(*) - $15) AS packages
    FROM (SELECT DISTINCT bucket, user_id, device_id FROM item) d
    CROSS JOIN LATERAL (
        SELECT o.cipher_suite, o.returns > 0 AND COALESCE(o.held_until <= $14, true) AS is_returned
        FROM one_time o
        WHERE o.bucket = d.bucket AND o.user_id = d.user_id AND o.device_id = d.device_id AND o.not_after > $14
        OFFSET 0
    ) o
    GROUP BY d.bucket, d.user_id, d.device_id, o.cipher_suite
),
fresh AS (
    SELECT
        i.*,
        row_number() OVER newest AS newest,
        i.last_resort OR $15 >= row_number() OVER (
            PARTITION BY i.bucket, i.user_id, i.device_id, i.cipher_suite, i.last_resort ORDER BY i.item
        ) + COALESCE(p.packages, 0) AS fits
    FROM item i
    LEFT JOIN filled p
      ON p.bucket = i.bucket AND p.user_id = i.user_id AND p.device_id = i.device_id AND p.cipher_suite = i.cipher_suite
    WHERE i.item NOT IN (SELECT item FROM present)
      AND i.item NOT IN (SELECT item FROM init_key_reused)
      AND i.not_before <= $14 AND i.not_after >= $16
    WINDOW newest AS (
        PARTITION BY i.bucket, i.user_id, i.device_id, i.cipher_suite, i.last_resort ORDER BY i.item DESC
    )
),
-- How many bytes the packages of the users have. An older version did not note it.
stocked AS (
    SELECT u.bucket, u.user_id, (
        SELECT COALESCE(sum(COALESCE(o.bytes, (
            SELECT octet_length(k.key_package) FROM key_package k
            WHERE k.bucket = o.bucket AND k.key_package_ref = o.key_package_ref
        ))), 0)
        FROM one_time o
        WHERE o.bucket = u.bucket AND o.user_id = u.user_id
    ) + (
        SELECT COALESCE(sum(COALESCE(l.bytes, (
            SELECT octet_length(k.key_package) FROM key_package k
            WHERE k.bucket = l.bucket AND k.key_package_ref = l.key_package_ref
        ))), 0)
        FROM last_resort l
        WHERE l.bucket = u.bucket AND l.user_id = u.user_id
    ) AS bytes
    FROM (SELECT DISTINCT bucket, user_id FROM fresh WHERE fits) u
),
within_quota AS (
    SELECT *
    FROM (
        SELECT f.*, u.bytes + sum(octet_length(f.key_package)) OVER (
            PARTITION BY f.bucket, f.user_id ORDER BY f.item
        ) AS bytes_then
        FROM fresh f
        JOIN stocked u ON u.bucket = f.bucket AND u.user_id = f.user_id
        WHERE f.fits
    ) f
    WHERE f.bytes_then <= $17::int8
),
stored AS (
    INSERT INTO key_package (
        bucket, key_package_ref, user_id, device_id, cipher_suite, last_resort,
        not_before, not_after, uploaded_at, init_key, credential, signature_key, key_package
    )
    SELECT bucket, key_package_ref, user_id, device_id, cipher_suite, last_resort,
           not_before, not_after, $14, init_key, credential, signature_key, key_package
    FROM within_quota
    ON CONFLICT DO NOTHING
    RETURNING bucket, key_package_ref
),
accepted AS (
    SELECT f.* FROM within_quota f JOIN stored s USING (bucket, key_package_ref)
),
one_time_row AS (
    INSERT INTO one_time (bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, fence, bytes)
    SELECT bucket, user_id, device_id, key_package_ref, cipher_suite, not_after,
           (SELECT COALESCE(max(f.number), 0) FROM fence f), octet_length(key_package)
    FROM accepted
    WHERE NOT last_resort
),
superseded AS (
    UPDATE last_resort l
    SET superseded_at = $14
    FROM accepted a
    CROSS JOIN LATERAL (
        SELECT l.ctid AS tid
        FROM last_resort l
        WHERE l.bucket = a.bucket AND l.user_id = a.user_id AND l.device_id = a.device_id
          AND l.cipher_suite = a.cipher_suite AND l.superseded_at IS NULL
        OFFSET 0
    ) old
    WHERE a.last_resort AND l.ctid = old.tid -- it moves only if it is revoked at this moment
),
last_resort_row AS (
    INSERT INTO last_resort (
        bucket, user_id, device_id, cipher_suite, key_package_ref, not_after, uploaded_at, superseded_at, bytes
    )
    SELECT bucket, user_id, device_id, cipher_suite, key_package_ref, not_after, $14,
           CASE WHEN newest > 1 THEN $14 END, octet_length(key_package)
    FROM accepted
    WHERE last_resort
),
booked AS (
    INSERT INTO pool AS p (bucket, user_id, device_id, cipher_suite, accepted)
    SELECT bucket, user_id, device_id, cipher_suite, count(*) FILTER (WHERE NOT last_resort)
    FROM accepted
    GROUP BY bucket, user_id, device_id, cipher_suite
    ORDER BY bucket, user_id, device_id, cipher_suite
    ON CONFLICT (bucket, user_id, device_id, cipher_suite) DO UPDATE
    SET accepted = p.accepted + excluded.accepted
)
SELECT
    i.item,
    CASE
        WHEN l.item IS NULL AND NOT EXISTS (
            SELECT FROM device d
            WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
            OFFSET 0
        ) THEN 'too_many_devices'
        WHEN l.item IS NULL THEN 'locked'
        WHEN a.item IS NOT NULL THEN 'accepted'
        WHEN p.item IS NOT NULL THEN p.outcome
        WHEN r.item IS NOT NULL THEN 'init_key_reused'
        WHEN i.not_after < $16 THEN 'expired'
        WHEN i.not_before > $14 THEN 'not_yet_valid'
        WHEN NOT f.fits THEN 'full'
        WHEN q.item IS NULL THEN 'over_quota'
        ELSE 'raced'
    END AS outcome
FROM asked i
LEFT JOIN item l ON l.item = i.item
LEFT JOIN accepted a ON a.item = i.item
LEFT JOIN present p ON p.item = i.item
LEFT JOIN init_key_reused r ON r.item = i.item
LEFT JOIN fresh f ON f.item = i.item
LEFT JOIN within_quota q ON q.item = i.item
