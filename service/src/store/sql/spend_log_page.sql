/* keypool: spend_log_page */
SELECT e.user_id, e.device_id, e.key_package_ref, e.cipher_suite, e.last_resort, e.reservation_id,
       e.group_id, e.holder, e.principal, e.logged_at, e.spent_at, e.released_at, e.lapsed_at, e.unusable_reason
FROM unnest($1::int2[]) AS b (bucket)
CROSS JOIN LATERAL (
    SELECT *
    FROM spend_log s
    WHERE s.bucket = b.bucket AND s.logged_at > '-infinity'
      AND ($2::text IS NULL OR s.user_id = $2)
      AND ($3::text IS NULL OR s.device_id = $3)
      AND ($4::text IS NULL OR s.reservation_id = $4)
      AND ($5::bytea IS NULL OR s.group_id = $5)
      AND ($6::text IS NULL OR s.holder = $6)
      AND ($7::timestamptz IS NULL OR s.logged_at >= $7)
      AND ($8::timestamptz IS NULL OR s.logged_at < $8)
      AND (
          $9::timestamptz IS NULL
          OR (s.logged_at, s.key_package_ref, s.reservation_id, s.holder) < ($9, $10::bytea, $11::text, $13::text)
      )
    ORDER BY s.logged_at DESC, s.key_package_ref DESC, s.reservation_id DESC, s.holder DESC
    LIMIT $12
) e
ORDER BY e.logged_at DESC, e.key_package_ref DESC, e.reservation_id DESC, e.holder DESC
LIMIT $12
