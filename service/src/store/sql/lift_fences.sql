/* keypool: lift_fences */
UPDATE fence SET lifted_at = $1 WHERE lifted_at IS NULL AND number > 0
RETURNING number
