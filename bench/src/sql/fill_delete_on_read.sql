/* keypool-bench: fill_delete_on_read */
INSERT INTO bench.delete_on_read (user_id, device_id, key_package, created_at)
SELECT user_id, $6, key_package, $8
FROM bench.package($1, $2, $3, $4, $5, $7, $8)
