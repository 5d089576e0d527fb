/* keypool-bench: fill_one_time */
INSERT INTO one_time (bucket, user_id, device_id, key_package_ref, cipher_suite, not_after)
SELECT bucket, user_id, $6, key_package_ref, 1, not_after
FROM bench.package($1, $2, $3, $4, $5, 1, $7)
