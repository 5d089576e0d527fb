/* keypool-bench: delete_on_read */
-- What comparable servers do: the package is gone once it was read, whether or not its reader got the answer.
DELETE FROM bench.delete_on_read
WHERE id = (
    SELECT id
    FROM bench.delete_on_read
    WHERE user_id = $1 AND device_id = $2
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING key_package
