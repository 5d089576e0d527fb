/* keypool: purge_beats */
DELETE FROM beat WHERE beaten_at < $1
RETURNING 1
