/* keypool-bench: fill_key_packages */
INSERT INTO key_package (
    bucket, key_package_ref, user_id, device_id, cipher_suite, last_resort, not_before, not_after, uploaded_at, init_key,
    credential, signature_key, key_package
)
SELECT bucket, key_package_ref, user_id, $6, 1, false, $8, not_after, $8, init_key,
       convert_to(user_id || '/' || $6, 'UTF8'), signature_key, key_package
FROM bench.package($1, $2, $3, $4, $5, $7, $8)
