/* keypool: list_fences */
SELECT number, cause, raised_at, lifted_at
FROM fence
WHERE number > 0
ORDER BY number DESC
